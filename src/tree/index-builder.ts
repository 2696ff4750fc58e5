/**
 * From the entries of one archive to a layer index. Everything an image says passes here once and is refused,
 * dropped or kept; what reads an index afterwards can rely on its names, ids and bounds.
 *
 * Decisions, all of them as containerd extracts unless said otherwise:
 * - `.wh.NAME` is a whiteout whatever its type; `.wh.` inside a path (`.wh.d/f`) is an ordinary name.
 * - `.wh..wh.*` other than the opaque mark, and all below such a name, is metadata of aufs: ignored and counted.
 * - A character device 0:0 is what overlayfs takes for a whiteout: dropped and counted. In a layer only `.wh.` hides.
 * - Device nodes, setuid bits and xattrs are kept: what they may do is a matter of the mount.
 */

import { alignUp, f64, u8, u16, u32 } from '../bytes.js';
import type { LayerLimits, SparseRun, TarEntry, TarSink } from '../tar/entry.js';
import { hasAufsPrefix, hasWhiteoutPrefix, invalid, limit, PathPool, shownName } from './clean-path.js';
import { GrowingF64, GrowingU32, growColumns, makeColumns, viewColumns } from './growing-columns.js';
import { FLAG, type IndexTables, layerIndexOf } from './index-tables.js';
import { chunkBitsOf, joinRuns } from './sparse-runs.js';
import { KIND, type LayerIndex } from './types.js';
import { keepXattrs } from './xattr-rules.js';
import { XattrSets } from './xattr-sets.js';

const BLOCK = 512;
const NO_ID = 0xffff_ffff;
/** PATH_MAX less its NUL; EROFS would cut a longer target silently. */
const MAX_SYMLINK_BYTES = 4095;
const MAX_DEVICE_MAJOR = 4095;
const MAX_DEVICE_MINOR = 1_048_575;
/** Sparse runs cost memory beyond the entries' limit, so they have one of their own. */
const MAX_SPARSE_RUNS = 2 ** 22;
/** What a data file may hold for a 32-bit block number of 512 bytes. */
const MAX_EXTRA_BYTES = 2 ** 40;

const OPAQUE_REST = [...Buffer.from('.opq')];

/** What was in the archive and is not in the index. */
export interface IgnoredEntries {
  /** Metadata of the aufs driver. */
  readonly aufs: number;
  /** Character devices 0:0. */
  readonly whiteoutDevices: number;
  /** Xattrs private to overlayfs, of an unknown namespace, or where no inode can have them. */
  readonly xattrs: number;
}

/** A file whose bytes go to `layer.extra`, at `offset` of entry `entry`. Runs follow each other in the tar from `tarOffset`. */
export interface ExtraFile {
  readonly entry: number;
  readonly size: number;
  readonly tarOffset: number;
  readonly runs: readonly SparseRun[];
}

export interface BuiltIndex {
  readonly index: LayerIndex;
  readonly tables: IndexTables;
  /** In the order of their offsets in `layer.extra`. */
  readonly extra: readonly ExtraFile[];
  readonly ignored: IgnoredEntries;
}

export class IndexBuilder implements TarSink {
  readonly #limits: LayerLimits;
  readonly #pool: PathPool;
  #columns = makeColumns(256);
  #count = 0;
  #extraSize = 0;
  readonly #extra: ExtraFile[] = [];
  /** The last file with bytes: only its padding can be missing from the archive. */
  #lastFile: { entry: number; offset: number; stored: number } | undefined;

  readonly #xattrSets = new XattrSets();

  readonly #sparseEntry = new GrowingU32();
  readonly #runStart = new GrowingU32();
  readonly #runOffset = new GrowingF64();
  readonly #runLength = new GrowingF64();
  #runsSeen = 0;

  readonly #ignored = { aufs: 0, whiteoutDevices: 0, xattrs: 0 };

  constructor(limits: LayerLimits) {
    this.#limits = limits;
    this.#pool = new PathPool(limits);
  }

  /** Takes one entry. Rejects with LARDER_LAYER_INVALID or LARDER_LAYER_LIMIT; the builder is of no use then. */
  entry(entry: TarEntry): void {
    if (entry.path.length === 0) throw invalid('its name is empty');
    const pool = this.#pool;
    const start = pool.length;
    pool.appendPath(entry.path, 'its name');
    if (pool.insideAufs) {
      this.#ignore('aufs', start);
      return;
    }
    if (hasWhiteoutPrefix(pool.bytes, pool.lastComponent, pool.length)) {
      this.#whiteout(start);
      return;
    }
    if (entry.type === KIND.character && entry.devMajor === 0 && entry.devMinor === 0) {
      this.#ignore('whiteoutDevices', start);
      return;
    }
    if (pool.length === start && entry.type !== KIND.directory) {
      throw invalid('the root of an image must be a directory');
    }
    const i = this.#add(entry.type, start, pool.length - start);
    if (entry.type === KIND.hardlink) this.#hardlink(entry, i);
    else this.#attributes(entry, i);
    if (entry.type === KIND.symlink) this.#symlink(entry, i);
    else if (entry.type === KIND.file) this.#file(entry, i);
    else if (entry.type === KIND.character || entry.type === KIND.block) this.#device(entry, i);
  }

  /** The index of all entries; `tarSize` is the archive's length. Call once. */
  finish(tarSize: number): BuiltIndex {
    this.#moveShortFileToExtra(tarSize);
    this.#runStart.push(this.#runOffset.length);
    const tables: IndexTables = {
      ...viewColumns(this.#columns, this.#count),
      count: this.#count,
      tarSize,
      extraSize: this.#extraSize,
      pool: this.#pool.bytes.subarray(0, this.#pool.length),
      ...this.#xattrSets.tables(),
      sparseEntry: this.#sparseEntry.view(),
      runStart: this.#runStart.view(),
      runOffset: this.#runOffset.view(),
      runLength: this.#runLength.view(),
    };
    return { index: layerIndexOf(tables), tables, extra: this.#extra, ignored: { ...this.#ignored } };
  }

  #add(kind: number, pathStart: number, pathLength: number): number {
    const i = this.#count;
    if (i >= this.#limits.maxEntries) throw limit('too many entries', this.#limits.maxEntries);
    if (i === this.#columns.kind.length) this.#columns = growColumns(this.#columns, i * 2);
    this.#columns.kind[i] = kind;
    this.#columns.pathStart[i] = pathStart;
    this.#columns.pathLength[i] = pathLength;
    this.#count++;
    return i;
  }

  #ignore(why: keyof IgnoredEntries, start: number): void {
    this.#ignored[why]++;
    this.#pool.length = start;
  }

  #whiteout(start: number): void {
    const { bytes, lastComponent, length } = this.#pool;
    if (hasAufsPrefix(bytes, lastComponent, length)) {
      if (!isOpaqueMark(bytes, lastComponent, length)) {
        this.#ignore('aufs', start);
        return;
      }
      this.#pool.length = Math.max(start, lastComponent - 1);
      this.#add(KIND.opaque, start, this.#pool.length - start);
      return;
    }
    const size = length - lastComponent - 4;
    const dots =
      u8(bytes, lastComponent + 4) === 0x2e && (size === 1 || (size === 2 && u8(bytes, length - 1) === 0x2e));
    if (size === 0 || dots) throw invalid('a whiteout must name an entry of its directory');
    bytes.copyWithin(lastComponent, lastComponent + 4, length);
    this.#pool.length = length - 4;
    this.#add(KIND.whiteout, start, this.#pool.length - start);
  }

  #attributes(entry: TarEntry, i: number): void {
    const { uid, gid, mtime, mtimeNs } = entry;
    if (!isId(uid) || !isId(gid)) throw invalid(`its owner ${uid}:${gid} is outside 0 to 4294967294`);
    if (Number.isNaN(mtime)) throw invalid('its time is not a number');
    if (!(mtimeNs >= 0 && mtimeNs < 1e9)) throw invalid(`its time has ${mtimeNs} nanoseconds`);
    const columns = this.#columns;
    columns.mode[i] = entry.mode & 0o7777;
    columns.uid[i] = uid;
    columns.gid[i] = gid;
    columns.mtime[i] = clampTime(mtime);
    columns.mtimeNs[i] = mtimeNs;
    if (entry.xattrs.length > 0) this.#xattrs(entry, i);
  }

  #xattrs(entry: TarEntry, i: number): void {
    const { kept, dropped } = keepXattrs(entry.xattrs, entry.type);
    this.#ignored.xattrs += dropped;
    if (kept.length === 0) return;
    this.#xattrSets.add(i, kept);
    this.#setFlag(i, FLAG.xattrs);
  }

  #symlink({ link }: TarEntry, i: number): void {
    if (link.length === 0) throw invalid('a symlink without a target');
    if (link.length > MAX_SYMLINK_BYTES)
      throw invalid(`a symlink target of ${link.length} bytes, at most 4095 are possible`);
    if (link.includes(0)) throw invalid('a symlink target with a NUL byte');
    const start = this.#pool.length;
    this.#pool.appendRaw(link);
    this.#columns.linkStart[i] = start;
    this.#columns.linkLength[i] = link.length;
  }

  #hardlink(entry: TarEntry, i: number): void {
    if (entry.link.length === 0) throw invalid('a hardlink without a target');
    const pool = this.#pool;
    const start = pool.length;
    pool.appendPath(entry.link, 'its link target');
    const pathStart = u32(this.#columns.pathStart, i);
    if (pool.bytes.subarray(start, pool.length).every((byte, k) => byte === u8(pool.bytes, pathStart + k))) {
      if (pool.length - start === start - pathStart) throw invalid('a hardlink to itself');
    }
    this.#columns.linkStart[i] = start;
    this.#columns.linkLength[i] = pool.length - start;
  }

  #device(entry: TarEntry, i: number): void {
    const { devMajor, devMinor } = entry;
    if (!isIndexUpTo(devMajor, MAX_DEVICE_MAJOR) || !isIndexUpTo(devMinor, MAX_DEVICE_MINOR)) {
      throw invalid(`device ${devMajor}:${devMinor} is outside 4095:1048575`);
    }
    this.#columns.size[i] = devMajor;
    this.#columns.offset[i] = devMinor;
  }

  #file(entry: TarEntry, i: number): void {
    const { size, offset, stored } = entry;
    if (![size, offset, stored].every((n) => isIndexUpTo(n, Number.MAX_SAFE_INTEGER))) {
      throw invalid(`impossible size ${size}, offset ${offset} or ${stored} stored bytes`);
    }
    if (size === 0) return;
    this.#columns.size[i] = size;
    this.#columns.offset[i] = offset;
    if (stored > 0) this.#lastFile = { entry: i, offset, stored };
    const sound = entry.zeroPadded && offset % BLOCK === 0;
    if (entry.sparse !== undefined) this.#sparse(entry, entry.sparse, sound, i);
    else if (stored !== size) throw invalid(`${stored} bytes stored for a file of ${size}`);
    else if (!sound) this.#toExtra(i, offset, [{ offset: 0, length: size }]);
  }

  #sparse(entry: TarEntry, given: readonly SparseRun[], sound: boolean, i: number): void {
    this.#runsSeen += given.length;
    if (this.#runsSeen > MAX_SPARSE_RUNS) throw limit('too many sparse runs in one layer', MAX_SPARSE_RUNS);
    checkRuns(given, entry);
    const runs = joinRuns(given);
    if (!sound || chunkBitsOf(entry.size, runs) === undefined) {
      this.#toExtra(i, entry.offset, runs);
      return;
    }
    this.#setFlag(i, FLAG.sparse);
    this.#sparseEntry.push(i);
    this.#runStart.push(this.#runOffset.length);
    for (const { offset, length } of runs) {
      this.#runOffset.push(offset);
      this.#runLength.push(length);
    }
  }

  #toExtra(i: number, tarOffset: number, runs: readonly SparseRun[]): void {
    const size = f64(this.#columns.size, i);
    this.#setFlag(i, FLAG.extra);
    this.#columns.offset[i] = this.#extraSize;
    this.#extra.push({ entry: i, size, tarOffset, runs });
    this.#extraSize += alignUp(size, BLOCK);
    if (this.#extraSize > MAX_EXTRA_BYTES) throw limit('too many bytes outside the tar', MAX_EXTRA_BYTES);
  }

  /** An archive may end in the middle of its last block; the kernel reads whole blocks. */
  #moveShortFileToExtra(tarSize: number): void {
    const last = this.#lastFile;
    if (last === undefined) return;
    const { entry: i, offset, stored } = last;
    const { pathStart, pathLength, size, flags } = this.#columns;
    const refused = (problem: string) => {
      const path = this.#pool.bytes.subarray(u32(pathStart, i), u32(pathStart, i) + u16(pathLength, i));
      return invalid(`reading layer: entry ${shownName(path)}: ${problem}`);
    };
    if (offset + stored > tarSize) throw refused(`its ${stored} bytes go beyond the archive's end`);
    if (alignUp(offset + stored, BLOCK) <= tarSize || (u8(flags, i) & FLAG.extra) !== 0) return;
    if ((u8(flags, i) & FLAG.sparse) === 0) {
      this.#toExtra(i, offset, [{ offset: 0, length: f64(size, i) }]);
      return;
    }
    // Only GNU sparse archives cut short come here; their runs would have to leave the table again.
    throw refused('the archive ends inside it');
  }

  #setFlag(i: number, flag: number): void {
    this.#columns.flags[i] = u8(this.#columns.flags, i) | flag;
  }
}

/** Whether a name that starts with `.wh..wh.` is the opaque mark. */
function isOpaqueMark(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start === 12 && OPAQUE_REST.every((byte, k) => byte === u8(bytes, start + 8 + k));
}

function isId(id: number): boolean {
  return isIndexUpTo(id, NO_ID - 1);
}

function isIndexUpTo(n: number, most: number): boolean {
  return Number.isInteger(n) && n >= 0 && n <= most;
}

function clampTime(seconds: number): number {
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Math.floor(seconds) + 0));
}

function checkRuns(runs: readonly SparseRun[], { size, stored }: TarEntry): void {
  let end = 0;
  let sum = 0;
  for (const { offset, length } of runs) {
    if (!isIndexUpTo(offset, size) || !isIndexUpTo(length, size - offset) || offset < end) {
      throw invalid(`sparse run of ${length} bytes at ${offset} is outside the file or out of order`);
    }
    end = offset + length;
    sum += length;
  }
  if (sum !== stored) throw invalid(`its sparse runs have ${sum} bytes, but ${stored} are stored`);
}
