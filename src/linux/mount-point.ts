/**
 * ▸ Whether something is mounted at one place, asked of the kernel for that place alone: reading the mount table takes
 * longer the more there is mounted, which makes a thousand containers a thousand times as slow as one. Where the kernel
 * (before Linux 5.8) or the C library does not know the question, the table answers.
 */
import { readdirSync } from 'node:fs';
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW } from './at-calls.js';
import { findMount } from './mountinfo.js';
import { check, cString, kernel, type PathLike } from './syscalls.js';

const AT_NO_AUTOMOUNT = 0x800;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_TYPE = 1;
const STATX_SIZE = 0x200;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;
const S_IFMT = 0xf000;
const S_IFDIR = 0x4000;
/** Of struct statx (linux/stat.h), alike on all architectures. */
const AT = { attributes: 8, mode: 28, size: 40, attributesMask: 56 } as const;
const STATX_BYTES = 256;

export interface PlaceStat {
  readonly isDirectory: boolean;
  /** Bytes. */
  readonly size: number;
  /** Something is mounted right there. */
  readonly isMountPoint: boolean;
}

/** Undefined where the kernel cannot tell. Throws the kernel's refusal: ENOENT when there is nothing. */
export function statPlace(path: PathLike): PlaceStat | undefined {
  const { statx } = kernel();
  if (statx === undefined) return undefined;
  const answer = Buffer.alloc(STATX_BYTES);
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
  check(statx(AT_FDCWD, cString(path), flags, STATX_TYPE | STATX_SIZE, answer), 'statx', path);
  if ((answer.readBigUInt64LE(AT.attributesMask) & STATX_ATTR_MOUNT_ROOT) === 0n) return undefined;
  return {
    isDirectory: (answer.readUInt16LE(AT.mode) & S_IFMT) === S_IFDIR,
    size: Number(answer.readBigUInt64LE(AT.size)),
    isMountPoint: (answer.readBigUInt64LE(AT.attributes) & STATX_ATTR_MOUNT_ROOT) !== 0n,
  };
}

/** Whether one sees a mount at `path`, which is absolute and without symbolic links. */
export function isMountPoint(path: string): boolean {
  return placeOf(path)?.isMountPoint ?? findMount(path) !== undefined;
}

/** No mount at `path`, and no names in it below which one could be. False when that is not known so cheaply. */
export function isBareDirectory(path: string): boolean {
  const place = placeOf(path);
  if (place === undefined || place.isMountPoint || !place.isDirectory) return false;
  return place.size <= MAX_SMALL_DIRECTORY && readdirSync(path).length === 0;
}

/** The size of a directory grows with what it ever held: one beyond this is not worth reading for a hint. */
export const MAX_SMALL_DIRECTORY = 16384;

/** Whatever keeps the kernel from looking (there is nothing, a broken file system), the mount table knows. */
function placeOf(path: string): PlaceStat | undefined {
  try {
    return statPlace(path);
  } catch {
    return undefined;
  }
}
