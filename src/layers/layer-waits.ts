import type { LayerWaits } from '../events.js';

/**
 * Where the time of one layer goes, from when this is made. At every moment one thing counts: a pause that was asked
 * for, else the network while the source is waited for, else the disk while a write is, else inflating and hashing.
 */
export class WaitClock {
  readonly #now: () => number;
  #countedMs: number;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  #isReceiving = false;
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

  /** The source waits so long before it asks. */
  pausing(ms: number): void {
    this.#count();
    if (ms > 0) this.#pausedUntilMs = this.#countedMs + ms;
  }

  /** Called when there is nothing else to do with what is written; hands the promise on. */
  writing<T>(written: Promise<T>): Promise<T> {
    this.#count();
    this.#writes++;
    const ended = (): void => {
      this.#count();
      this.#writes--;
    };
    written.then(ended, ended);
    return written;
  }

  read(): LayerWaits {
    this.#count();
    return { ...this.#spent };
  }

  #count(): void {
    const sinceMs = this.#countedMs;
    this.#countedMs = this.#now();
    const pausedMs = this.#isReceiving ? Math.max(0, Math.min(this.#pausedUntilMs, this.#countedMs) - sinceMs) : 0;
    this.#spent.pausedMs += pausedMs;
    const kind = this.#isReceiving ? 'networkMs' : this.#writes > 0 ? 'diskMs' : 'inflateMs';
    this.#spent[kind] += this.#countedMs - sinceMs - pausedMs;
  }
}
