/**
 * Events for who takes them when he has time: a queue that cannot grow without end, and work whose events are iterated.
 * A step of a layer's progress replaces the one before it; of all else the oldest goes when there is too much.
 */
import type { LarderEvent, OnEvent } from './events.js';

const MAX_WAITING = 4096;

export class EventQueue {
  readonly #max: number;
  /** In order; steps of progress by their layer. */
  readonly #waiting = new Map<string | number, LarderEvent>();
  #next = 0;
  #missed = 0;

  constructor(max = MAX_WAITING) {
    this.#max = max;
  }

  get size(): number {
    return this.#waiting.size;
  }

  push(event: LarderEvent): void {
    const key = event.type === 'layer-progress' ? event.layer : this.#next++;
    // To the end: a step must not come before what happened in between.
    this.#waiting.delete(key);
    this.#waiting.set(key, event);
    if (this.#waiting.size <= this.#max) return;
    for (const [oldest, { type }] of this.#waiting) {
      this.#waiting.delete(oldest);
      if (type !== 'layer-progress') this.#missed++;
      break;
    }
  }

  /** What came since the last call; at its head how much was missed, if anything was. */
  take(): LarderEvent[] {
    const missed: LarderEvent[] = this.#missed === 0 ? [] : [{ type: 'missed', events: this.#missed }];
    const taken = [...missed, ...this.#waiting.values()];
    this.#waiting.clear();
    this.#missed = 0;
    return taken;
  }
}

/** The events of one work, to be iterated once, and how it ended. */
export interface EventStream<T> extends AsyncGenerator<LarderEvent, T, void> {
  /** Settles as the work does, whether anybody iterates or not. */
  readonly result: Promise<T>;
}

/**
 * Starts `start`, whose events are iterated: the iteration ends when its promise does, and throws what it rejects with. Who
 * leaves the loop early cancels the work through `signal`, and goes on when it has ended. A slow reader gets fewer steps
 * of progress, and misses nothing else before 4096 events wait.
 *
 *     for await (const event of eventsOf((onEvent, signal) => larder.pull('alpine', { onEvent, signal }))) …
 */
export function eventsOf<T>(start: (onEvent: OnEvent, signal: AbortSignal) => Promise<T>): EventStream<T> {
  const stop = new AbortController();
  const queue = new EventQueue();
  let wake: () => void = () => {};
  let settled = false;
  const result = start((event) => {
    queue.push(event);
    wake();
  }, stop.signal).finally(() => {
    settled = true;
    wake();
  });
  // Who iterates or awaits gets the rejection; this only keeps it from being reported as unhandled before.
  result.catch(() => {});
  async function* iterate(): AsyncGenerator<LarderEvent, T, void> {
    for (;;) {
      yield* queue.take();
      if (queue.size > 0) continue;
      if (settled) return result;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  return new Stream(iterate(), result, stop);
}

class Stream<T> implements EventStream<T> {
  readonly result: Promise<T>;
  readonly #events: AsyncGenerator<LarderEvent, T, void>;
  readonly #stop: AbortController;

  constructor(events: AsyncGenerator<LarderEvent, T, void>, result: Promise<T>, stop: AbortController) {
    this.#events = events;
    this.result = result;
    this.#stop = stop;
  }

  next(): Promise<IteratorResult<LarderEvent, T>> {
    return this.#events.next();
  }

  /** What the work rejects with when it is cancelled is nobody's concern any more. */
  async return(value: T | PromiseLike<T>): Promise<IteratorResult<LarderEvent, T>> {
    this.#stop.abort(new Error('nobody reads its events any more'));
    await Promise.allSettled([this.result]);
    return this.#events.return(value);
  }

  async throw(error: unknown): Promise<IteratorResult<LarderEvent, T>> {
    this.#stop.abort(error);
    await Promise.allSettled([this.result]);
    return this.#events.throw(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('nobody reads its events any more'));
    await Promise.allSettled([this.result]);
  }
}
