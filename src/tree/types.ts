/**
 * ▸ The two compact structures that everything below a pull works on: one layer's entries, and the merged tree of an
 * image. Both are columns in typed arrays: no JavaScript object exists per entry, a million entries fit in some tens
 * of megabytes, and the layer index is read from disk by making views on one buffer.
 */
import type { SparseRun, Xattr } from '../tar/entry.js';

/** Kinds of an index entry: the seven of a tar, and the two marks that only layers have. */
export const KIND = {
  /** Not part of the tree. Never stored: only a view of an index has such entries (rootfs-view.ts). */
  none: 0,
  file: 1,
  directory: 2,
  symlink: 3,
  hardlink: 4,
  character: 5,
  block: 6,
  fifo: 7,
  /** `dir/.wh.name`: `path` is `dir/name`, which is hidden in the layers below. */
  whiteout: 8,
  /** `dir/.wh..wh..opq`: `path` is `dir`, whose content in the layers below is hidden. */
  opaque: 9,
} as const;

/** Where a file's bytes are: in `layer.tar`, or in the layer's derived `layer.extra` (see {@link LayerIndex.inExtra}). */
export type DataSource = 'tar' | 'extra';

/**
 * The raw entries of one layer's tar in archive order, names cleaned and within limits (docs/storage.md gives the
 * encoding). Immutable. Derived: can always be made again from `layer.tar`.
 *
 * Paths are relative, without `.`, `..`, empty components or a trailing slash; the root is the empty path.
 */
export interface LayerIndex {
  readonly count: number;
  /** Bytes of `layer.tar`. */
  readonly tarSize: number;
  /** Bytes of `layer.extra`; 0 when the layer has none. */
  readonly extraSize: number;

  // Columns, all of length `count`.
  readonly kind: Uint8Array;
  /** Permission bits only. */
  readonly mode: Uint16Array;
  readonly uid: Uint32Array;
  readonly gid: Uint32Array;
  /** Whole seconds, floor. */
  readonly mtime: Float64Array;
  readonly mtimeNs: Uint32Array;
  /** File: length as its reader sees it. Devices: the major number. Else 0. */
  readonly size: Float64Array;
  /** File: where its bytes start in its data source. Devices: the minor number. Else 0. */
  readonly offset: Float64Array;

  // Names: path i is pool[pathStart[i] .. pathStart[i] + pathLength[i]); link targets likewise.
  readonly pool: Uint8Array;
  readonly pathStart: Uint32Array;
  readonly pathLength: Uint16Array;
  readonly linkStart: Uint32Array;
  readonly linkLength: Uint16Array;

  /** Extended attributes of entry i in bytewise order of their names; empty for most. Overlay-private ones are already dropped. */
  xattrs(i: number): readonly Xattr[];
  /** Whether entry i has any xattr, without decoding them. */
  hasXattrs(i: number): boolean;
  /**
   * Whether file i's bytes are in `layer.extra`, whole and zero-padded to 512 bytes: such as the tar could not give
   * the kernel (padding that is not zero, sparse runs that are not aligned).
   */
  inExtra(i: number): boolean;
  /** The runs of a sparse file whose runs the kernel can map from the tar: all offsets multiples of 512. Else undefined. */
  sparse(i: number): readonly SparseRun[] | undefined;
}

/** No layer gave this inode: an implied directory (0755, root, mtime 0). */
export const IMPLIED = 0xffff;

/**
 * The tree that an image's layers make together: whiteouts, opaque directories, replaced types and hardlinks are
 * resolved. Immutable.
 *
 * A *name* is an entry of a directory, an *inode* what it names; several names may share one inode that is not a
 * directory. Name 0 is the root, its inode is 0. An inode's attributes are those of entry `entry[inode]` of the index
 * `layers[layer[inode]]`, unless `layer[inode]` is {@link IMPLIED}.
 */
export interface MergedTree {
  readonly layers: readonly LayerIndex[];

  readonly nameCount: number;
  /** Per name. */
  readonly inodeOf: Uint32Array;
  /** Per name: the inode of the directory that holds it; the root's is 0. */
  readonly parentOf: Uint32Array;

  readonly inodeCount: number;
  /** Per inode. */
  readonly layer: Uint16Array;
  readonly entry: Uint32Array;
  /** Per inode: names of a non-directory; 2 + subdirectories for a directory. */
  readonly nlink: Uint32Array;

  /** Names grouped by directory, each group in bytewise order: directory inode d has children[childStart[d] .. childStart[d] + childCount[d]). */
  readonly children: Uint32Array;
  readonly childStart: Uint32Array;
  readonly childCount: Uint32Array;

  /** The bytes of a name; a view, do not change. Empty for the root. */
  name(name: number): Uint8Array;
  /** KIND of an inode; never hardlink, whiteout or opaque. */
  kind(inode: number): number;
  /** The name called `bytes` in directory inode `dir`, or undefined. O(log children). */
  child(dir: number, bytes: Uint8Array): number | undefined;
}
