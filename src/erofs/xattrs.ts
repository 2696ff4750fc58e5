/** Extended attributes as EROFS keeps them behind an inode: a header, then entries whose name prefix is a number. */
import { Buffer } from 'node:buffer';
import { alignUp } from '../bytes.js';
import type { Xattr } from '../tar/entry.js';
import { MAX_XATTR_BYTES, XATTR } from './constants.js';

const PREFIXES = [
  { bytes: Buffer.from('user.'), index: 1, exact: false },
  { bytes: Buffer.from('system.posix_acl_access'), index: 2, exact: true },
  { bytes: Buffer.from('system.posix_acl_default'), index: 3, exact: true },
  { bytes: Buffer.from('trusted.'), index: 4, exact: false },
  { bytes: Buffer.from('security.'), index: 6, exact: false },
];

/**
 * Bytes that the attributes take behind an inode; 0 when there are none. A name under a prefix that EROFS has no number
 * for takes none: the kernel could not show it, and no file system below an overlay would take it.
 * `undefined` when the attributes do not fit.
 */
export function xattrBytes(xattrs: readonly Xattr[]): number | undefined {
  let bytes = 0;
  for (const { name, value } of xattrs) {
    const prefix = prefixOf(name);
    if (prefix === undefined) continue;
    const rest = name.length - prefix.bytes.length;
    if (rest > XATTR.maxNameBytes || value.length > XATTR.maxValueBytes) return undefined;
    bytes += alignUp(XATTR.entryBytes + rest + value.length, 4);
  }
  if (bytes === 0) return 0;
  return bytes + XATTR.headerBytes <= MAX_XATTR_BYTES ? bytes + XATTR.headerBytes : undefined;
}

/** `i_xattr_icount` for attributes of that many bytes. */
export function xattrCount(bytes: number): number {
  return bytes === 0 ? 0 : (bytes - XATTR.headerBytes) / 4 + 1;
}

/** Writes what {@link xattrBytes} measured; the bytes of `piece` from `start` must be zero. */
export function encodeXattrs(xattrs: readonly Xattr[], piece: Uint8Array, start: number): void {
  let at = start + XATTR.headerBytes;
  for (const { name, value } of xattrs) {
    const prefix = prefixOf(name);
    if (prefix === undefined) continue;
    const rest = name.subarray(prefix.bytes.length);
    piece[at] = rest.length;
    piece[at + 1] = prefix.index;
    piece[at + 2] = value.length & 0xff;
    piece[at + 3] = value.length >>> 8;
    piece.set(rest, at + XATTR.entryBytes);
    piece.set(value, at + XATTR.entryBytes + rest.length);
    at += alignUp(XATTR.entryBytes + rest.length + value.length, 4);
  }
}

function prefixOf(name: Uint8Array): (typeof PREFIXES)[number] | undefined {
  return PREFIXES.find(({ bytes, exact }) => {
    if (exact ? name.length !== bytes.length : name.length <= bytes.length) return false;
    return bytes.every((byte, i) => name[i] === byte);
  });
}
