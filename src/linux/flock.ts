/** flock(2), which Node does not have: through koffi, or through util-linux's `flock` on an inherited descriptor. */
import { createRequire } from 'node:module';
import { LarderError } from '../errors.js';

export type LockMode = 'shared' | 'exclusive';

/** Takes the lock on an open descriptor, or answers false at once when another open file description has it. */
export type Flock = (fd: number, mode: LockMode) => boolean;

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

let chosen: Flock | undefined;

/** The first way that works here. Rejects with LARDER_BACKEND_UNAVAILABLE when there is none. */
export function flock(fd: number, mode: LockMode): boolean {
  chosen ??= koffiFlock() ?? commandFlock();
  return chosen(fd, mode);
}

/** Undefined when koffi cannot be loaded here. */
export function koffiFlock(): Flock | undefined {
  try {
    const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
    // The process's own libc, so that glibc and musl both work.
    const call = koffi.load(null).func('int flock(int fd, int operation)');
    const { EINTR, EWOULDBLOCK } = koffi.os.errno;
    return (fd, mode) => {
      for (;;) {
        if (call(fd, (mode === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB) === 0) return true;
        const errno = koffi.errno();
        if (errno === EWOULDBLOCK) return false;
        if (errno !== EINTR) throw refused(`errno ${errno}`);
      }
    };
  } catch {
    // Not installed, or not built for this platform: the caller has another way.
    return undefined;
  }
}

/**
 * The lock belongs to the open file description, which the child shares with us: it stays with our descriptor when
 * the child has ended, and goes when we do.
 */
export function commandFlock(command = 'flock'): Flock {
  // Loaded where it is needed: most machines have koffi, and this takes as long as that.
  const { spawnSync }: typeof import('node:child_process') = createRequire(import.meta.url)('node:child_process');
  return (fd, mode) => {
    const args = [mode === 'shared' ? '-s' : '-x', '-n', '3'];
    const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'ignore', fd] });
    if (status === 0) return true;
    if (status === 1) return false;
    if (error !== undefined) throw unavailable(error);
    throw refused(`flock(1) ended with ${status}`);
  };
}

function unavailable(cause: Error): LarderError {
  return new LarderError(
    'LARDER_BACKEND_UNAVAILABLE',
    `lock a file: flock(2): ${cause.message}, and koffi cannot be loaded`,
    {
      cause,
      hint: 'install the optional dependency koffi for this platform, or the flock command (util-linux, busybox)',
    },
  );
}

function refused(why: string): LarderError {
  return new LarderError('LARDER_BACKEND_UNAVAILABLE', `lock a file: flock(2): refused: ${why}`, {
    hint: 'keep the store on a local file system that supports flock(2)',
  });
}
