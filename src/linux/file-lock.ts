/**
 * ▸ Locks on files that the kernel drops when their process (or worker thread) ends, however it ends: nothing is left
 * to clean up or to mistake for alive. They exclude other processes, other threads and other locks of this process
 * alike, since flock(2) locks belong to the open file description. Descriptors are close-on-exec, so programs that
 * larder starts never inherit one.
 *
 * A lock file may be unlinked by who holds it exclusively; who waited for it notices, and goes on with its successor.
 * Waiting is polling: a blocking flock(2) would hold a thread of the pool and could not be cancelled.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, unlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { abortedError, errnoOf, systemError, throwIfAborted } from '../errors.js';
import { flock, type LockMode } from './flock.js';

export type { LockMode } from './flock.js';

export interface FileLock {
  readonly path: string;
  /** Idempotent. `unlink` removes the file before the lock is given up; only for exclusive locks. */
  release(options?: { readonly unlink?: boolean }): void;
  [Symbol.dispose](): void;
}

export interface TryLockOptions {
  /** False answers undefined instead of creating a missing file. Default true. */
  readonly create?: boolean;
}

export interface LockOptions {
  readonly signal?: AbortSignal;
  /** Called once, when the lock was not free at once. */
  readonly onWait?: () => void;
  /** Asks at least this often; for locks that are only ever held for milliseconds. */
  readonly maxPauseMs?: number;
  /** Never asks more often for having waited long: for locks that are held for as long as a download takes. */
  readonly patient?: boolean;
}

const MAX_PAUSE_MS = 20;
/** Who has waited this long asks at the shortest interval, so that newcomers do not always win. */
const IMPATIENT_AFTER_MS = 200;

/**
 * Waits for the lock. The file is created (0600) when it is missing; its directory must exist.
 * Rejects with LARDER_ABORTED, LARDER_PERMISSION, LARDER_BACKEND_UNAVAILABLE.
 */
export async function lockFile(path: string, mode: LockMode, options: LockOptions = {}): Promise<FileLock> {
  const { signal, onWait, maxPauseMs = MAX_PAUSE_MS, patient = false } = options;
  const since = patient ? Number.POSITIVE_INFINITY : performance.now();
  throwIfAborted(signal, `lock ${path}`);
  let lock = tryLockFile(path, mode);
  if (lock === undefined) onWait?.();
  for (let pauseMs = 1; lock === undefined; pauseMs = nextPause(pauseMs, since, maxPauseMs)) {
    await pause(pauseMs, path, signal);
    lock = tryLockFile(path, mode);
  }
  return lock;
}

/** The lock, or undefined when somebody else has it. */
export function tryLockFile(path: string, mode: LockMode, options: TryLockOptions = {}): FileLock | undefined {
  for (;;) {
    const fd = openLockFile(path, mode, options.create ?? true);
    if (fd === undefined) return undefined;
    const outcome = lockDescriptor(fd, path, mode);
    if (outcome === 'locked') return new HeldLock(path, fd);
    closeSync(fd);
    if (outcome === 'busy') return undefined;
  }
}

function lockDescriptor(fd: number, path: string, mode: LockMode): 'locked' | 'busy' | 'replaced' {
  try {
    if (!flock(fd, mode)) return 'busy';
    return isStill(path, fd) ? 'locked' : 'replaced';
  } catch (error) {
    closeSync(fd);
    throw systemError(`lock ${path}`, error);
  }
}

function openLockFile(path: string, mode: LockMode, create: boolean): number | undefined {
  // Shared locks are taken on read-only media too.
  const access = mode === 'shared' ? constants.O_RDONLY : constants.O_RDWR;
  try {
    return openSync(path, access | constants.O_NOFOLLOW | (create ? constants.O_CREAT : 0), 0o600);
  } catch (error) {
    if (!create && errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`lock ${path}`, error);
  }
}

/** Whether the path still names the file that was locked: its holder may have unlinked it while we waited. */
function isStill(path: string, fd: number): boolean {
  const named = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  const ours = fstatSync(fd, { bigint: true });
  return named !== undefined && named.ino === ours.ino && named.dev === ours.dev;
}

function nextPause(pauseMs: number, since: number, maxPauseMs: number): number {
  if (performance.now() - since > IMPATIENT_AFTER_MS) return 1;
  return Math.min(pauseMs * 2, maxPauseMs);
}

async function pause(ms: number, path: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal });
  } catch {
    throw abortedError(`lock ${path}`, signal);
  }
}

class HeldLock implements FileLock {
  readonly path: string;
  #fd: number | undefined;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  release(options: { readonly unlink?: boolean } = {}): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    try {
      if (options.unlink === true) unlinkSync(this.path);
    } catch (error) {
      // Whoever made it took it away: it stood for nothing.
      if (errnoOf(error) !== 'ENOENT') throw systemError(`unlock ${this.path}`, error);
    } finally {
      closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
