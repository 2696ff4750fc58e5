/**
 * A layer index as the plain arrays that are stored, and the {@link LayerIndex} over them. The builder fills them, the
 * encoding writes and reads them.
 */

import { f64, u8, u32 } from '../bytes.js';
import type { SparseRun, Xattr } from '../tar/entry.js';
import type { LayerIndex } from './types.js';

/** Bits of the `flags` column. */
export const FLAG = { xattrs: 1, extra: 2, sparse: 4 } as const;

/** The fixed-width columns, one element per entry. */
export interface EntryColumns {
  readonly kind: Uint8Array;
  readonly flags: Uint8Array;
  readonly mode: Uint16Array;
  readonly uid: Uint32Array;
  readonly gid: Uint32Array;
  readonly mtime: Float64Array;
  readonly mtimeNs: Uint32Array;
  readonly size: Float64Array;
  readonly offset: Float64Array;
  readonly pathStart: Uint32Array;
  readonly pathLength: Uint16Array;
  readonly linkStart: Uint32Array;
  readonly linkLength: Uint16Array;
}

export interface IndexTables extends EntryColumns {
  readonly count: number;
  readonly tarSize: number;
  readonly extraSize: number;
  readonly pool: Uint8Array;

  /** Entries with xattrs, ascending, and the number of the set that each has. */
  readonly xattrEntry: Uint32Array;
  readonly xattrSet: Uint32Array;
  /** Set s is setBytes[setStart[s] .. setStart[s + 1]): records of u8 name length, u16 value length, name, value. */
  readonly setStart: Uint32Array;
  readonly setBytes: Uint8Array;

  /** Sparse entries whose runs the kernel can map, ascending; entry k has the runs runStart[k] .. runStart[k + 1]. */
  readonly sparseEntry: Uint32Array;
  readonly runStart: Uint32Array;
  readonly runOffset: Float64Array;
  readonly runLength: Float64Array;
}

export function layerIndexOf(tables: IndexTables): LayerIndex {
  return new TableIndex(tables);
}

class TableIndex implements LayerIndex {
  readonly count: number;
  readonly tarSize: number;
  readonly extraSize: number;
  readonly kind: Uint8Array;
  readonly mode: Uint16Array;
  readonly uid: Uint32Array;
  readonly gid: Uint32Array;
  readonly mtime: Float64Array;
  readonly mtimeNs: Uint32Array;
  readonly size: Float64Array;
  readonly offset: Float64Array;
  readonly pool: Uint8Array;
  readonly pathStart: Uint32Array;
  readonly pathLength: Uint16Array;
  readonly linkStart: Uint32Array;
  readonly linkLength: Uint16Array;
  readonly #tables: IndexTables;

  constructor(tables: IndexTables) {
    this.count = tables.count;
    this.tarSize = tables.tarSize;
    this.extraSize = tables.extraSize;
    this.kind = tables.kind;
    this.mode = tables.mode;
    this.uid = tables.uid;
    this.gid = tables.gid;
    this.mtime = tables.mtime;
    this.mtimeNs = tables.mtimeNs;
    this.size = tables.size;
    this.offset = tables.offset;
    this.pool = tables.pool;
    this.pathStart = tables.pathStart;
    this.pathLength = tables.pathLength;
    this.linkStart = tables.linkStart;
    this.linkLength = tables.linkLength;
    this.#tables = tables;
  }

  hasXattrs(i: number): boolean {
    return (u8(this.#tables.flags, i) & FLAG.xattrs) !== 0;
  }

  inExtra(i: number): boolean {
    return (u8(this.#tables.flags, i) & FLAG.extra) !== 0;
  }

  xattrs(i: number): readonly Xattr[] {
    if (!this.hasXattrs(i)) return [];
    const { xattrEntry, xattrSet, setStart, setBytes } = this.#tables;
    const set = u32(xattrSet, findSorted(xattrEntry, i));
    return decodeXattrSet(setBytes, u32(setStart, set), u32(setStart, set + 1));
  }

  sparse(i: number): readonly SparseRun[] | undefined {
    if ((u8(this.#tables.flags, i) & FLAG.sparse) === 0) return undefined;
    const { sparseEntry, runStart, runOffset, runLength } = this.#tables;
    const k = findSorted(sparseEntry, i);
    const runs: SparseRun[] = [];
    for (let r = u32(runStart, k); r < u32(runStart, k + 1); r++) {
      runs.push({ offset: f64(runOffset, r), length: f64(runLength, r) });
    }
    return runs;
  }
}

/** Where `value` stands in an ascending array that holds it. */
function findSorted(array: Uint32Array, value: number): number {
  let low = 0;
  let high = array.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (u32(array, middle) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function encodeXattrSet(xattrs: readonly Xattr[]): Uint8Array {
  const bytes = new Uint8Array(xattrs.reduce((sum, { name, value }) => sum + 3 + name.length + value.length, 0));
  let to = 0;
  for (const { name, value } of xattrs) {
    bytes[to] = name.length;
    bytes[to + 1] = value.length & 0xff;
    bytes[to + 2] = value.length >>> 8;
    bytes.set(name, to + 3);
    bytes.set(value, to + 3 + name.length);
    to += 3 + name.length + value.length;
  }
  return bytes;
}

function decodeXattrSet(bytes: Uint8Array, start: number, end: number): Xattr[] {
  const xattrs: Xattr[] = [];
  for (let from = start; from < end; ) {
    const name = from + 3;
    const value = name + u8(bytes, from);
    from = value + (u8(bytes, from + 1) | (u8(bytes, from + 2) << 8));
    xattrs.push({ name: bytes.subarray(name, value), value: bytes.subarray(value, from) });
  }
  return xattrs;
}

/** Whether bytes[start..end) are whole xattr records with names. */
export function isXattrSet(bytes: Uint8Array, start: number, end: number): boolean {
  let from = start;
  while (from < end) {
    if (end - from < 3 || u8(bytes, from) === 0) return false;
    from += 3 + u8(bytes, from) + (u8(bytes, from + 1) | (u8(bytes, from + 2) << 8));
  }
  return from === end && end > start;
}
