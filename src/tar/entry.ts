/**
 * ▸ What the tar reader says of an archive. The reader and the layer index meet here.
 *
 * Names are bytes: an archive's names need not be UTF-8. Nothing here has been resolved or cleaned: `path` and `link`
 * are as they stand in the archive (after pax and GNU extensions), the layer index decides what they mean.
 */

import { LarderError } from '../errors.js';

export const ENTRY = {
  file: 1,
  directory: 2,
  symlink: 3,
  hardlink: 4,
  character: 5,
  block: 6,
  fifo: 7,
} as const;

export type EntryType = (typeof ENTRY)[keyof typeof ENTRY];

/** A run of real bytes inside a sparse file: `length` bytes at `offset` of the file. Runs are in order and do not overlap. */
export interface SparseRun {
  readonly offset: number;
  readonly length: number;
}

export interface Xattr {
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** One entry, complete. The object and its arrays are valid only during the call that receives it; copy what you keep. */
export interface TarEntry {
  type: EntryType;
  path: Uint8Array;
  /** Target of a symlink or a hardlink, else empty. */
  link: Uint8Array;
  /** Permission bits, 0..0o7777. */
  mode: number;
  uid: number;
  gid: number;
  /** Whole seconds since the epoch, floor; may be negative. */
  mtime: number;
  /** 0..999,999,999 */
  mtimeNs: number;
  /** The file's length as a reader of it sees it, holes included. 0 unless a file. */
  size: number;
  /** Where the file's bytes start in the tar. For a sparse file its runs follow each other from here. */
  offset: number;
  /** How many bytes of the tar, from `offset`, belong to the file's content. Equals `size` unless sparse. */
  stored: number;
  /** Whether the bytes between the content's end and the next 512-byte boundary are all zero. True for empty files. */
  zeroPadded: boolean;
  devMajor: number;
  devMinor: number;
  xattrs: readonly Xattr[];
  /** Present only for sparse files. */
  sparse: readonly SparseRun[] | undefined;
}

/** An empty file without a name, all else 0; with `fields` in their places. */
export function makeEntry(fields: Partial<TarEntry> = {}): TarEntry {
  return {
    type: ENTRY.file,
    path: NOTHING,
    link: NOTHING,
    mode: 0,
    uid: 0,
    gid: 0,
    mtime: 0,
    mtimeNs: 0,
    size: 0,
    offset: 0,
    stored: 0,
    zeroPadded: true,
    devMajor: 0,
    devMinor: 0,
    xattrs: [],
    sparse: undefined,
    ...fields,
  };
}

const NOTHING = new Uint8Array(0);

export interface TarSink {
  /**
   * Called once for each entry in archive order, after its data went past. Of LARDER_LAYER_INVALID, LARDER_LAYER_LIMIT
   * and LARDER_ENTRY_UNSUPPORTED it says what is wrong with the entry only: the reader adds which it is, and where.
   */
  entry(entry: TarEntry): void;
}

/** What one layer may cost at most; beyond it the layer is refused with LARDER_LAYER_LIMIT. */
export interface LayerLimits {
  readonly maxTarBytes: number;
  /** Bytes of the tar for each byte of the compressed layer, once the tar has more than `ratioFreeBytes`. */
  readonly maxRatio: number;
  readonly ratioFreeBytes: number;
  readonly maxEntries: number;
  /** Bytes of a whole path. */
  readonly maxPathBytes: number;
  /** Components of a path. */
  readonly maxDepth: number;
  /** Bytes of one pax or GNU extension record block. */
  readonly maxExtensionBytes: number;
}

/** However well it was compressed: what every disk that holds images has room for. */
const RATIO_FREE_BYTES = 2 ** 30;

export const DEFAULT_LAYER_LIMITS: LayerLimits = {
  maxTarBytes: 256 * 2 ** 30,
  // DEFLATE reaches 1,032 at most: no gzip is refused, and of the others nothing but files full of one byte.
  maxRatio: 1100,
  ratioFreeBytes: RATIO_FREE_BYTES,
  maxEntries: 2_000_000,
  maxPathBytes: 4096,
  maxDepth: 256,
  maxExtensionBytes: 1 << 20,
};

/** Throws LARDER_LAYER_LIMIT where `compressed` bytes have become `tarBytes`, and that is too many. */
export function refuseBomb(
  doing: string,
  compressed: number,
  tarBytes: number,
  { maxRatio, ratioFreeBytes = RATIO_FREE_BYTES }: { readonly maxRatio: number; readonly ratioFreeBytes?: number },
): void {
  if (tarBytes <= ratioFreeBytes || tarBytes <= compressed * maxRatio) return;
  throw new LarderError(
    'LARDER_LAYER_LIMIT',
    `${doing}: ${compressed} compressed bytes make ${tarBytes} bytes and more, the limit is ${maxRatio} times as many`,
    { hint: 'it is made to fill disks; raise max_layer_ratio if it is to be trusted' },
  );
}
