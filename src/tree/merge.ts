/**
 * ▸ From the layers of an image to its one tree. Pure: indexes in, a tree out, no disk, no clock.
 *
 * The tree is what extracting each layer in order onto those below would give (as containerd and umoci do), with the
 * order inside a layer made irrelevant for whiteouts. Per layer:
 *
 * 1. All whiteouts and opaque marks are looked up in the tree of the layers below, then applied to it. They hide only
 *    what is below; they make nothing.
 * 2. The entries are applied in archive order.
 *    - A parent that is a symlink is followed inside the root, even where it leads to nothing yet: the missing
 *      directories are made at its target. A missing parent, or one that is no directory, becomes an implied
 *      directory.
 *    - A directory onto a directory changes its attributes. Everything else replaces what has its name; other names of
 *      a replaced file stay.
 *    - A hardlink names whatever non-directory has its target's name at that moment, in this layer or one below. Its
 *      own attributes are ignored. To a directory or to nothing: the image is refused.
 *
 * Time is linear in the entries of all layers; memory beyond the indexes is about 60 bytes an entry at its peak.
 */

import { u8, u16, u32 } from '../bytes.js';
import { LarderError } from '../errors.js';
import { lastSlash, shownName } from './clean-path.js';
import { finishTree } from './finish-tree.js';
import { NameTable, NONE } from './name-table.js';
import { PathWalker } from './path-walker.js';
import { IMPLIED, KIND, type LayerIndex, type MergedTree } from './types.js';
import { applyWhiteouts } from './whiteouts.js';

/** Layer numbers have 16 bits, and one value means "implied". Registries and kernels stop far below it. */
const MAX_LAYERS = 4096;

/** The tree of `layers`, base first. Rejects with LARDER_LAYER_INVALID or LARDER_LAYER_LIMIT. No layers give an empty root. */
export function mergeLayers(layers: readonly LayerIndex[]): MergedTree {
  if (layers.length > MAX_LAYERS) {
    throw new LarderError('LARDER_LAYER_LIMIT', `merging layers: ${layers.length} layers, the limit is ${MAX_LAYERS}`);
  }
  const table = new NameTable(layers);
  table.addInode(IMPLIED, 0);
  table.addName(NONE, 0, 0, 0, 0);
  const walker = new PathWalker(table);
  for (const [number, index] of layers.entries()) {
    applyWhiteouts(table, walker, number);
    const merge = new LayerMerge(table, walker, number, index);
    for (let i = 0; i < index.count; i++) merge.apply(i);
  }
  return finishTree(table);
}

/** One layer on its way into the tree. */
class LayerMerge {
  readonly #table: NameTable;
  readonly #walker: PathWalker;
  readonly #number: number;
  readonly #index: LayerIndex;

  constructor(table: NameTable, walker: PathWalker, number: number, index: LayerIndex) {
    this.#table = table;
    this.#walker = walker;
    this.#number = number;
    this.#index = index;
  }

  apply(i: number): void {
    const table = this.#table;
    const { kind: kinds, pool, pathStart, pathLength } = this.#index;
    const kind = u8(kinds, i);
    if (kind >= KIND.whiteout || kind === KIND.none) return;
    const start = u32(pathStart, i);
    const end = start + u16(pathLength, i);
    if (start === end) {
      this.#describe(u32(table.inode, 0), i);
      return;
    }
    const slash = lastSlash(pool, start, end);
    const directory = this.#walker.make(this.#number, start, Math.max(start, slash));
    const name = table.find(directory, pool, slash + 1, end);
    const old = name === NONE ? NONE : u32(table.inode, name);
    if (kind === KIND.directory && old !== NONE && table.kind(old) === KIND.directory) {
      this.#describe(old, i);
      return;
    }
    const inode = kind === KIND.hardlink ? this.#linkTarget(i, name, old) : table.addInode(this.#number, i);
    if (name === NONE) table.addName(directory, this.#number, slash + 1, end, inode);
    else this.#replace(name, old, inode);
  }

  #describe(inode: number, i: number): void {
    this.#table.inodeLayer[inode] = this.#number;
    this.#table.inodeEntry[inode] = i;
  }

  #replace(name: number, old: number, inode: number): void {
    if (old === inode) return;
    this.#table.inode[name] = inode;
    if (old === NONE) return;
    const kind = this.#table.kind(old);
    if (kind === KIND.directory || kind === KIND.symlink) this.#walker.forget();
  }

  /** The inode that hardlink `i` names; `name` is where it will stand. */
  #linkTarget(i: number, name: number, old: number): number {
    const table = this.#table;
    // As extraction does: a directory in the way is gone before the target is looked up.
    if (old !== NONE && table.kind(old) === KIND.directory) this.#replace(name, old, NONE);
    const { pool, linkStart, linkLength } = this.#index;
    const start = u32(linkStart, i);
    const end = start + u16(linkLength, i);
    const slash = lastSlash(pool, start, end);
    const directory = start === end ? NONE : this.#walker.look(this.#number, start, Math.max(start, slash));
    const target = directory === NONE ? NONE : table.find(directory, pool, slash + 1, end);
    const inode = target === NONE ? NONE : u32(table.inode, target);
    if (start === end || (inode !== NONE && table.kind(inode) === KIND.directory))
      throw this.#badLink(i, 'is a directory');
    if (inode === NONE) throw this.#badLink(i, 'does not exist in this layer so far, nor in one below');
    return inode;
  }

  #badLink(i: number, problem: string): LarderError {
    const { pool, pathStart, pathLength, linkStart, linkLength } = this.#index;
    const path = pool.subarray(u32(pathStart, i), u32(pathStart, i) + u16(pathLength, i));
    const link = pool.subarray(u32(linkStart, i), u32(linkStart, i) + u16(linkLength, i));
    return new LarderError(
      'LARDER_LAYER_INVALID',
      `merging layers: hardlink ${shownName(path)} of layer ${this.#number + 1}: its target ${shownName(link)} ${problem}`,
      { details: { layer: this.#number + 1 } },
    );
  }
}
