import type { LockOptions } from './file-lock.js';
import { type HeldStoreLock, StoreLock } from './store-lock.js';

export type OnLockWait = (mode: HeldStoreLock['mode'], ms: number) => void;

/** A store lock that tells how long it was waited for, also by who gave up. */
export class TimedStoreLock extends StoreLock {
  /** Whoever watches the store sets it; nobody does by default. */
  onWait: OnLockWait | undefined;

  override shared(options: LockOptions = {}): Promise<HeldStoreLock> {
    return this.#timed('shared', () => super.shared(options));
  }

  override exclusive(options: LockOptions = {}): Promise<HeldStoreLock> {
    return this.#timed('exclusive', () => super.exclusive(options));
  }

  async #timed(mode: HeldStoreLock['mode'], take: () => Promise<HeldStoreLock>): Promise<HeldStoreLock> {
    const since = performance.now();
    try {
      return await take();
    } finally {
      this.onWait?.(mode, performance.now() - since);
    }
  }
}
