/** The fields of one 512-byte header block (POSIX.1-1988 ustar, V7, GNU and star), read in place. */
import { u8 } from '../bytes.js';
import type { ErrorCode, LarderError } from '../errors.js';

export const BLOCK = 512;

export const FIELD = {
  name: 0,
  mode: 100,
  uid: 108,
  gid: 116,
  size: 124,
  mtime: 136,
  checksum: 148,
  type: 156,
  link: 157,
  magic: 257,
  devMajor: 329,
  devMinor: 337,
  prefix: 345,
  gnuSparse: 386,
  gnuExtended: 482,
  gnuRealSize: 483,
} as const;

export const NAME_BYTES = 100;

/** Makes the error that refuses the archive, knowing where the reader is; LARDER_LAYER_INVALID unless told. */
export type Refuse = (what: string, code?: ErrorCode) => LarderError;

export type HeaderFormat = 'v7' | 'ustar' | 'star' | 'gnu';

/** The sum of a block's bytes, unsigned. 0 means a block of zeros. */
export function byteSum(view: DataView, offset: number): number {
  // Two 16-bit lanes: 128 words of two bytes each add up to at most 65,280 per lane.
  let lanes = 0;
  for (let i = offset; i < offset + BLOCK; i += 4) {
    const word = view.getInt32(i, true);
    lanes = (lanes + (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff)) | 0;
  }
  return (lanes & 0xffff) + (lanes >>> 16);
}

/**
 * Whether the header's checksum is right, given {@link byteSum}. Some old tars summed signed bytes; both are accepted,
 * as POSIX asks of readers.
 */
export function checksumMatches(header: Uint8Array, offset: number, sum: number): boolean {
  const claimed = numeric(header, offset + FIELD.checksum, 8);
  let field = 0;
  for (let i = 0; i < 8; i++) field += u8(header, offset + FIELD.checksum + i);
  const unsigned = sum - field + 8 * 0x20;
  return claimed === unsigned || claimed === signedSum(header, offset);
}

/**
 * A numeric field: octal with leading spaces, ended by spaces and NULs, or GNU's base-256 (first bit set, two's
 * complement). An empty field is 0. NaN when it is neither; beyond ±2^53 it is ±Infinity.
 */
export function numeric(bytes: Uint8Array, offset: number, length: number): number {
  if ((u8(bytes, offset) & 0x80) !== 0) return base256(bytes, offset, length);
  const end = offset + length;
  let i = offset;
  while (i < end && u8(bytes, i) === 0x20) i++;
  let value = 0;
  for (; i < end; i++) {
    const digit = u8(bytes, i) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  for (; i < end; i++) {
    const byte = u8(bytes, i);
    if (byte !== 0 && byte !== 0x20) return Number.NaN;
  }
  return value;
}

/** Which dialect the magic shows: it decides what the bytes from 345 on mean. */
export function formatOf(header: Uint8Array, offset: number): HeaderFormat {
  const magic = offset + FIELD.magic;
  // "ustar", then "\0" (POSIX) or "  \0" (GNU); star marks itself with "tar\0" at the very end.
  const ustar =
    u8(header, magic) === 0x75 &&
    u8(header, magic + 1) === 0x73 &&
    u8(header, magic + 2) === 0x74 &&
    u8(header, magic + 3) === 0x61 &&
    u8(header, magic + 4) === 0x72;
  if (!ustar) return 'v7';
  const sixth = u8(header, magic + 5);
  if (sixth === 0) return isStar(header, offset) ? 'star' : 'ustar';
  return sixth === 0x20 && u8(header, magic + 6) === 0x20 && u8(header, magic + 7) === 0 ? 'gnu' : 'v7';
}

/** How many bytes the prefix of the name has at most; 0 when this header has no prefix. */
export function prefixBytes(header: Uint8Array, offset: number, format: HeaderFormat): number {
  if (u8(header, offset + FIELD.prefix) === 0) return 0;
  if (format === 'ustar') return 155;
  if (format === 'star') return 131;
  return format === 'gnu' && isMisplacedPrefix(header, offset) ? 155 : 0;
}

/**
 * Go before 1.8 (Docker before 1.13) wrote a ustar prefix under GNU's magic, where GNU keeps atime and ctime. Such
 * layers exist; like Go, take the bytes for a prefix when they are ASCII and cannot be the two times.
 */
function isMisplacedPrefix(header: Uint8Array, offset: number): boolean {
  const prefix = offset + FIELD.prefix;
  const times = numeric(header, prefix, 12) + numeric(header, prefix + 12, 12);
  if (!Number.isNaN(times)) return false;
  for (let i = prefix; i < prefix + 155 && u8(header, i) !== 0; i++) if (u8(header, i) >= 0x80) return false;
  return true;
}

function isStar(header: Uint8Array, offset: number): boolean {
  const end = offset + 508;
  return (
    u8(header, end) === 0x74 &&
    u8(header, end + 1) === 0x61 &&
    u8(header, end + 2) === 0x72 &&
    u8(header, end + 3) === 0
  );
}

function base256(bytes: Uint8Array, offset: number, length: number): number {
  const negative = (u8(bytes, offset) & 0x40) !== 0;
  const flip = negative ? 0xff : 0;
  let value = (u8(bytes, offset) ^ flip) & 0x7f;
  for (let i = offset + 1; i < offset + length; i++) value = value * 256 + (u8(bytes, i) ^ flip);
  if (value > Number.MAX_SAFE_INTEGER) value = Number.POSITIVE_INFINITY;
  return negative ? -1 - value : value;
}

function signedSum(header: Uint8Array, offset: number): number {
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) {
    if (i >= FIELD.checksum && i < FIELD.checksum + 8) continue;
    sum += (u8(header, offset + i) << 24) >> 24;
  }
  return sum;
}
