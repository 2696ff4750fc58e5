/**
 * Which entry a layer itself has at a path: needed only where a whiteout's parent is a symlink of a layer below, so the
 * table is made at the first question. Eight bytes an entry at most.
 */

import { randomBytes } from 'node:crypto';
import { u8, u16, u32 } from '../bytes.js';
import { KIND, type LayerIndex } from './types.js';

export class OwnPaths {
  readonly #index: LayerIndex;
  readonly #seed = randomBytes(4).readUInt32LE();
  /** Entry + 1, or 0. */
  #buckets: Uint32Array | undefined;

  constructor(index: LayerIndex) {
    this.#index = index;
  }

  /** The last entry at `path`; a whiteout only where there is nothing else. */
  find(path: Uint8Array): number | undefined {
    this.#buckets ??= this.#fill();
    const found = u32(this.#buckets, this.#bucketOf(this.#buckets, path, 0, path.length));
    return found === 0 ? undefined : found - 1;
  }

  #fill(): Uint32Array {
    const { count, kind, pool, pathStart, pathLength } = this.#index;
    const buckets = new Uint32Array(2 ** Math.ceil(Math.log2(count * 1.5 + 2)));
    for (let i = 0; i < count; i++) {
      if (u8(kind, i) === KIND.opaque || u8(kind, i) === KIND.none) continue;
      const start = u32(pathStart, i);
      const bucket = this.#bucketOf(buckets, pool, start, start + u16(pathLength, i));
      if (u8(kind, i) !== KIND.whiteout || u32(buckets, bucket) === 0) buckets[bucket] = i + 1;
    }
    return buckets;
  }

  /** Where the entry at this path stands, or would stand. */
  #bucketOf(buckets: Uint32Array, path: Uint8Array, start: number, end: number): number {
    let hash = this.#seed;
    for (let k = start; k < end; k++) {
      hash = Math.imul(hash ^ u8(path, k), 0x9e37_79b1);
      hash ^= hash >>> 15;
    }
    const mask = buckets.length - 1;
    let b = hash & mask;
    for (; u32(buckets, b) !== 0; b = (b + 1) & mask) if (this.#isAt(u32(buckets, b) - 1, path, start, end)) break;
    return b;
  }

  #isAt(i: number, path: Uint8Array, start: number, end: number): boolean {
    const { pool, pathStart, pathLength } = this.#index;
    if (u16(pathLength, i) !== end - start) return false;
    for (let a = start, b = u32(pathStart, i); a < end; a++, b++) if (u8(path, a) !== u8(pool, b)) return false;
    return true;
  }
}
