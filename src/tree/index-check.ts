/**
 * One pass over a decoded layer index: every number and name that a reader relies on. The builder never makes what is
 * refused here; damage and forgery do.
 */

import { alignUp, f64, u8, u16, u32 } from '../bytes.js';
import { MAX_NAME_BYTES } from './clean-path.js';
import { FLAG, type IndexTables, isXattrSet } from './index-tables.js';
import { chunkBitsOf } from './sparse-runs.js';
import { KIND } from './types.js';

const SLASH = 0x2f;
const DOT = 0x2e;
const BLOCK = 512;

/** What is wrong with the tables, or undefined. */
export function findDamage(tables: IndexTables): string | undefined {
  if (!isOffsets(tables.setStart, tables.setBytes.length)) return 'xattr sets are out of order';
  if (!isOffsets(tables.runStart, tables.runOffset.length)) return 'sparse runs are out of order';
  for (let s = 0; s + 1 < tables.setStart.length; s++) {
    if (!isXattrSet(tables.setBytes, u32(tables.setStart, s), u32(tables.setStart, s + 1)))
      return `xattr set ${s} is damaged`;
  }
  if (!marks(tables, tables.xattrEntry, FLAG.xattrs)) return 'the list of entries with xattrs is damaged';
  if (!marks(tables, tables.sparseEntry, FLAG.sparse)) return 'the list of sparse entries is damaged';
  const sets = tables.setStart.length - 1;
  for (let k = 0; k < tables.xattrSet.length; k++)
    if (u32(tables.xattrSet, k) >= sets) return `xattr set of entry ${k} is missing`;
  for (let i = 0; i < tables.count; i++) {
    const damage = entryDamage(tables, i);
    if (damage !== undefined) return `entry ${i}: ${damage}`;
  }
  for (let k = 0; k < tables.sparseEntry.length; k++) {
    if (!isSparseSound(tables, k)) return `the sparse runs of entry ${u32(tables.sparseEntry, k)} are damaged`;
  }
  return undefined;
}

function entryDamage(tables: IndexTables, i: number): string | undefined {
  const { pool } = tables;
  const kind = u8(tables.kind, i);
  if (kind < KIND.file || kind > KIND.opaque) return `kind ${kind}`;
  if (u16(tables.mode, i) > 0o7777) return 'mode';
  if (u8(tables.flags, i) > 7) return 'flags';
  if (u32(tables.uid, i) === 0xffff_ffff || u32(tables.gid, i) === 0xffff_ffff) return 'owner';
  if (u32(tables.mtimeNs, i) >= 1e9 || !Number.isSafeInteger(f64(tables.mtime, i))) return 'time';
  const start = u32(tables.pathStart, i);
  const end = start + u16(tables.pathLength, i);
  if (end > pool.length || !isCleanPath(pool, start, end)) return 'path';
  if (end === start && kind !== KIND.directory && kind !== KIND.opaque) return 'a root that is no directory';
  return linkDamage(tables, i, kind) ?? dataDamage(tables, i, kind);
}

function linkDamage({ pool, linkStart, linkLength }: IndexTables, i: number, kind: number): string | undefined {
  const start = u32(linkStart, i);
  const end = start + u16(linkLength, i);
  if (end > pool.length) return 'link target';
  if (kind === KIND.hardlink) return isCleanPath(pool, start, end) ? undefined : 'link target';
  if (kind !== KIND.symlink) return end === 0 ? undefined : 'a link target without a link';
  if (end === start || end - start > 4095 || pool.subarray(start, end).includes(0)) return 'link target';
  return undefined;
}

function dataDamage(tables: IndexTables, i: number, kind: number): string | undefined {
  const size = f64(tables.size, i);
  const offset = f64(tables.offset, i);
  const flags = u8(tables.flags, i) & (FLAG.extra | FLAG.sparse);
  if (!isCount(size) || !isCount(offset)) return 'size';
  if (kind !== KIND.file) {
    if (flags !== 0) return 'flags';
    if (kind === KIND.character || kind === KIND.block) return size > 4095 || offset > 1_048_575 ? 'device' : undefined;
    return size !== 0 || offset !== 0 ? 'size' : undefined;
  }
  if (flags === (FLAG.extra | FLAG.sparse)) return 'flags';
  if (flags === FLAG.sparse || size === 0) return undefined;
  const end = flags === FLAG.extra ? tables.extraSize : tables.tarSize;
  return offset % BLOCK !== 0 || alignUp(offset + size, BLOCK) > end ? 'data outside its source' : undefined;
}

function isSparseSound(tables: IndexTables, k: number): boolean {
  const { runOffset, runLength } = tables;
  const i = u32(tables.sparseEntry, k);
  const size = f64(tables.size, i);
  const runs: { offset: number; length: number }[] = [];
  let end = -1;
  let stored = 0;
  for (let r = u32(tables.runStart, k); r < u32(tables.runStart, k + 1); r++) {
    const offset = f64(runOffset, r);
    const length = f64(runLength, r);
    if (!isCount(offset) || !isCount(length) || length === 0 || offset <= end || offset + length > size) return false;
    end = offset + length;
    stored += length;
    runs.push({ offset, length });
  }
  if (f64(tables.offset, i) % BLOCK !== 0 || chunkBitsOf(size, runs) === undefined) return false;
  return stored === 0 || alignUp(f64(tables.offset, i) + stored, BLOCK) <= tables.tarSize;
}

/** Whether `entries` ascends and names exactly the entries that carry `flag`. */
function marks({ flags, count }: IndexTables, entries: Uint32Array, flag: number): boolean {
  let k = 0;
  for (let i = 0; i < count; i++) {
    if ((u8(flags, i) & flag) === 0) continue;
    if (k === entries.length || u32(entries, k) !== i) return false;
    k++;
  }
  return k === entries.length;
}

/** Whether `starts` ascends from 0 to `end`. */
function isOffsets(starts: Uint32Array, end: number): boolean {
  let before = 0;
  for (const start of starts) {
    if (start < before) return false;
    before = start;
  }
  return u32(starts, 0) === 0 && before === end;
}

function isCount(n: number): boolean {
  return n >= 0 && n <= Number.MAX_SAFE_INTEGER && Math.floor(n) === n;
}

/** Whether the bytes are a path as the builder makes them. */
function isCleanPath(bytes: Uint8Array, start: number, end: number): boolean {
  if (start === end) return true;
  let component = start;
  for (let i = start; i <= end; i++) {
    const byte = i === end ? SLASH : u8(bytes, i);
    if (byte === 0) return false;
    if (byte !== SLASH) continue;
    const length = i - component;
    if (length === 0 || length > MAX_NAME_BYTES) return false;
    if (u8(bytes, component) === DOT && (length === 1 || (length === 2 && u8(bytes, component + 1) === DOT)))
      return false;
    component = i + 1;
  }
  return true;
}
