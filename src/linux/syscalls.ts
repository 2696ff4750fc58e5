/**
 * ▸ Calls of the kernel that Node does not have, through koffi: loaded at the first call, so that what only reads
 * images never needs it. All calls are synchronous but one; what takes long belongs into a worker thread.
 *
 * Names are bytes. A failure throws a {@link KernelError}, shaped like Node's own system errors (`code`, `errno`,
 * `syscall`, `path`), which callers turn into a LarderError once, with `systemError` and what they were doing.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { displayName } from '../bytes.js';
import { LarderError } from '../errors.js';

/** A path or one name of it. Bytes are taken as they are; they need no terminator and must not contain one. */
export type PathLike = string | Uint8Array;

export interface KernelError extends Error {
  readonly code: string;
  /** Negative, as Node has it. */
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;
}

type Pointer = Uint8Array | null;

/** The raw calls: a negative answer is a failure whose number is in errno. */
interface Calls {
  mount(source: Pointer, target: Pointer, type: Pointer, flags: number, data: Pointer): number;
  umount2(target: Pointer, flags: number): number;
  openat(dir: number, path: Pointer, flags: number, mode: number): number;
  mkdirat(dir: number, path: Pointer, mode: number): number;
  mknodat(dir: number, path: Pointer, mode: number, device: bigint): number;
  symlinkat(target: Pointer, dir: number, path: Pointer): number;
  linkat(fromDir: number, from: Pointer, toDir: number, to: Pointer, flags: number): number;
  unlinkat(dir: number, path: Pointer, flags: number): number;
  fchownat(dir: number, path: Pointer, uid: number, gid: number, flags: number): number;
  fchown(fd: number, uid: number, gid: number): number;
  fchmodat(dir: number, path: Pointer, mode: number, flags: number): number;
  fchmod(fd: number, mode: number): number;
  utimensat(dir: number, path: Pointer, times: Pointer, flags: number): number;
  futimens(fd: number, times: Pointer): number;
  lseek(fd: number, offset: number, whence: number): number;
  copyFileRange(
    from: number,
    fromOffset: Pointer,
    to: number,
    toOffset: Pointer,
    length: number,
    flags: number,
  ): number;
  syncfs(fd: number): number;
  unshare(flags: number): number;
  /** Answers the error number itself. */
  posixFadvise(fd: number, offset: number, length: number, advice: number): number;
  fchdir(fd: number): number;
  chroot(path: Pointer): number;
  llistxattr(path: Pointer, list: Pointer, size: number): number;
  lgetxattr(path: Pointer, name: Pointer, value: Pointer, size: number): number;
  lsetxattr(path: Pointer, name: Pointer, value: Pointer, size: number, flags: number): number;
  lremovexattr(path: Pointer, name: Pointer): number;
  fsetxattr(fd: number, name: Pointer, value: Pointer, size: number, flags: number): number;
  ioctlInt(fd: number, request: number, argument: number): number;
  ioctlPointer(fd: number, request: number, argument: Pointer): number;
  fsopen(type: Pointer, flags: number): number;
  fsconfig(fd: number, command: number, key: Pointer, value: Pointer, aux: number): number;
  fsmount(fd: number, flags: number, attributes: number): number;
  moveMount(fromFd: number, from: Pointer, toFd: number, to: Pointer, flags: number): number;
  openTree(dir: number, path: Pointer, flags: number): number;
  mountSetattr(fd: number, path: Pointer, flags: number, attributes: Pointer, size: number): number;
  openat2(dir: number, path: Pointer, how: Pointer, size: number): number;
}

/** statx(2), which has no number that all architectures share, and no symbol in old C libraries. */
export type Statx = (dir: number, path: Pointer, flags: number, mask: number, buffer: Pointer) => number;

export interface Kernel extends Calls {
  /** The error number of this thread's last failed call. */
  lastErrno(): number;
  /** `umount2` in a thread of Node's pool; answers 0, or the error number. */
  umount2Aside(target: Pointer, flags: number): Promise<number>;
  /** Undefined where the C library does not have it. */
  readonly statx: Statx | undefined;
}

/** Numbers that all architectures share (linux/Documentation: system calls since 5.0 have one number everywhere). */
const SYS = {
  openTree: 428,
  moveMount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  openat2: 437,
  mountSetattr: 442,
} as const;

const PLAIN = {
  mount: ['mount', 'ppplp'],
  umount2: ['umount2', 'pi'],
  openat: ['openat', 'ipiu'],
  mkdirat: ['mkdirat', 'ipu'],
  mknodat: ['mknodat', 'ipuL'],
  symlinkat: ['symlinkat', 'pip'],
  linkat: ['linkat', 'ipipi'],
  unlinkat: ['unlinkat', 'ipi'],
  fchownat: ['fchownat', 'ipuui'],
  fchown: ['fchown', 'iuu'],
  fchmodat: ['fchmodat', 'ipui'],
  fchmod: ['fchmod', 'iu'],
  utimensat: ['utimensat', 'ippi'],
  futimens: ['futimens', 'ip'],
  lseek: ['lseek', 'ili', 'l'],
  copyFileRange: ['copy_file_range', 'ipiplu', 'l'],
  syncfs: ['syncfs', 'i'],
  unshare: ['unshare', 'i'],
  posixFadvise: ['posix_fadvise', 'illi'],
  fchdir: ['fchdir', 'i'],
  chroot: ['chroot', 'p'],
  llistxattr: ['llistxattr', 'ppl', 'l'],
  lgetxattr: ['lgetxattr', 'pppl', 'l'],
  lsetxattr: ['lsetxattr', 'pppli'],
  lremovexattr: ['lremovexattr', 'pp'],
  fsetxattr: ['fsetxattr', 'ippli'],
  ioctlInt: ['ioctl', 'ilI'],
  ioctlPointer: ['ioctl', 'ilp'],
} as const;

const NUMBERED = {
  openTree: 'ipu',
  moveMount: 'ipipu',
  fsopen: 'pu',
  fsconfig: 'iuppi',
  fsmount: 'iuu',
  openat2: 'ippl',
  mountSetattr: 'ipupl',
} as const satisfies Record<keyof typeof SYS, string>;

const TYPES: Readonly<Record<string, string>> = {
  i: 'int',
  I: 'int64_t',
  u: 'unsigned int',
  l: 'int64_t',
  L: 'uint64_t',
  p: 'const void *',
};

let loaded: Kernel | undefined;

/** The calls themselves, for loops that cannot afford more. Rejects with LARDER_BACKEND_UNAVAILABLE without koffi. */
export function kernel(): Kernel {
  loaded ??= load();
  return loaded;
}

function load(): Kernel {
  const koffi = requireKoffi();
  // The process's own libc, so that glibc and musl both work.
  const libc = koffi.load(null);
  const types = (letters: string) => [...letters].map((letter) => TYPES[letter] ?? 'int');
  const table: Record<string, unknown> = { lastErrno: () => koffi.errno() };
  for (const [name, [symbol, letters, result]] of Object.entries<readonly [string, string, string?]>(PLAIN)) {
    table[name] = libc.func(symbol, TYPES[result ?? 'i'] ?? 'int', types(letters));
  }
  for (const [name, letters] of Object.entries(NUMBERED)) {
    const call = libc.func('syscall', 'int64_t', ['int64_t', ...types(letters)]);
    const number = SYS[name as keyof typeof SYS];
    table[name] = (...values: readonly unknown[]) => call(number, ...values);
  }
  table['statx'] = ifThere(() => libc.func('statx', 'int', types('ipiup')));
  table['umount2Aside'] = aside(table['umount2'] as KoffiFunction, () => koffi.errno());
  return table as unknown as Kernel;
}

function ifThere<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch {
    // No such symbol: the caller has another way.
    return undefined;
  }
}

/** What koffi's functions are beside callable. */
interface KoffiFunction {
  readonly async: (...values: unknown[]) => void;
}

/** The error number is of the call when koffi calls back. */
function aside(call: KoffiFunction, lastErrno: () => number): (...values: readonly unknown[]) => Promise<number> {
  return (...values) =>
    new Promise((resolve, reject) => {
      call.async(...values, (failure: unknown, result: number) => {
        if (failure !== null) reject(failure);
        else resolve(result < 0 ? lastErrno() : 0);
      });
    });
}

function requireKoffi(): typeof import('koffi') {
  try {
    return createRequire(import.meta.url)('koffi');
  } catch (cause) {
    throw new LarderError('LARDER_BACKEND_UNAVAILABLE', 'call the kernel: koffi: cannot be loaded', {
      cause,
      hint: 'install the dependency koffi for this platform',
    });
  }
}

/** `result` when the call succeeded, else its error. `path` is only for the message. */
export function check(result: number, syscall: string, path?: PathLike): number {
  if (result < 0) throw kernelError(kernel().lastErrno(), syscall, path);
  return result;
}

export function kernelError(errno: number, syscall: string, path?: PathLike): KernelError {
  const code = errnoName(errno);
  const shown = path === undefined ? undefined : typeof path === 'string' ? path : displayName(path);
  const message = `${code}: ${explain(code)}, ${syscall}${shown === undefined ? '' : ` '${shown}'`}`;
  return Object.assign(new Error(message), {
    code,
    errno: -errno,
    syscall,
    ...(shown === undefined ? {} : { path: shown }),
  });
}

/** Bytes with the terminator that the kernel wants. A NUL inside would silently name something else: refused. */
export function cString(path: PathLike): Uint8Array {
  const bytes = typeof path === 'string' ? Buffer.from(path) : path;
  if (bytes.includes(0)) {
    throw new LarderError('LARDER_INTERNAL', `call the kernel: ${displayName(bytes)}: a name contains a zero byte`);
  }
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}

/** What nothing else can be mistaken for: the empty path of `AT_EMPTY_PATH`. */
export const EMPTY_PATH = new Uint8Array(1);

const EXTRA_NAMES: Readonly<Record<number, string>> = {
  11: 'EAGAIN',
  15: 'ENOTBLK',
  95: 'EOPNOTSUPP',
  117: 'EUCLEAN',
  129: 'EKEYREJECTED',
};

const NAMES = new Map<number, string>([
  ...Object.entries(constants.errno).map(([name, number]): [number, string] => [number, name]),
  ...Object.entries(EXTRA_NAMES).map(([number, name]): [number, string] => [Number(number), name]),
]);

function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}

const EXPLAIN: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EBUSY: 'resource busy',
  EEXIST: 'already exists',
  EINVAL: 'invalid argument',
  EIO: 'input/output error',
  ELOOP: 'too many symbolic links, or mounts upon mounts',
  EMFILE: 'too many open files',
  EMLINK: 'too many links',
  ENAMETOOLONG: 'name too long',
  ENODATA: 'no such attribute',
  ENODEV: 'the kernel does not know this file system',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on device',
  ENOSYS: 'the kernel does not have this call',
  ENOTBLK: 'block device required',
  ENOTDIR: 'not a directory',
  ENOTEMPTY: 'directory not empty',
  EOPNOTSUPP: 'not supported here',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
  ESTALE: 'stale file handle',
  EUCLEAN: 'structure needs cleaning',
  EXDEV: 'crosses file systems or mounts',
};

function explain(code: string): string {
  return EXPLAIN[code] ?? 'system error';
}
