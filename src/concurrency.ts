/** ▸ Who may run when, within one process: counted slots, one at a time per key, one shared run per key. */
import { setMaxListeners } from 'node:events';
import { abortedError, isLarderError, throwIfAborted } from './errors.js';
import type { LarderEvent, OnEvent, OperationOptions } from './events.js';

/** Gives back what was acquired; idempotent. */
export type Release = () => void;

interface Waiter {
  readonly grant: () => void;
}

/** At most `slots` holders at once; first come, first served. */
export class Semaphore {
  readonly #waiting = new Set<Waiter>();
  #free: number;

  constructor(slots: number) {
    this.#free = slots;
  }

  /** Rejects with LARDER_ABORTED when the signal fires before the slot is granted. */
  async acquire(signal?: AbortSignal): Promise<Release> {
    throwIfAborted(signal, 'wait for a free slot');
    if (this.#free > 0) this.#free--;
    else await this.#wait(signal);
    let held = true;
    return () => {
      if (held) this.#release();
      held = false;
    };
  }

  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const release = await this.acquire(signal);
    try {
      return await work();
    } finally {
      release();
    }
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    expectManyListeners(signal);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(waiter);
        reject(abortedError('wait for a free slot', signal));
      };
      const waiter: Waiter = {
        grant: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      this.#waiting.add(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The slot goes straight to who has waited longest, so that a newcomer cannot take it in between. */
  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next.grant();
  }
}

/** One holder at a time for each key, in the order of asking. Keys that nobody holds cost nothing. */
export class KeyedMutex<K> {
  readonly #keys = new Map<K, { readonly semaphore: Semaphore; users: number }>();

  /** Rejects with LARDER_ABORTED when the signal fires before it is this caller's turn. */
  async acquire(key: K, signal?: AbortSignal): Promise<Release> {
    const entry = this.#keys.get(key) ?? { semaphore: new Semaphore(1), users: 0 };
    this.#keys.set(key, entry);
    entry.users++;
    const leave = (): void => {
      entry.users--;
      if (entry.users === 0) this.#keys.delete(key);
    };
    try {
      const release = await entry.semaphore.acquire(signal);
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        release();
        leave();
      };
    } catch (error) {
      leave();
      throw error;
    }
  }

  async run<T>(key: K, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const release = await this.acquire(key, signal);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** How many keys are held or waited for. */
  get size(): number {
    return this.#keys.size;
  }
}

/**
 * What is made when it is first asked for, once. A failure reaches those who asked for it and is not kept: what was in
 * the way may be gone when it is asked for again.
 */
export class Lazy<T> {
  readonly #make: () => Promise<T>;
  #made: Promise<T> | undefined;

  constructor(make: () => Promise<T>) {
    this.#make = make;
  }

  get(): Promise<T> {
    this.#made ??= this.#make().catch((error: unknown) => {
      this.#made = undefined;
      throw error;
    });
    return this.#made;
  }

  /** Who asks next has it made again. */
  forget(): void {
    this.#made = undefined;
  }

  /** What was made or is being made; undefined when nobody has asked. */
  get made(): Promise<T> | undefined {
    return this.#made;
  }
}

interface Flight<T> {
  readonly controller: AbortController;
  readonly listeners: Set<OnEvent>;
  readonly result: Promise<T>;
  waiters: number;
}

/** What the shared work gets: `signal` fires when the last waiter has cancelled, `onEvent` reaches all waiters. */
export interface SharedWork {
  readonly signal: AbortSignal;
  readonly onEvent: OnEvent;
}

/**
 * Concurrent callers with one key share one run. Each waiter's signal cancels for itself and settles it at once; the
 * last one cancels the run. Who asks after that starts a new run, even if the old one has not ended yet.
 */
export class SingleFlight<K, T> {
  readonly #flights = new Map<K, Flight<T>>();

  /** Rejects with what the work rejects with, or with LARDER_ABORTED when this caller cancelled. */
  async run(key: K, work: (shared: SharedWork) => Promise<T>, options: OperationOptions = {}): Promise<T> {
    throwIfAborted(options.signal, `wait for ${String(key)}`);
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    const { onEvent } = options;
    // A listener of its own for each waiter: two waiters may pass the same function, and both are told.
    const listener: OnEvent | undefined = onEvent && ((event) => onEvent(event));
    if (listener !== undefined) flight.listeners.add(listener);
    flight.waiters++;
    try {
      return await settleOrAbort(flight.result, `wait for ${String(key)}`, options.signal);
    } finally {
      flight.waiters--;
      if (listener !== undefined) flight.listeners.delete(listener);
      if (flight.waiters === 0) this.#land(key, flight, options.signal);
    }
  }

  has(key: K): boolean {
    return this.#flights.has(key);
  }

  #start(key: K, work: (shared: SharedWork) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const listeners = new Set<OnEvent>();
    const onEvent = (event: LarderEvent): void => {
      for (const listener of listeners) listener(event);
    };
    // The work starts after this caller is among the waiters, so that it hears the first event.
    const result = Promise.resolve().then(() => work({ signal: controller.signal, onEvent }));
    const flight: Flight<T> = { controller, listeners, result, waiters: 0 };
    // Every waiter gets the outcome from `result` itself; when all have cancelled, nobody is left to hear it.
    result.then(() => this.#forget(key, flight)).catch(() => this.#forget(key, flight));
    this.#flights.set(key, flight);
    return flight;
  }

  /** The last waiter has left: whatever is still running is of use to nobody. */
  #land(key: K, flight: Flight<T>, signal: AbortSignal | undefined): void {
    if (this.#flights.get(key) !== flight) return;
    this.#forget(key, flight);
    flight.controller.abort(signal?.reason);
  }

  #forget(key: K, flight: Flight<T>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}

/** The promise's outcome, or LARDER_ABORTED as soon as the signal fires; the promise itself goes on. */
export async function settleOrAbort<T>(promise: Promise<T>, doing: string, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return promise;
  // What becomes of it is nobody's concern any more where the signal has fired before.
  promise.catch(() => {});
  throwIfAborted(signal, doing);
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(abortedError(doing, signal));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Runs all; the first failure cancels the others, and is thrown when all have ended. */
export async function allOrNone<T>(
  items: readonly T[],
  shared: Pick<SharedWork, 'signal'>,
  work: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([shared.signal, stop.signal]);
  // Each piece of work may listen several times, and there may be hundreds.
  expectManyListeners(signal);
  const outcomes = await Promise.allSettled(
    items.map(async (item) => {
      try {
        await work(item, signal);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    }),
  );
  const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
  if (failures.length === 0) return;
  throw failures.find((failure) => !isLarderError(failure, 'LARDER_ABORTED')) ?? failures[0];
}

/** One signal ends much at once: that is no leak of listeners, and Node shall not warn of one. */
export function expectManyListeners(signal: AbortSignal | undefined): void {
  if (signal !== undefined) setMaxListeners(0, signal);
}
