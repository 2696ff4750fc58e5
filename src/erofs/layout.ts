/**
 * The first of two passes over the tree: where everything of the image will be. Nothing is written, and after it nothing
 * can go wrong: every limit has been checked.
 *
 *     0          zeros
 *     1024       superblock
 *     1152       device table, one slot for each data file that some file of the tree has bytes in
 *     metaStart  metadata: per inode its 64 bytes, xattrs, chunk indexes, and the tail of its directory or link
 *     dataStart  directory blocks before the last, and links that do not fit behind their inode; zeros up to 4 KiB
 *
 * Inodes keep the tree's order, the root first.
 */
import { alignUp, at, f64, u16, u32 } from '../bytes.js';
import { LarderError } from '../errors.js';
import { type DataSource, IMPLIED, KIND, type LayerIndex, type MergedTree } from '../tree/types.js';
import { contiguousCount, sparseChunks } from './chunks.js';
import {
  BLOCK,
  CHUNK_INDEX_BYTES,
  DEVICE_SLOT,
  FIRST_NID,
  IMAGE_UNIT,
  INODE,
  MAX_DEVICES,
  MAX_NAME_BYTES,
  MAX_SYMLINK_BYTES,
  NID_UNIT,
  NULL_ADDRESS,
  SUPERBLOCK,
} from './constants.js';
import { Directory } from './directory.js';
import { pathOfInode } from './inode-path.js';
import { xattrBytes } from './xattrs.js';

/** A data file that the kernel is given beside the image. */
export interface ErofsDevice {
  /** Index into the tree's layers. */
  readonly layer: number;
  readonly source: DataSource;
}

export interface ImageLayout {
  readonly tree: MergedTree;
  /** Per name: its bytes. */
  readonly nameBytes: Uint8Array;
  /** Per inode: of a directory, the inode of the directory above. */
  readonly parent: Uint32Array;
  /** Per inode: its node id. */
  readonly nid: Uint32Array;
  /** Per inode: bytes of a directory's or a link's content, else 0. */
  readonly contentBytes: Uint32Array;
  /** Per inode: 1 when the content's last, or only, block is behind the inode. */
  readonly inline: Uint8Array;
  /** Per inode: where the rest of the content starts, in blocks from dataStart. */
  readonly contentBlock: Uint32Array;

  readonly devices: readonly ErofsDevice[];
  /** Device id by {@link dataFile}; 0 for those that hold nothing. */
  readonly deviceIds: Uint16Array;

  readonly metaStart: number;
  readonly metaBytes: number;
  readonly dataStart: number;
  readonly byteLength: number;
}

/** A layer's data files have numbers: 2n is the tar of layer n, 2n + 1 its extra file. */
export function dataFile(layer: number, inExtra: boolean): number {
  return 2 * layer + (inExtra ? 1 : 0);
}

/** @throws LARDER_LAYER_LIMIT for what EROFS cannot say, LARDER_LAYER_CORRUPT for an index that contradicts itself. */
export function layOut(tree: MergedTree, maxBytes: number): ImageLayout {
  return new Layouter(tree, maxBytes).run();
}

class Layouter {
  readonly #tree: MergedTree;
  readonly #maxBytes: number;
  readonly #nameBytes: Uint8Array;
  readonly #parent: Uint32Array;
  readonly #nid: Uint32Array;
  readonly #contentBytes: Uint32Array;
  readonly #inline: Uint8Array;
  readonly #contentBlock: Uint32Array;
  readonly #used: Uint8Array;
  readonly #directory: Directory;
  #meta = FIRST_NID * NID_UNIT;
  #blocks = 0;

  constructor(tree: MergedTree, maxBytes: number) {
    this.#tree = tree;
    this.#maxBytes = maxBytes;
    this.#nameBytes = new Uint8Array(tree.nameCount);
    this.#parent = new Uint32Array(tree.inodeCount);
    this.#nid = new Uint32Array(tree.inodeCount);
    this.#contentBytes = new Uint32Array(tree.inodeCount);
    this.#inline = new Uint8Array(tree.inodeCount);
    this.#contentBlock = new Uint32Array(tree.inodeCount);
    this.#used = new Uint8Array(2 * tree.layers.length);
    this.#directory = new Directory({ tree, nameBytes: this.#nameBytes, parent: this.#parent });
  }

  run(): ImageLayout {
    this.#readNames();
    for (let inode = 0; inode < this.#tree.inodeCount; inode++) this.#place(inode);
    const { devices, deviceIds } = this.#numberDevices();
    const metaStart = alignUp(SUPERBLOCK.offset + SUPERBLOCK.bytes + devices.length * DEVICE_SLOT.bytes, BLOCK);
    const metaBytes = alignUp(this.#meta, BLOCK);
    const dataStart = metaStart + metaBytes;
    const byteLength = alignUp(dataStart + this.#blocks * BLOCK, IMAGE_UNIT);
    if (byteLength > this.#maxBytes) throw this.#tooLarge();
    return {
      tree: this.#tree,
      nameBytes: this.#nameBytes,
      parent: this.#parent,
      nid: this.#nid,
      contentBytes: this.#contentBytes,
      inline: this.#inline,
      contentBlock: this.#contentBlock,
      devices,
      deviceIds,
      metaStart,
      metaBytes,
      dataStart,
      byteLength,
    };
  }

  /** Lengths of names once, since every name() makes a view; and who is above each directory. */
  #readNames(): void {
    const tree = this.#tree;
    for (let name = 1; name < tree.nameCount; name++) {
      const { length } = tree.name(name);
      const inode = u32(tree.inodeOf, name);
      if (length < 1 || length > MAX_NAME_BYTES) {
        throw this.#limit(inode, `the name has ${length} bytes, EROFS allows 1 to ${MAX_NAME_BYTES}`);
      }
      this.#nameBytes[name] = length;
      if (tree.kind(inode) === KIND.directory) this.#parent[inode] = u32(tree.parentOf, name);
    }
  }

  #place(inode: number): void {
    const head = INODE.bytes + this.#xattrBytes(inode);
    let bytes = head;
    switch (this.#tree.kind(inode)) {
      case KIND.directory:
        this.#directory.load(inode);
        bytes += this.#placeContent(inode, head, this.#directory.measure());
        break;
      case KIND.symlink:
        bytes += this.#placeContent(inode, head, this.#linkBytes(inode));
        break;
      case KIND.file: {
        const chunks = this.#chunksOf(inode);
        if (chunks > 0) bytes = alignUp(head, 8) + chunks * CHUNK_INDEX_BYTES;
        break;
      }
      case KIND.character:
      case KIND.block:
        this.#checkDevice(inode);
    }
    this.#nid[inode] = this.#meta / NID_UNIT;
    this.#meta = alignUp(this.#meta + bytes, NID_UNIT);
    if (this.#meta + this.#blocks * BLOCK > this.#maxBytes) throw this.#tooLarge(inode);
  }

  /**
   * Directories and links: what is past the last full block goes behind the inode. It may not cross a block boundary,
   * so the inode moves up until it ends at one, if that is what it takes. Returns the bytes that went behind the inode.
   */
  #placeContent(inode: number, head: number, bytes: number): number {
    const tail = bytes % BLOCK;
    let start = this.#meta;
    if (((start + head) % BLOCK) + tail > BLOCK) start = alignUp(alignUp(start + head, BLOCK) - head, NID_UNIT);
    // A link is inline as a whole or not at all: only so the kernel reads it without the page cache.
    const may = tail > 0 && (bytes < BLOCK || this.#tree.kind(inode) === KIND.directory);
    const inline = may && ((start + head) % BLOCK) + tail <= BLOCK;
    this.#contentBytes[inode] = bytes;
    this.#contentBlock[inode] = this.#blocks;
    this.#blocks += inline ? (bytes - tail) / BLOCK : Math.ceil(bytes / BLOCK);
    if (!inline) return 0;
    this.#inline[inode] = 1;
    this.#meta = start;
    return tail;
  }

  #chunksOf(inode: number): number {
    const index = this.#indexOf(inode);
    const entry = u32(this.#tree.entry, inode);
    const size = f64(index.size, entry);
    if (size === 0) return 0;
    const inExtra = index.inExtra(entry);
    const runs = inExtra ? undefined : index.sparse(entry);
    if (runs === undefined) {
      this.#useData(inode, index, inExtra, size);
      return contiguousCount(size);
    }
    const chunks = sparseChunks(size, f64(index.offset, entry), runs);
    if (chunks === undefined)
      throw this.#corrupt(inode, 'its sparse runs overlap, are not aligned, pass its end or are too many');
    const stored = chunks.runs.reduce((sum, run) => sum + run.blocks * BLOCK, 0);
    if (stored > 0) this.#useData(inode, index, inExtra, stored);
    return chunks.count;
  }

  /** The kernel reads whole blocks: a file must end in one that its data file has all of. */
  #useData(inode: number, index: LayerIndex, inExtra: boolean, bytes: number): void {
    const offset = f64(index.offset, u32(this.#tree.entry, inode));
    const end = offset + alignUp(bytes, BLOCK);
    if (offset % BLOCK !== 0) throw this.#corrupt(inode, `its bytes start at ${offset}, not at a multiple of ${BLOCK}`);
    if (end > (inExtra ? index.extraSize : index.tarSize)) {
      throw this.#corrupt(inode, `its bytes end at ${end}, past the end of the layer`);
    }
    if (end / BLOCK > NULL_ADDRESS) throw this.#limit(inode, 'its bytes are past the first 2 TiB of the layer');
    this.#used[dataFile(u16(this.#tree.layer, inode), inExtra)] = 1;
  }

  #checkDevice(inode: number): void {
    const index = this.#indexOf(inode);
    const entry = u32(this.#tree.entry, inode);
    const major = f64(index.size, entry);
    const minor = f64(index.offset, entry);
    if (major >= 0 && major < 2 ** 12 && minor >= 0 && minor < 2 ** 20) return;
    throw this.#limit(inode, `it is device ${major}:${minor}, Linux allows up to 4095:1048575`);
  }

  #linkBytes(inode: number): number {
    const bytes = at(this.#indexOf(inode).linkLength, u32(this.#tree.entry, inode));
    if (bytes >= 1 && bytes <= MAX_SYMLINK_BYTES) return bytes;
    throw this.#limit(inode, `the link's target has ${bytes} bytes, Linux allows 1 to ${MAX_SYMLINK_BYTES}`);
  }

  #xattrBytes(inode: number): number {
    if (u16(this.#tree.layer, inode) === IMPLIED) return 0;
    const index = this.#indexOf(inode);
    const entry = u32(this.#tree.entry, inode);
    if (!index.hasXattrs(entry)) return 0;
    const bytes = xattrBytes(index.xattrs(entry));
    if (bytes === undefined) throw this.#limit(inode, 'its extended attributes are larger than EROFS can keep');
    return bytes;
  }

  #indexOf(inode: number): LayerIndex {
    const index = this.#tree.layers[u16(this.#tree.layer, inode)];
    if (index === undefined) throw this.#corrupt(inode, 'it belongs to no layer');
    return index;
  }

  #numberDevices(): { devices: ErofsDevice[]; deviceIds: Uint16Array } {
    const devices: ErofsDevice[] = [];
    const deviceIds = new Uint16Array(this.#used.length);
    this.#used.forEach((used, file) => {
      if (used === 0) return;
      devices.push({ layer: file >>> 1, source: file % 2 === 0 ? 'tar' : 'extra' });
      deviceIds[file] = devices.length;
    });
    if (devices.length <= MAX_DEVICES) return { devices, deviceIds };
    throw new LarderError(
      'LARDER_LAYER_LIMIT',
      `laying out the EROFS image: ${devices.length} data files: EROFS allows ${MAX_DEVICES}`,
    );
  }

  #tooLarge(inode = this.#tree.inodeCount - 1): LarderError {
    return this.#limit(inode, `the image's metadata passes ${this.#maxBytes} bytes here`);
  }

  #limit(inode: number, why: string): LarderError {
    return this.#error('LARDER_LAYER_LIMIT', inode, why);
  }

  #corrupt(inode: number, why: string): LarderError {
    return this.#error('LARDER_LAYER_CORRUPT', inode, why);
  }

  #error(code: 'LARDER_LAYER_LIMIT' | 'LARDER_LAYER_CORRUPT', inode: number, why: string): LarderError {
    return new LarderError(code, `laying out the EROFS image: ${pathOfInode(this.#tree, inode)}: ${why}`, {
      details: { layer: u16(this.#tree.layer, inode) },
    });
  }
}
