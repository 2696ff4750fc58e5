/** ▸ Extended attributes of the thing at a path or of an open file; a symbolic link's own, never its target's. */
import { displayName } from '../bytes.js';
import { component } from './at-calls.js';
import { isConfined } from './confine.js';
import { check, cString, kernel, kernelError, type PathLike } from './syscalls.js';

const ENODATA = 61;
const ERANGE = 34;
const EOPNOTSUPP = 95;

/** Names in bytewise order. Empty where the file system has none. */
export function listXattrs(path: PathLike): readonly Uint8Array[] {
  const list = grow('llistxattr', path, (buffer) => kernel().llistxattr(cString(path), buffer, buffer.length));
  return list === undefined ? [] : splitNames(list).sort(Buffer.compare);
}

/** Undefined when there is none of that name. */
export function getXattr(path: PathLike, name: PathLike): Uint8Array | undefined {
  return grow('lgetxattr', path, (buffer) => kernel().lgetxattr(cString(path), cString(name), buffer, buffer.length));
}

export function setXattr(path: PathLike, name: PathLike, value: Uint8Array): void {
  const result = kernel().lsetxattr(cString(path), cString(name), value, value.length, 0);
  check(result, `lsetxattr ${shown(name)}`, path);
}

/** Of one name below an open directory; a symbolic link's own. */
export function setXattrAt(dir: number, name: Uint8Array, attribute: PathLike, value: Uint8Array): void {
  if (!isConfined()) {
    setXattr(pathBelow(dir, name), attribute, value);
    return;
  }
  // There is no /proc there, and leaving it restores the working directory. setxattrat(2) needs Linux 6.13.
  check(kernel().fchdir(dir), 'fchdir');
  const result = kernel().lsetxattr(component(name), cString(attribute), value, value.length, 0);
  check(result, `lsetxattr ${shown(attribute)}`, name);
}

export function removeXattr(path: PathLike, name: PathLike): void {
  check(kernel().lremovexattr(cString(path), cString(name)), `lremovexattr ${shown(name)}`, path);
}

/**
 * Of a directory that was just made: the ACLs that it has from the one it lies in (acl(5), "Object creation and default
 * ACLs"), and all below it would have from it.
 */
export function dropInheritedAcls(path: PathLike): void {
  for (const name of ['system.posix_acl_default', 'system.posix_acl_access']) {
    if (kernel().lremovexattr(cString(path), cString(name)) === 0) continue;
    const errno = kernel().lastErrno();
    if (errno !== ENODATA && errno !== EOPNOTSUPP) throw kernelError(errno, `lremovexattr ${name}`, path);
  }
}

/** Of an open file or directory. */
export function setXattrOf(fd: number, name: PathLike, value: Uint8Array): void {
  check(kernel().fsetxattr(fd, cString(name), value, value.length, 0), `fsetxattr ${shown(name)}`);
}

/**
 * A path to one name below an open directory. The kernel resolves the descriptor itself and then only that name,
 * which no call of this file follows: the form for calls that take no directory.
 */
export function pathBelow(dir: number, name: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${dir}/`), name]);
}

/** Calls with a larger buffer until the answer fits. Undefined for "no such attribute" and "not supported". */
function grow(syscall: string, path: PathLike, call: (buffer: Uint8Array) => number): Uint8Array | undefined {
  for (let size = 1024; ; size *= 8) {
    const buffer = new Uint8Array(size);
    const length = call(buffer);
    if (length >= 0) return buffer.subarray(0, length);
    const errno = kernel().lastErrno();
    if (errno === ENODATA || errno === EOPNOTSUPP) return undefined;
    if (errno !== ERANGE || size > 1 << 20) throw kernelError(errno, syscall, path);
  }
}

function splitNames(list: Uint8Array): Uint8Array[] {
  const names: Uint8Array[] = [];
  for (let start = 0; start < list.length; ) {
    const end = list.indexOf(0, start);
    names.push(list.subarray(start, end));
    start = end + 1;
  }
  return names;
}

function shown(name: PathLike): string {
  return typeof name === 'string' ? name : displayName(name);
}
