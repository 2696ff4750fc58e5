/**
 * How many connections there may be at once: in all, and to one host. Main thread only, where every request is granted,
 * whichever thread sends it.
 *
 * What is counted is a *slot*: one thing that is fetched, from before its first request to the end of its last body.
 * Logins, redirects, retries and a change to a mirror all go over the slot that is held already. So who holds one never
 * waits for another, and there is nothing that could wait in a circle.
 */
import { abortedError, throwIfAborted } from '../errors.js';

export interface ConnectionLimits {
  readonly max: number;
  /** To one registry or mirror; where it sends us for blobs is counted as itself. */
  readonly maxPerHost: number;
}

/** One slot is kept free of layers: a pull can begin, and say what there is to do, while others fill the rest. */
export type SlotKind = 'layer' | 'small';

interface Waiter {
  readonly host: string;
  readonly kind: SlotKind;
  readonly enter: () => void;
}

export class Connections {
  readonly #limits: ConnectionLimits;
  readonly #waiting = new Set<Waiter>();
  readonly #perHost = new Map<string, number>();
  #used = 0;

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** Held by nobody yet. */
  slot(kind: SlotKind): Slot {
    return new Slot(this, kind);
  }

  /** A slot for one more part of a layer, if there is one that nobody waits for; never waits. */
  spareSlot(host: string): Slot | undefined {
    if (this.#waiting.size > 0 || !this.#fits(host, 'layer')) return undefined;
    const slot = this.slot('layer');
    slot.take(host);
    return slot;
  }

  get used(): number {
    return this.#used;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** For {@link Slot} only. Rejects with LARDER_ABORTED. */
  async enter(host: string, kind: SlotKind, signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal, `wait for a connection to ${host}`);
    if (this.#fits(host, kind)) return this.count(host, 1);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(waiter);
        reject(abortedError(`wait for a connection to ${host}`, signal));
      };
      const enter = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const waiter: Waiter = { host, kind, enter };
      this.#waiting.add(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** For {@link Slot} only. */
  count(host: string, change: 1 | -1): void {
    this.#used += change;
    const count = (this.#perHost.get(host) ?? 0) + change;
    if (count === 0) this.#perHost.delete(host);
    else this.#perHost.set(host, count);
    if (change < 0) this.#admit();
  }

  /** Small things first, then whoever has waited longest among those whose host has room. */
  #admit(): void {
    for (const kind of ['small', 'layer'] as const) {
      for (const waiter of this.#waiting) {
        if (waiter.kind !== kind || !this.#fits(waiter.host, kind)) continue;
        this.#waiting.delete(waiter);
        this.count(waiter.host, 1);
        waiter.enter();
      }
    }
  }

  #fits(host: string, kind: SlotKind): boolean {
    const { max, maxPerHost } = this.#limits;
    const limit = (slots: number): number => (kind === 'small' ? slots : Math.max(1, slots - 1));
    return this.#used < limit(max) && (this.#perHost.get(host) ?? 0) < limit(maxPerHost);
  }
}

/** One thing's place among the connections. Disposed when its last body has ended; idempotent. */
export class Slot implements Disposable {
  readonly #connections: Connections;
  readonly #kind: SlotKind;
  #host: string | undefined;
  #isOver = false;

  constructor(connections: Connections, kind: SlotKind) {
    this.#connections = connections;
    this.#kind = kind;
  }

  /**
   * To this host from now on. The first time it waits until there is room; later never, even where that makes one more
   * to the other host than there may be: who waits must hold nothing. Rejects with LARDER_ABORTED.
   */
  async at(host: string, signal: AbortSignal | undefined): Promise<void> {
    if (this.#host === host) return;
    if (this.#host !== undefined) {
      this.take(host);
      return;
    }
    await this.#connections.enter(host, this.#kind, signal);
    this.#host = host;
    // Who waited for it may have died meanwhile.
    if (this.#isOver) this[Symbol.dispose]();
  }

  /** Without asking whether there is room. */
  take(host: string): void {
    const before = this.#host;
    this.#host = host;
    this.#connections.count(host, 1);
    if (before !== undefined) this.#connections.count(before, -1);
  }

  [Symbol.dispose](): void {
    const host = this.#host;
    this.#isOver = true;
    this.#host = undefined;
    if (host !== undefined) this.#connections.count(host, -1);
  }
}
