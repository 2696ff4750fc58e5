/**
 * ▸ The stored form of a layer index: `derived/<format>/layers/<DiffID>/index`.
 *
 * Deterministic: the same archive gives the same bytes. Derived: a wrong one is thrown away and made again (I10). All
 * numbers are little-endian and every section starts at a multiple of 8, so that decoding makes views on one buffer.
 *
 *     header, 128 bytes
 *       0  "larderix"                8  u32 version        12  u32 zero
 *      16  f64 tar size             24  f64 extra size
 *      32  f64 entries              40  f64 pool bytes
 *      48  f64 entries with xattrs  56  f64 xattr sets     64  f64 xattr set bytes
 *      72  f64 sparse entries       80  f64 sparse runs    88  40 bytes zero
 *     sections, in this order
 *       mtime size offset                        f64 per entry
 *       uid gid mtimeNs pathStart linkStart      u32 per entry
 *       mode pathLength linkLength               u16 per entry
 *       kind flags                               u8 per entry
 *       xattrEntry xattrSet                      u32 per entry with xattrs
 *       setStart                                 u32 per xattr set, and one more
 *       sparseEntry                              u32 per sparse entry
 *       runStart                                 u32 per sparse entry, and one more
 *       runOffset runLength                      f64 per run
 *       pool, setBytes                           bytes
 *
 * `LayerIndex` and `IndexTables` say what the sections mean.
 */
import { endianness } from 'node:os';
import { alignUp } from '../bytes.js';
import { LarderError } from '../errors.js';
import type { BuiltIndex } from './index-builder.js';
import { findDamage } from './index-check.js';
import { type IndexTables, layerIndexOf } from './index-tables.js';
import type { LayerIndex } from './types.js';

const MAGIC = Buffer.from('larderix');
const VERSION = 1;
const HEADER_BYTES = 128;
const HEADER_USED = 88;
/** No count of an index comes near it; products of it and a column's width stay exact. */
const MAX_COUNT = 2 ** 32;

/** The counts in the order of the header. */
interface Shape {
  readonly tarSize: number;
  readonly extraSize: number;
  readonly count: number;
  readonly poolBytes: number;
  readonly xattrEntries: number;
  readonly xattrSets: number;
  readonly xattrBytes: number;
  readonly sparseEntries: number;
  readonly runs: number;
}

export function encodeLayerIndex(built: Pick<BuiltIndex, 'tables'>): Uint8Array {
  const { tables } = built;
  requireLittleEndian();
  const shape = shapeOf(tables);
  const [empty, total] = layOut(shape, new ArrayBuffer(0));
  const bytes = new Uint8Array(total);
  const [to] = layOut(shape, bytes.buffer);
  for (const section of Object.keys(empty) as (keyof Sections)[]) to[section].set(tables[section]);
  bytes.set(MAGIC);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, VERSION, true);
  for (const [k, n] of Object.values(shape).entries()) view.setFloat64(16 + 8 * k, n, true);
  return bytes;
}

/**
 * The index in `bytes`, which must not change afterwards. Checks every bound and every name once, so that no bytes
 * make a reader of the index read outside it. Rejects with LARDER_LAYER_CORRUPT.
 */
export function decodeLayerIndex(bytes: Uint8Array): LayerIndex {
  requireLittleEndian();
  if (bytes.length < HEADER_BYTES) throw corrupt(`${bytes.length} bytes are no index`);
  const aligned = bytes.byteOffset % 8 === 0 && bytes.buffer instanceof ArrayBuffer ? bytes : new Uint8Array(bytes);
  const buffer = aligned.buffer as ArrayBuffer;
  const shape = readHeader(new DataView(buffer, aligned.byteOffset, aligned.length));
  const [, total] = layOut(shape, new ArrayBuffer(0));
  if (total !== bytes.length) throw corrupt(`${bytes.length} bytes instead of ${total}`);
  const [sections] = layOut(shape, buffer, aligned.byteOffset);
  const { count, tarSize, extraSize } = shape;
  const tables: IndexTables = { ...sections, count, tarSize, extraSize };
  const damage = findDamage(tables);
  if (damage !== undefined) throw corrupt(damage);
  return layerIndexOf(tables);
}

type Sections = Omit<IndexTables, 'count' | 'tarSize' | 'extraSize'>;

/** Views on the sections, and the whole length. With an empty buffer only the length is of use. */
function layOut(shape: Shape, buffer: ArrayBuffer, base = 0): [Sections, number] {
  const { count: n } = shape;
  let next = HEADER_BYTES;
  const place = (bytes: number): number => {
    const start = next;
    next += alignUp(bytes, 8);
    return base + start;
  };
  const measuring = buffer.byteLength === 0;
  const f64 = (length: number) => view(Float64Array, place(length * 8), length);
  const u32 = (length: number) => view(Uint32Array, place(length * 4), length);
  const u16 = (length: number) => view(Uint16Array, place(length * 2), length);
  const u8 = (length: number) => view(Uint8Array, place(length), length);
  function view<T>(
    type: new (buffer: ArrayBuffer, from: number, length: number) => T,
    from: number,
    length: number,
  ): T {
    return measuring ? new type(buffer, 0, 0) : new type(buffer, from, length);
  }
  // The order of this literal is the order of the sections.
  const sections: Sections = {
    mtime: f64(n),
    size: f64(n),
    offset: f64(n),
    uid: u32(n),
    gid: u32(n),
    mtimeNs: u32(n),
    pathStart: u32(n),
    linkStart: u32(n),
    mode: u16(n),
    pathLength: u16(n),
    linkLength: u16(n),
    kind: u8(n),
    flags: u8(n),
    xattrEntry: u32(shape.xattrEntries),
    xattrSet: u32(shape.xattrEntries),
    setStart: u32(shape.xattrSets + 1),
    sparseEntry: u32(shape.sparseEntries),
    runStart: u32(shape.sparseEntries + 1),
    runOffset: f64(shape.runs),
    runLength: f64(shape.runs),
    pool: u8(shape.poolBytes),
    setBytes: u8(shape.xattrBytes),
  };
  return [sections, next];
}

function shapeOf(tables: IndexTables): Shape {
  return {
    tarSize: tables.tarSize,
    extraSize: tables.extraSize,
    count: tables.count,
    poolBytes: tables.pool.length,
    xattrEntries: tables.xattrEntry.length,
    xattrSets: tables.setStart.length - 1,
    xattrBytes: tables.setBytes.length,
    sparseEntries: tables.sparseEntry.length,
    runs: tables.runOffset.length,
  };
}

function readHeader(header: DataView): Shape {
  for (const [k, byte] of MAGIC.entries()) if (header.getUint8(k) !== byte) throw corrupt('not a layer index');
  const version = header.getUint32(8, true);
  if (version !== VERSION) throw corrupt(`version ${version} instead of ${VERSION}`);
  if (header.getUint32(12, true) !== 0) throw corrupt('reserved bytes are not zero');
  for (let k = HEADER_USED; k < HEADER_BYTES; k++) {
    if (header.getUint8(k) !== 0) throw corrupt('reserved bytes are not zero');
  }
  const number = (k: number, most: number): number => {
    const n = header.getFloat64(16 + 8 * k, true);
    if (!Number.isInteger(n) || n < 0 || n > most || Object.is(n, -0))
      throw corrupt('an impossible number in the header');
    return n;
  };
  return {
    tarSize: number(0, Number.MAX_SAFE_INTEGER),
    extraSize: number(1, Number.MAX_SAFE_INTEGER),
    count: number(2, MAX_COUNT),
    poolBytes: number(3, MAX_COUNT),
    xattrEntries: number(4, MAX_COUNT),
    xattrSets: number(5, MAX_COUNT),
    xattrBytes: number(6, MAX_COUNT),
    sparseEntries: number(7, MAX_COUNT),
    runs: number(8, MAX_COUNT),
  };
}

function requireLittleEndian(): void {
  if (endianness() !== 'LE')
    throw new LarderError('LARDER_INTERNAL', 'layer index: big-endian machines are not supported');
}

function corrupt(problem: string): LarderError {
  return new LarderError('LARDER_LAYER_CORRUPT', `reading a layer index: ${problem}`, {
    hint: 'remove the index file: it is made again from its layer.tar',
  });
}
