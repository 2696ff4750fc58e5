/**
 * Who may work on which container, among all processes: one kernel lock for each container, at `containers/<id>.lock`.
 * Whoever makes or destroys a container has its lock exclusively and those of its ancestors shared, taken from the
 * outermost inwards, so that two never wait for each other. Destroying a parent thus excludes every work on what is
 * nested in it with one lock, and work on two children of one parent goes on side by side.
 *
 * The file goes with its last holder. What a killed process left is nobody's, and is taken over or cleared.
 */
import { existsSync } from 'node:fs';
import type { Layout } from '../layout.js';
import { type FileLock, type LockMode, lockFile, tryLockFile } from '../linux/file-lock.js';
import { ancestorsOf, type ContainerId } from '../spec/container-id.js';

export interface Turn {
  /** Idempotent. */
  release(): void;
}

interface Step {
  readonly path: string;
  readonly mode: LockMode;
}

export class Turns {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Waits for it. Rejects with LARDER_ABORTED, LARDER_PERMISSION, LARDER_BACKEND_UNAVAILABLE. */
  async take(container: ContainerId, signal: AbortSignal | undefined): Promise<Turn> {
    const held: FileLock[] = [];
    try {
      for (const { path, mode } of this.#stepsTo(container)) {
        held.push(await lockFile(path, mode, signal === undefined ? {} : { signal }));
      }
    } catch (error) {
      releaseAll(held, false);
      throw error;
    }
    return turnOf(held);
  }

  /** Undefined when somebody is at work there, or in what it is nested in. */
  tryTake(container: ContainerId): Turn | undefined {
    const held: FileLock[] = [];
    try {
      for (const { path, mode } of this.#stepsTo(container)) {
        const lock = tryLockFile(path, mode);
        if (lock === undefined) {
          releaseAll(held, false);
          return undefined;
        }
        held.push(lock);
      }
    } catch (error) {
      releaseAll(held, false);
      throw error;
    }
    return turnOf(held);
  }

  /** Whether somebody works there, or in what is nested there, or was killed while doing so. */
  isTaken(container: ContainerId): boolean {
    return existsSync(this.#layout.containerLock(container));
  }

  #stepsTo(container: ContainerId): Step[] {
    const outer = ancestorsOf(container).map(
      (each): Step => ({ path: this.#layout.containerLock(each), mode: 'shared' }),
    );
    return [...outer, { path: this.#layout.containerLock(container), mode: 'exclusive' }];
  }
}

/** Removes a lock file that nobody holds. Who is about to take it notices, and makes another. */
export function clearLock(path: string): void {
  tryLockFile(path, 'exclusive', { create: false })?.release({ unlink: true });
}

function turnOf(held: FileLock[]): Turn {
  return { release: () => releaseAll(held, true) };
}

/** The innermost first; only that one may be held exclusively, and only such a file may be removed by its holder. */
function releaseAll(held: FileLock[], exclusive: boolean): void {
  const lock = held.pop();
  if (lock === undefined) return;
  try {
    lock.release({ unlink: exclusive });
    if (!exclusive) clearLock(lock.path);
  } finally {
    releaseAll(held, false);
  }
}
