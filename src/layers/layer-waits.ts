import type { LayerWaits } from '../events.js';

/** Of the blocks that decoders have, so many may wait for the disk while one is filled. */
const BLOCKS_AHEAD = 3;

/**
 * Where the time of one layer goes, from when this is made. At every moment one thing counts: a pause that was asked
 * for, else the network while the source is waited for, else the disk while nothing can be inflated before it has taken
 * something, else inflating and hashing.
 */
export class WaitClock {
  readonly #now: () => number;
  #countedMs: number;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  #isReceiving = false;
  #isAsking = false;
  /** Blocks that the disk has not taken yet. */
  #writes = 0;
  readonly #spent = { networkMs: 0, inflateMs: 0, diskMs: 0, pausedMs: 0 };

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#countedMs = now();
  }

  /** Nothing can be done from here on but wait for bytes; or, with false, they are here. */
  receiving(waits: boolean): void {
    this.#count();
    this.#isReceiving = waits;
  }

  /** Leave to make a request is waited for, which pauses that hosts ask for hold back; or, with false, it is here. */
  asking(waits: boolean): void {
    this.#count();
    this.#isAsking = waits;
  }

  /** The source waits so long before it asks. */
  pausing(ms: number): void {
    this.#count();
    if (ms > 0) this.#pausedUntilMs = this.#countedMs + ms;
  }

  /**
   * Called when there is nothing else to do with what is written; hands the promise on. Others may be written and more be
   * inflated meanwhile, unless it is `alone`.
   */
  writing<T>(written: Promise<T>, alone = false): Promise<T> {
    const blocks = alone ? BLOCKS_AHEAD : 1;
    this.#count();
    this.#writes += blocks;
    const ended = (): void => {
      this.#count();
      this.#writes -= blocks;
    };
    written.then(ended, ended);
    return written;
  }

  read(): LayerWaits {
    this.#count();
    const { networkMs, inflateMs, diskMs, pausedMs } = this.#spent;
    return {
      networkMs: Math.round(networkMs),
      inflateMs: Math.round(inflateMs),
      diskMs: Math.round(diskMs),
      pausedMs: Math.round(pausedMs),
    };
  }

  #count(): void {
    const sinceMs = this.#countedMs;
    this.#countedMs = this.#now();
    const pausedUntilMs = this.#isAsking ? this.#countedMs : Math.min(this.#pausedUntilMs, this.#countedMs);
    const pausedMs = this.#isReceiving ? Math.max(0, pausedUntilMs - sinceMs) : 0;
    this.#spent.pausedMs += pausedMs;
    const kind = this.#isReceiving ? 'networkMs' : this.#writes >= BLOCKS_AHEAD ? 'diskMs' : 'inflateMs';
    this.#spent[kind] += this.#countedMs - sinceMs - pausedMs;
  }
}
