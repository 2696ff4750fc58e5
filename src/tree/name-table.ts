/**
 * The growing tree while layers are merged: names and inodes as columns, and a hash table from (directory inode, name)
 * to name. Names are never taken out: a removed one keeps its place with no inode and comes back to life when the
 * same name is made again. So removing a directory is one store, however much is below it: what hangs on an inode that
 * nothing names is not reached any more and left behind when the tree is finished.
 */

import { randomBytes } from 'node:crypto';
import { item, u8, u16, u32 } from '../bytes.js';
import { IMPLIED, KIND, type LayerIndex } from './types.js';

/** No name, no inode. */
export const NONE = 0xffff_ffff;

export class NameTable {
  readonly layers: readonly LayerIndex[];
  readonly pools: readonly Uint8Array[];

  // Per name.
  parent: Uint32Array;
  inode: Uint32Array;
  start: Uint32Array;
  layer: Uint16Array;
  length: Uint8Array;
  names = 0;

  // Per inode.
  inodeLayer: Uint16Array;
  inodeEntry: Uint32Array;
  inodes = 0;

  #hash: Uint32Array;
  /** Name + 1, or 0. Its length is a power of two, at most three quarters are used. */
  #buckets: Uint32Array;
  /** Unpredictable, so that no archive can aim at one bucket. */
  readonly #seed = randomBytes(4).readUInt32LE();

  constructor(layers: readonly LayerIndex[]) {
    const capacity = 64 + Math.ceil(1.02 * layers.reduce((sum, { count }) => sum + count, 0));
    this.layers = layers;
    this.pools = layers.map(({ pool }) => pool);
    this.parent = new Uint32Array(capacity);
    this.inode = new Uint32Array(capacity);
    this.start = new Uint32Array(capacity);
    this.layer = new Uint16Array(capacity);
    this.length = new Uint8Array(capacity);
    this.#hash = new Uint32Array(capacity);
    this.inodeLayer = new Uint16Array(capacity);
    this.inodeEntry = new Uint32Array(capacity);
    this.#buckets = new Uint32Array(2 ** Math.ceil(Math.log2(capacity * 1.4)));
  }

  /** The name pool[start .. end) in `directory`, dead or alive, or NONE. */
  find(directory: number, pool: Uint8Array, start: number, end: number): number {
    const hash = this.#hashOf(directory, pool, start, end);
    const buckets = this.#buckets;
    const mask = buckets.length - 1;
    for (let b = hash & mask; ; b = (b + 1) & mask) {
      const found = u32(buckets, b);
      if (found === 0) return NONE;
      const name = found - 1;
      if (u32(this.#hash, name) !== hash || u32(this.parent, name) !== directory) continue;
      if (this.#isCalled(name, pool, start, end)) return name;
    }
  }

  /** A new name for `inode`. The caller knows from {@link find} that there is none yet. */
  addName(directory: number, layer: number, start: number, end: number, inode: number): number {
    const name = this.names++;
    if (name === this.parent.length) this.#growNames();
    const hash = this.#hashOf(directory, item(this.pools, layer), start, end);
    this.parent[name] = directory;
    this.inode[name] = inode;
    this.start[name] = start;
    this.layer[name] = layer;
    this.length[name] = end - start;
    this.#hash[name] = hash;
    if (this.names * 4 > this.#buckets.length * 3) this.#growBuckets();
    else this.#insert(name, hash);
    return name;
  }

  addInode(layer: number, entry: number): number {
    const inode = this.inodes++;
    if (inode === this.inodeLayer.length) {
      this.inodeLayer = grown(this.inodeLayer, new Uint16Array(inode * 2));
      this.inodeEntry = grown(this.inodeEntry, new Uint32Array(inode * 2));
    }
    this.inodeLayer[inode] = layer;
    this.inodeEntry[inode] = entry;
    return inode;
  }

  kind(inode: number): number {
    const layer = u16(this.inodeLayer, inode);
    if (layer === IMPLIED) return KIND.directory;
    return u8(item(this.layers, layer).kind, u32(this.inodeEntry, inode));
  }

  /** Lets go of what only searching needs; after this, only the public columns may be used. */
  dropIndex(): void {
    this.#hash = new Uint32Array(0);
    this.#buckets = new Uint32Array(0);
  }

  #isCalled(name: number, pool: Uint8Array, start: number, end: number): boolean {
    if (u8(this.length, name) !== end - start) return false;
    const own = item(this.pools, u16(this.layer, name));
    for (let a = start, b = u32(this.start, name); a < end; a++, b++) if (u8(pool, a) !== u8(own, b)) return false;
    return true;
  }

  #hashOf(directory: number, pool: Uint8Array, start: number, end: number): number {
    let hash = Math.imul(directory ^ this.#seed, 0x85eb_ca6b);
    hash ^= hash >>> 15;
    for (let i = start; i < end; i++) {
      hash = Math.imul(hash ^ u8(pool, i), 0x9e37_79b1);
      hash ^= hash >>> 15;
    }
    return hash >>> 0;
  }

  #insert(name: number, hash: number): void {
    const buckets = this.#buckets;
    const mask = buckets.length - 1;
    let b = hash & mask;
    while (u32(buckets, b) !== 0) b = (b + 1) & mask;
    buckets[b] = name + 1;
  }

  #growBuckets(): void {
    this.#buckets = new Uint32Array(this.#buckets.length * 2);
    for (let name = 0; name < this.names; name++) this.#insert(name, u32(this.#hash, name));
  }

  #growNames(): void {
    const capacity = this.parent.length * 2;
    this.parent = grown(this.parent, new Uint32Array(capacity));
    this.inode = grown(this.inode, new Uint32Array(capacity));
    this.start = grown(this.start, new Uint32Array(capacity));
    this.layer = grown(this.layer, new Uint16Array(capacity));
    this.length = grown(this.length, new Uint8Array(capacity));
    this.#hash = grown(this.#hash, new Uint32Array(capacity));
  }
}

function grown<T extends Uint8Array | Uint16Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
