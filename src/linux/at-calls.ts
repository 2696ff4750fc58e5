/**
 * ▸ Making and removing things below an open directory, one name at a time. None of these calls resolves more than
 * one component, and none follows a symbolic link at it: a name out of an image cannot lead anywhere else.
 */
import { constants } from 'node:fs';
import { u8 } from '../bytes.js';
import { check, cString, kernel, kernelError, type PathLike } from './syscalls.js';

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;

export const O_PATH = 0o10000000;
export const O_CLOEXEC = 0o2000000;

/** File types as `mknodat` takes them. */
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | O_CLOEXEC;

const NAME_MAX = 255;
const firstName = new Uint8Array(NAME_MAX + 1);
const secondName = new Uint8Array(NAME_MAX + 1);

/**
 * One name that is no path: the guard of everything in this file. The answer is good until the next call, which is all
 * that a system call needs: nothing is allocated for the name of each of an image's files.
 */
export function component(name: PathLike, into = firstName): Uint8Array {
  if (typeof name === 'string' || name.length > NAME_MAX) return checkedComponent(name);
  const { length } = name;
  for (let i = 0; i < length; i++) {
    const byte = u8(name, i);
    if (byte === 0 || byte === 0x2f) return checkedComponent(name);
    into[i] = byte;
  }
  into[length] = 0;
  return length < 3 ? checkedComponent(name) : into;
}

function checkedComponent(name: PathLike): Uint8Array {
  const bytes = cString(name);
  if (bytes.length < 2 || bytes.includes(0x2f) || isDots(bytes)) throw kernelError(22, 'single component', name);
  return bytes;
}

function isDots(bytes: Uint8Array): boolean {
  return bytes[0] === 0x2e && (bytes.length === 2 || (bytes.length === 3 && bytes[1] === 0x2e));
}

/** Opens a directory of the host by its path, for reading; a symbolic link in its last component is refused. */
export function openDirectory(path: PathLike): number {
  return check(kernel().openat(AT_FDCWD, cString(path), DIRECTORY, 0), 'open', path);
}

/** A descriptor that only names the directory: for mounting onto it, or as a layer of an overlay. */
export function openDirectoryPath(path: PathLike): number {
  return check(kernel().openat(AT_FDCWD, cString(path), DIRECTORY | O_PATH, 0), 'open', path);
}

/** Another descriptor of the same directory, for reading. */
export function openSelf(dir: number): number {
  return check(kernel().openat(dir, cString('.'), DIRECTORY, 0), 'openat', '.');
}

export function openDirectoryAt(dir: number, name: PathLike): number {
  return check(kernel().openat(dir, component(name), DIRECTORY, 0), 'openat', name);
}

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | O_CLOEXEC;

/** Creates a file that must not exist, for writing. The umask applies to `mode`. */
export function createFileAt(dir: number, name: PathLike, mode = 0o600): number {
  return check(kernel().openat(dir, component(name), NEW_FILE, mode), 'openat', name);
}

export function mkdirAt(dir: number, name: PathLike, mode = 0o700): void {
  check(kernel().mkdirat(dir, component(name), mode), 'mkdirat', name);
}

/** A device node or fifo; `mode` includes the type, the umask applies. */
export function mknodAt(dir: number, name: PathLike, mode: number, major = 0, minor = 0): void {
  check(kernel().mknodat(dir, component(name), mode, deviceNumber(major, minor)), 'mknodat', name);
}

export function symlinkAt(target: PathLike, dir: number, name: PathLike): void {
  check(kernel().symlinkat(cString(target), dir, component(name)), 'symlinkat', name);
}

/** A hard link to the thing of that name itself, also when it is a symbolic link. */
export function linkAt(fromDir: number, from: PathLike, toDir: number, to: PathLike): void {
  check(kernel().linkat(fromDir, component(from), toDir, component(to, secondName), 0), 'linkat', to);
}

export function unlinkAt(dir: number, name: PathLike): void {
  check(kernel().unlinkat(dir, component(name), 0), 'unlinkat', name);
}

export function rmdirAt(dir: number, name: PathLike): void {
  check(kernel().unlinkat(dir, component(name), AT_REMOVEDIR), 'unlinkat', name);
}

export function chownAt(dir: number, name: PathLike, uid: number, gid: number): void {
  check(kernel().fchownat(dir, component(name), uid, gid, AT_SYMLINK_NOFOLLOW), 'fchownat', name);
}

export function chown(fd: number, uid: number, gid: number): void {
  check(kernel().fchown(fd, uid, gid), 'fchown');
}

/** Only for what is known not to be a symbolic link: the kernel's call has no flag for it. */
export function chmodAt(dir: number, name: PathLike, mode: number): void {
  check(kernel().fchmodat(dir, component(name), mode, 0), 'fchmodat', name);
}

export function chmod(fd: number, mode: number): void {
  check(kernel().fchmod(fd, mode), 'fchmod');
}

/** Sets access and modification time; `seconds` may be negative. */
export function setTimeAt(dir: number, name: PathLike, seconds: number, nanoseconds: number): void {
  const times = timespecs(seconds, nanoseconds);
  check(kernel().utimensat(dir, component(name), times, AT_SYMLINK_NOFOLLOW), 'utimensat', name);
}

export function setTime(fd: number, seconds: number, nanoseconds: number): void {
  check(kernel().futimens(fd, timespecs(seconds, nanoseconds)), 'futimens');
}

const times = new DataView(new ArrayBuffer(32));
const timesBytes = new Uint8Array(times.buffer);

function timespecs(seconds: number, nanoseconds: number): Uint8Array {
  const high = Math.floor(seconds / 2 ** 32);
  for (let start = 0; start < 32; start += 16) {
    times.setUint32(start, seconds - high * 2 ** 32, true);
    times.setInt32(start + 4, high, true);
    times.setUint32(start + 8, nanoseconds, true);
  }
  return timesBytes;
}

/** makedev(3): the kernel's 64-bit form, for majors above 12 and minors above 8 bits too. */
function deviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & 0xfffff000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffffff00n) << 12n) | (low & 0xffn);
}

/** openat2(2), `resolve`: what a lookup may not do. */
const RESOLVE_NO_XDEV = 0x01;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;

const ENOSYS = 38;

/**
 * Like {@link openDirectoryAt}, but refuses with EXDEV where something is mounted at that name (bind mounts of the
 * same file system included). Kernels before 5.6 cannot tell; there the caller's own look at the mount table counts.
 */
export function openDirectoryOnSameMount(dir: number, name: PathLike): number {
  return openOnSameMount(dir, name, DIRECTORY);
}

/** The name itself, whatever it is, a symbolic link too, as a handle (O_PATH); refuses as {@link openDirectoryOnSameMount}. */
export function openHandleOnSameMount(dir: number, name: PathLike): number {
  return openOnSameMount(dir, name, O_PATH | O_CLOEXEC | constants.O_NOFOLLOW);
}

function openOnSameMount(dir: number, name: PathLike, flags: number): number {
  const how = new DataView(new ArrayBuffer(24));
  how.setBigUint64(0, BigInt(flags), true);
  how.setBigUint64(16, BigInt(RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH), true);
  const fd = kernel().openat2(dir, component(name), new Uint8Array(how.buffer), 24);
  if (fd >= 0 || kernel().lastErrno() !== ENOSYS) return check(fd, 'openat2', name);
  return check(kernel().openat(dir, component(name), flags, 0), 'openat', name);
}

/** The directory that holds this one. */
export function openParent(dir: number): number {
  return check(kernel().openat(dir, cString('..'), DIRECTORY, 0), 'openat', '..');
}

/** Waits until everything of the file system that `fd` is on has reached the disk. Long: for worker threads. */
export function syncFileSystem(fd: number): void {
  check(kernel().syncfs(fd), 'syncfs');
}
