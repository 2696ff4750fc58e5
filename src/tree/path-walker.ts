/**
 * From a path of a layer to a directory of the growing tree. Symlinks are followed inside the image's root, however
 * they are written: an absolute target starts at the root again, `..` stops there.
 */

import { item, u8, u16, u32 } from '../bytes.js';
import { LarderError } from '../errors.js';
import { shownName } from './clean-path.js';
import { type NameTable, NONE } from './name-table.js';
import type { OwnPaths } from './own-paths.js';
import { IMPLIED, KIND } from './types.js';

/** As Linux: more symlinks in one lookup are taken for a loop. */
const MAX_LINKS = 40;
/** A path cannot be deeper when written out; through symlinks it could. */
const MAX_DEPTH = 1024;
/**
 * Directories that no archive lists. Each costs as much as an entry, and one deep path makes hundreds, so the limit of
 * entries alone would let a small archive take all memory.
 */
const MAX_IMPLIED = 1_000_000;
const SLASH = 0x2f;
const DOT = 0x2e;
const SLASH_BYTE = Uint8Array.of(SLASH);

export class PathWalker {
  readonly #table: NameTable;
  /** The way from the root to where the walk is; NONE for a directory that has still to be made. */
  readonly #way = new Uint32Array(MAX_DEPTH + 1);
  readonly #wayLayer = new Uint16Array(MAX_DEPTH + 1);
  readonly #wayStart = new Uint32Array(MAX_DEPTH + 1);
  readonly #wayEnd = new Uint32Array(MAX_DEPTH + 1);
  #depth = 0;

  // Pending pieces of text: the path itself, and above it the targets of symlinks under way.
  readonly #textLayer = new Uint16Array(MAX_LINKS + 2);
  readonly #textNext = new Uint32Array(MAX_LINKS + 2);
  readonly #textEnd = new Uint32Array(MAX_LINKS + 2);
  #texts = 0;

  // The last path that was made, so that its neighbours need no second walk. Its first `#plain` components are the
  // first ones of the way, component k ends at #componentEnd[k].
  #lastPool: Uint8Array = new Uint8Array(0);
  #lastStart = 0;
  #lastEnd = 0;
  #lastInode = NONE;
  #plain = 0;
  readonly #componentEnd = new Uint32Array(MAX_DEPTH + 1);

  /** Bytes of symlink targets that may still be walked: a farm of long symlinks must not cost more than its entries. */
  #linkBytes: number;
  #implied = 0;

  constructor(table: NameTable) {
    this.#table = table;
    this.#linkBytes = 2 ** 26 + 256 * table.layers.reduce((sum, { count }) => sum + count, 0);
  }

  /** Forgets remembered ways. Needed after a name of a directory or a symlink lost its inode. */
  forget(): void {
    this.#lastInode = NONE;
    this.#plain = 0;
  }

  /** The directory at path [start, end) of a layer; missing directories and other things in the way become implied directories. */
  make(layer: number, start: number, end: number): number {
    if (start === end) return u32(this.#table.inode, 0);
    if (this.#lastInode !== NONE && this.#isLast(layer, start, end)) return this.#lastInode;
    this.#resume(layer, start, end);
    this.#run(layer, start, end, true, undefined);
    const inode = this.#materialise(layer, start, end);
    this.#lastPool = item(this.#table.pools, layer);
    this.#lastStart = start;
    this.#lastEnd = end;
    this.#lastInode = inode;
    return inode;
  }

  /**
   * The directory at path [start, end) of a layer, or NONE. With `own` the path is of a whiteout: a symlink at whose
   * place the layer itself has something is taken as that; what is no symlink, and a loop, hides nothing then.
   */
  look(layer: number, start: number, end: number, own?: OwnPaths): number {
    if (own === undefined && this.#lastInode !== NONE && this.#isLast(layer, start, end)) return this.#lastInode;
    this.forget();
    this.#depth = 0;
    this.#startText(layer, start, end);
    return this.#run(layer, start, end, false, own) ? this.#here() : NONE;
  }

  /** The name of the directory at path [start, end) of a layer, or NONE. The root's is 0. */
  lookName(layer: number, start: number, end: number, own?: OwnPaths): number {
    if (this.look(layer, start, end, own) === NONE) return NONE;
    return this.#depth === 0 ? 0 : u32(this.#way, this.#depth - 1);
  }

  #startText(layer: number, start: number, end: number): void {
    this.#texts = 1;
    this.#textLayer[0] = layer;
    this.#textNext[0] = start;
    this.#textEnd[0] = end;
  }

  /** Takes over as much of the last way as the new path shares. */
  #resume(layer: number, start: number, end: number): void {
    const pool = item(this.#table.pools, layer);
    const most = Math.min(end - start, this.#lastEnd - this.#lastStart);
    let shared = 0;
    if (this.#plain > 0)
      while (shared < most && u8(pool, start + shared) === u8(this.#lastPool, this.#lastStart + shared)) shared++;
    let depth = this.#plain;
    while (depth > 0) {
      const componentEnd = u32(this.#componentEnd, depth - 1);
      if (componentEnd <= shared && (componentEnd === end - start || u8(pool, start + componentEnd) === SLASH)) break;
      depth--;
    }
    this.#plain = depth;
    this.#depth = depth;
    this.#startText(layer, start + (depth === 0 ? 0 : u32(this.#componentEnd, depth - 1)), end);
  }

  #isLast(layer: number, start: number, end: number): boolean {
    const length = end - start;
    if (length !== this.#lastEnd - this.#lastStart) return false;
    const pool = item(this.#table.pools, layer);
    // From the back: neighbours differ at the end of their paths.
    for (let k = length - 1; k >= 0; k--)
      if (u8(pool, start + k) !== u8(this.#lastPool, this.#lastStart + k)) return false;
    return true;
  }

  /** Walks all pending text. False when something is missing and nothing may be made. */
  #run(layer: number, start: number, end: number, create: boolean, own: OwnPaths | undefined): boolean {
    const table = this.#table;
    let links = 0;
    let plain = true;
    while (this.#texts > 0) {
      const text = this.#texts - 1;
      const textLayer = u16(this.#textLayer, text);
      const pool = item(table.pools, textLayer);
      const textEnd = u32(this.#textEnd, text);
      let from = u32(this.#textNext, text);
      while (from < textEnd && u8(pool, from) === SLASH) from++;
      if (from === textEnd) {
        this.#texts--;
        continue;
      }
      let to = from + 1;
      while (to < textEnd && u8(pool, to) !== SLASH) to++;
      this.#textNext[text] = to;
      if (u8(pool, from) === DOT) {
        if (to - from === 1) continue;
        if (to - from === 2 && u8(pool, from + 1) === DOT) {
          this.#depth = Math.max(0, this.#depth - 1);
          this.#plain = Math.min(this.#plain, this.#depth);
          continue;
        }
      }
      const directory = this.#here();
      const name = directory === NONE ? NONE : table.find(directory, pool, from, to);
      const inode = name === NONE ? NONE : u32(table.inode, name);
      const kind = inode === NONE ? 0 : table.kind(inode);
      if (kind === KIND.symlink) {
        plain = false;
        if (++links > MAX_LINKS) {
          if (own !== undefined) return false;
          throw this.#failure(layer, start, end, 'LARDER_LAYER_INVALID', 'too many symlinks, probably a loop');
        }
        if (!this.#follow(inode, from, to, start, own)) return false;
        if (this.#linkBytes < 0)
          throw this.#failure(layer, start, end, 'LARDER_LAYER_LIMIT', 'too many symlinks to follow');
        continue;
      }
      if (kind !== KIND.directory && !create) return false;
      if (this.#depth === MAX_DEPTH)
        throw this.#failure(layer, start, end, 'LARDER_LAYER_LIMIT', `deeper than ${MAX_DEPTH} directories`);
      this.#way[this.#depth] = kind === KIND.directory ? name : NONE;
      this.#wayLayer[this.#depth] = textLayer;
      this.#wayStart[this.#depth] = from;
      this.#wayEnd[this.#depth] = to;
      if (plain && create) {
        this.#componentEnd[this.#depth] = to - start;
        this.#plain = this.#depth + 1;
      }
      this.#depth++;
    }
    return true;
  }

  /** The directory where the walk is; NONE when it has still to be made. */
  #here(): number {
    const { inode } = this.#table;
    if (this.#depth === 0) return u32(inode, 0);
    const name = u32(this.#way, this.#depth - 1);
    return name === NONE ? NONE : u32(inode, name);
  }

  /** Puts the target of symlink `inode`, named by text [from, to), in front of what is pending. False: see {@link look}. */
  #follow(inode: number, from: number, to: number, start: number, own: OwnPaths | undefined): boolean {
    const { layers, inodeLayer, inodeEntry } = this.#table;
    let layer = u16(inodeLayer, inode);
    let entry = u32(inodeEntry, inode);
    const mine = own === undefined ? undefined : this.#ownEntry(own, from, to, start);
    if (mine !== undefined) {
      // The first text is the mark's own path, so it is of the layer that is being applied.
      layer = u16(this.#textLayer, 0);
      entry = mine;
      if (u8(item(layers, layer).kind, mine) !== KIND.symlink) return false;
    }
    const { pool, linkStart, linkLength } = item(layers, layer);
    const target = u32(linkStart, entry);
    const length = u16(linkLength, entry);
    if (u8(pool, target) === SLASH) {
      this.#depth = 0;
      this.#plain = 0;
    }
    this.#linkBytes -= length;
    this.#textLayer[this.#texts] = layer;
    this.#textNext[this.#texts] = target;
    this.#textEnd[this.#texts] = target + length;
    this.#texts++;
    return true;
  }

  /** What the layer itself has where this symlink is: by the way that was walked, or else by the path as written. */
  #ownEntry(own: OwnPaths, from: number, to: number, start: number): number | undefined {
    const text = this.#texts - 1;
    const pool = item(this.#table.pools, u16(this.#textLayer, text));
    const walked = Buffer.concat([...this.#wayPieces(), pool.subarray(from, to)]);
    this.#linkBytes -= walked.length;
    return own.find(walked) ?? (text === 0 ? own.find(pool.subarray(start, to)) : undefined);
  }

  *#wayPieces(): Generator<Uint8Array> {
    for (let d = 0; d < this.#depth; d++) {
      yield item(this.#table.pools, u16(this.#wayLayer, d)).subarray(u32(this.#wayStart, d), u32(this.#wayEnd, d));
      yield SLASH_BYTE;
    }
  }

  /** Makes the directories of the way that are missing; the inode of its end. */
  #materialise(of: number, pathStart: number, pathEnd: number): number {
    const table = this.#table;
    let inode = u32(table.inode, 0);
    for (let d = 0; d < this.#depth; d++) {
      let name = u32(this.#way, d);
      if (name === NONE) {
        const layer = u16(this.#wayLayer, d);
        const start = u32(this.#wayStart, d);
        const end = u32(this.#wayEnd, d);
        name = table.find(inode, item(table.pools, layer), start, end);
        if (++this.#implied > MAX_IMPLIED) {
          const problem = `more than ${MAX_IMPLIED} directories are in paths but not in the archives`;
          throw this.#failure(of, pathStart, pathEnd, 'LARDER_LAYER_LIMIT', problem);
        }
        const implied = table.addInode(IMPLIED, 0);
        if (name === NONE) name = table.addName(inode, layer, start, end, implied);
        else table.inode[name] = implied;
        this.#way[d] = name;
      }
      inode = u32(table.inode, name);
    }
    return inode;
  }

  #failure(
    layer: number,
    start: number,
    end: number,
    code: 'LARDER_LAYER_INVALID' | 'LARDER_LAYER_LIMIT',
    problem: string,
  ): LarderError {
    const path = item(this.#table.pools, layer).subarray(start, end);
    return new LarderError(code, `merging layers: directory ${shownName(path)} of layer ${layer + 1}: ${problem}`, {
      details: { layer: layer + 1 },
    });
  }
}
