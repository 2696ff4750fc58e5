/** A layer index with other names and kinds: the same entries, seen as an Appc image's root filesystem. */
import { u32 } from '../bytes.js';
import type { SparseRun, Xattr } from '../tar/entry.js';
import type { LayerIndex } from './types.js';

/** The columns that say where an entry is and whether it is there at all. */
export type Names = Pick<LayerIndex, 'kind' | 'pathStart' | 'pathLength' | 'linkStart' | 'linkLength'>;

export class RootfsIndex implements LayerIndex {
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
  readonly #of: LayerIndex;
  readonly #standsFor: Uint32Array | undefined;

  /** `standsFor`, where it is given, names for each entry the one whose attributes and bytes it has. */
  constructor(of: LayerIndex, names: Names, standsFor?: Uint32Array) {
    this.count = of.count;
    this.tarSize = of.tarSize;
    this.extraSize = of.extraSize;
    this.kind = names.kind;
    this.mode = picked(of.mode, standsFor);
    this.uid = picked(of.uid, standsFor);
    this.gid = picked(of.gid, standsFor);
    this.mtime = picked(of.mtime, standsFor);
    this.mtimeNs = picked(of.mtimeNs, standsFor);
    this.size = picked(of.size, standsFor);
    this.offset = picked(of.offset, standsFor);
    this.pool = of.pool;
    this.pathStart = names.pathStart;
    this.pathLength = names.pathLength;
    this.linkStart = names.linkStart;
    this.linkLength = names.linkLength;
    this.#of = of;
    this.#standsFor = standsFor;
  }

  hasXattrs(i: number): boolean {
    return this.#of.hasXattrs(this.#entry(i));
  }

  inExtra(i: number): boolean {
    return this.#of.inExtra(this.#entry(i));
  }

  xattrs(i: number): readonly Xattr[] {
    return this.#of.xattrs(this.#entry(i));
  }

  sparse(i: number): readonly SparseRun[] | undefined {
    return this.#of.sparse(this.#entry(i));
  }

  #entry(i: number): number {
    return this.#standsFor === undefined ? i : u32(this.#standsFor, i);
  }
}

function picked<T extends Uint16Array | Uint32Array | Float64Array>(column: T, standsFor: Uint32Array | undefined): T {
  if (standsFor === undefined) return column;
  const copy = column.slice();
  for (const [i, from] of standsFor.entries()) copy[i] = column[from] ?? 0;
  // `slice` of a union is a union: it is the array that was given.
  return copy as T;
}
