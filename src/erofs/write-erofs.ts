/**
 * ▸ FILES -> KERNEL: the merged tree of an image as an EROFS file system that holds metadata only. The bytes of files
 * stay in the layers' tars (and extra files), which the kernel is given as further devices in the order of `devices`.
 *
 * Pure: it reads the tree and yields bytes; it owns nothing on disk. Who calls it writes the bytes under `derived/`,
 * records their checksum, and mounts them (I10); layers are only pointed into, never changed (I11).
 *
 * Deterministic: the same tree, UUID and tags give the same bytes, since overlayfs remembers node ids and the UUID
 * between mounts. A change of this folder that changes any output must bump DERIVED_FORMAT in `layout.ts`.
 *
 * The image comes in pieces rather than as one buffer: an image of a million files is 100 MB, and a hostile one may be
 * as large as `maxBytes`; the caller hashes and writes a piece, and may let the event loop run, before it asks for more.
 */
import { LarderError } from '../errors.js';
import type { MergedTree } from '../tree/types.js';
import { encodeImage } from './encode.js';
import { type ErofsDevice, layOut } from './layout.js';

export type { ErofsDevice } from './layout.js';

export interface ErofsOptions {
  /** 16 bytes, not all zero: overlayfs gives up stable inode numbers above a file system without a UUID. */
  readonly uuid: Uint8Array;
  /** Per layer: text for its device slots (at most 64 bytes of ASCII), such as the DiffID's digits. For people only. */
  readonly tags?: readonly string[];
  /** The largest image to make. Default 4 GiB, which only an image made to be large comes near. */
  readonly maxBytes?: number;
}

export interface ErofsImage {
  readonly byteLength: number;
  /** The data files to give the kernel, first to last; those that no file has bytes in are not among them. */
  readonly devices: readonly ErofsDevice[];
  /** The whole image in order. Every call starts anew; each piece is the caller's to keep. */
  pieces(): Generator<Uint8Array, void, undefined>;
}

/** 2^32 blocks of 512 bytes, and 2^32 node ids of 32 bytes: the second is the lower one. */
const FORMAT_MAX_BYTES = 2 ** 32 * 32;
export const DEFAULT_MAX_BYTES = 4 * 2 ** 30;

/**
 * Lays out the whole image at once; encoding happens as pieces are asked for, and cannot fail.
 * @throws LARDER_LAYER_LIMIT for what EROFS or `maxBytes` does not allow, naming the file;
 *   LARDER_LAYER_CORRUPT for a layer index that points outside its layer.
 */
export function writeErofs(tree: MergedTree, options: ErofsOptions): ErofsImage {
  const { uuid, tags = [], maxBytes = DEFAULT_MAX_BYTES } = options;
  if (uuid.length !== 16 || uuid.every((byte) => byte === 0)) {
    throw new LarderError('LARDER_INTERNAL', 'laying out an EROFS image: its UUID: not 16 bytes, or all zero');
  }
  const layout = layOut(tree, Math.min(maxBytes, FORMAT_MAX_BYTES));
  return {
    byteLength: layout.byteLength,
    devices: layout.devices,
    pieces: () => encodeImage(layout, { uuid, tags }),
  };
}
