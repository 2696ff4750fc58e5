/**
 * ▸ The store lock: shared around a commit and around claim-and-mount, exclusive around a mark and around each of the
 * short turns in which a prune renames. Never held across network, inflate or deletion (I8). It is two kernel locks, `lock` and `gate`, so that neither side starves:
 * who wants it exclusively holds the gate until it is done, so no newcomer can slip in front of it; who wants it
 * shared passes through the gate and holds it for an instant only.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type FileLock, type LockOptions, lockFile } from './file-lock.js';

/** After an exclusive turn, its handle leaves this much time to those who wait; they ask more often than that. */
const BREATHER_MS = 6;
const MAX_PAUSE_MS = 2;

export interface StoreLockPaths {
  readonly lock: string;
  readonly gate: string;
}

export interface HeldStoreLock {
  readonly mode: 'shared' | 'exclusive';
  /** Idempotent. */
  release(): void;
  [Symbol.dispose](): void;
}

export class StoreLock {
  readonly #paths: StoreLockPaths;
  #exclusiveUntil = Number.NEGATIVE_INFINITY;

  /** A `Layout` will do: both files lie under its root, which must exist. */
  constructor(paths: StoreLockPaths) {
    this.#paths = { lock: paths.lock, gate: paths.gate };
  }

  /** Rejects with LARDER_ABORTED, LARDER_PERMISSION, LARDER_BACKEND_UNAVAILABLE. */
  async shared(options: LockOptions = {}): Promise<HeldStoreLock> {
    const often = { ...options, maxPauseMs: MAX_PAUSE_MS };
    const gate = await lockFile(this.#paths.gate, 'shared', often);
    try {
      const lock = await lockFile(this.#paths.lock, 'shared', often);
      return held('shared', () => lock.release());
    } finally {
      gate.release();
    }
  }

  async exclusive(options: LockOptions = {}): Promise<HeldStoreLock> {
    const rest = this.#exclusiveUntil + BREATHER_MS - performance.now();
    if (rest > 0) await sleep(rest);
    const gate = await lockFile(this.#paths.gate, 'exclusive', { ...options, maxPauseMs: MAX_PAUSE_MS });
    const lock = await this.#drain(gate, options);
    return held('exclusive', () => {
      this.#exclusiveUntil = performance.now();
      lock.release();
      gate.release();
    });
  }

  /** Behind the closed gate, waits until those inside have left. */
  async #drain(gate: FileLock, options: LockOptions): Promise<FileLock> {
    try {
      return await lockFile(this.#paths.lock, 'exclusive', { ...options, maxPauseMs: MAX_PAUSE_MS });
    } catch (error) {
      gate.release();
      throw error;
    }
  }
}

function held(mode: HeldStoreLock['mode'], release: () => void): HeldStoreLock {
  let open = true;
  const once = (): void => {
    if (open) release();
    open = false;
  };
  return { mode, release: once, [Symbol.dispose]: once };
}
