/** The second pass: the bytes of a laid out image, in order, in pieces of about a mebibyte. */
import { alignUp, f64, u16, u32 } from '../bytes.js';
import { IMPLIED, KIND, type LayerIndex, type MergedTree } from '../tree/types.js';
import { contiguousBits, contiguousCount, encodeChunks, type FileChunks, sparseChunks } from './chunks.js';
import { BLOCK, CHUNK_INDEX_BYTES, CHUNK_INDEXES, FORMAT, INODE, NID_UNIT, TYPE_OF_KIND } from './constants.js';
import { Directory } from './directory.js';
import { encodeHeader, type ImageIdentity } from './encode-header.js';
import { dataFile, type ImageLayout } from './layout.js';
import { encodeXattrs, xattrBytes, xattrCount } from './xattrs.js';

const PIECE_BYTES = 1 << 20;
/** Directories without a layer: what extraction makes of a parent that no archive lists. */
const IMPLIED_MODE = 0o755;
const NO_CHUNKS: FileChunks = { bits: 0, count: 0, runs: [] };

/** Each piece is new and the caller's to keep. */
export function* encodeImage(layout: ImageLayout, identity: ImageIdentity): Generator<Uint8Array, void, undefined> {
  yield encodeHeader(layout, identity);
  const encoder = new Encoder(layout);
  yield* encoder.metadata();
  yield* encoder.contents();
}

class Encoder {
  readonly #layout: ImageLayout;
  readonly #tree: MergedTree;
  readonly #directory: Directory;
  #piece = new Uint8Array(0);
  #view = new DataView(this.#piece.buffer);
  /** Byte of the metadata area at which the current piece starts. */
  #base = 0;

  constructor(layout: ImageLayout) {
    this.#layout = layout;
    this.#tree = layout.tree;
    this.#directory = new Directory(layout);
  }

  *metadata(): Generator<Uint8Array, void, undefined> {
    const { inodeCount } = this.#tree;
    for (let first = 0; first < inodeCount; ) {
      let end = first + 1;
      while (end < inodeCount && this.#recordEnd(end) - this.#base <= PIECE_BYTES) end++;
      this.#start(this.#recordEnd(end - 1) - this.#base);
      while (first < end) this.#encodeInode(first++);
      yield this.#take();
    }
  }

  /** Blocks of directories and links that are not behind their inode, in the order in which the layout gave them out. */
  *contents(): Generator<Uint8Array, void, undefined> {
    const { contentBytes, inline, byteLength, dataStart } = this.#layout;
    let left = byteLength - dataStart;
    let used = 0;
    this.#start(Math.min(left, PIECE_BYTES));
    for (let inode = 0; inode < this.#tree.inodeCount && left > 0; inode++) {
      const content = u32(contentBytes, inode);
      const bytes = inline[inode] === 1 ? content - (content % BLOCK) : content;
      if (bytes === 0) continue;
      const encodeBlock = this.#blocksOf(inode);
      for (let done = 0; done < bytes; done += BLOCK) {
        encodeBlock(used);
        used += BLOCK;
        if (used < this.#piece.length) continue;
        yield this.#take();
        left -= used;
        used = 0;
        this.#start(Math.min(left, PIECE_BYTES));
      }
    }
    if (left > 0) yield this.#take();
  }

  /** A function that writes one more block of an inode's content each time it is called. */
  #blocksOf(inode: number): (start: number) => void {
    if (this.#tree.kind(inode) === KIND.symlink) {
      const target = linkOf(this.#indexOf(inode), u32(this.#tree.entry, inode));
      let done = 0;
      return (start) => {
        this.#piece.set(target.subarray(done, done + BLOCK), start);
        done += BLOCK;
      };
    }
    const directory = this.#directory;
    directory.load(inode);
    let first = 0;
    return (start) => {
      const end = directory.blockEnd(first);
      directory.encode(first, end, this.#layout.nid, this.#piece, this.#view, start);
      first = end;
    };
  }

  #encodeInode(inode: number): void {
    const start = u32(this.#layout.nid, inode) * NID_UNIT - this.#base;
    this.#encodeAttributes(inode, start);
    if (u16(this.#tree.layer, inode) === IMPLIED) {
      this.#encodeDirectory(inode, start, start + INODE.bytes);
      return;
    }
    const index = this.#indexOf(inode);
    const entry = u32(this.#tree.entry, inode);
    const body = start + INODE.bytes + this.#encodeXattrs(index, entry, start);
    switch (this.#tree.kind(inode)) {
      case KIND.directory:
        this.#encodeDirectory(inode, start, body);
        break;
      case KIND.symlink:
        this.#encodeLink(inode, index, entry, start, body);
        break;
      case KIND.file:
        this.#encodeFile(inode, index, entry, start, alignUp(body, 8));
        break;
      case KIND.character:
      case KIND.block:
        this.#view.setUint32(start + INODE.union, deviceNumber(f64(index.size, entry), f64(index.offset, entry)), true);
    }
  }

  #encodeAttributes(inode: number, start: number): void {
    const view = this.#view;
    const tree = this.#tree;
    const type = TYPE_OF_KIND[tree.kind(inode)]?.mode ?? 0;
    view.setUint16(start + INODE.format, FORMAT.plain, true);
    view.setUint32(start + INODE.ino, inode + 1, true);
    view.setUint32(start + INODE.nlink, u32(tree.nlink, inode), true);
    if (u16(tree.layer, inode) === IMPLIED) {
      view.setUint16(start + INODE.mode, type | IMPLIED_MODE, true);
      return;
    }
    const index = this.#indexOf(inode);
    const entry = u32(tree.entry, inode);
    view.setUint16(start + INODE.mode, type | u16(index.mode, entry), true);
    view.setUint32(start + INODE.uid, u32(index.uid, entry), true);
    view.setUint32(start + INODE.gid, u32(index.gid, entry), true);
    this.#setInt64(start + INODE.mtime, f64(index.mtime, entry));
    view.setUint32(start + INODE.mtimeNs, u32(index.mtimeNs, entry), true);
  }

  #encodeDirectory(inode: number, start: number, body: number): void {
    const { contentBytes, contentBlock, inline, dataStart, nid } = this.#layout;
    const bytes = u32(contentBytes, inode);
    this.#setInt64(start + INODE.size, bytes);
    this.#view.setUint32(start + INODE.union, dataStart / BLOCK + u32(contentBlock, inode), true);
    if (inline[inode] !== 1) return;
    this.#view.setUint16(start + INODE.format, FORMAT.inline, true);
    this.#directory.load(inode);
    let first = 0;
    for (let full = bytes - (bytes % BLOCK); full > 0; full -= BLOCK) first = this.#directory.blockEnd(first);
    this.#directory.encode(first, this.#directory.count, nid, this.#piece, this.#view, body);
  }

  #encodeLink(inode: number, index: LayerIndex, entry: number, start: number, body: number): void {
    const { contentBytes, contentBlock, inline, dataStart } = this.#layout;
    this.#setInt64(start + INODE.size, u32(contentBytes, inode));
    if (inline[inode] === 1) {
      this.#view.setUint16(start + INODE.format, FORMAT.inline, true);
      this.#piece.set(linkOf(index, entry), body);
      return;
    }
    this.#view.setUint32(start + INODE.union, dataStart / BLOCK + u32(contentBlock, inode), true);
  }

  #encodeFile(inode: number, index: LayerIndex, entry: number, start: number, body: number): void {
    const size = f64(index.size, entry);
    if (size === 0) return;
    const device = this.#deviceOf(inode, index, entry);
    const offset = f64(index.offset, entry);
    const runs = index.inExtra(entry) ? undefined : index.sparse(entry);
    if (runs !== undefined) {
      const file = sparseChunks(size, offset, runs) ?? NO_CHUNKS;
      this.#encodeFileHead(start, size, file.bits);
      encodeChunks(file, device, this.#view, body);
      return;
    }
    const bits = contiguousBits(size);
    const count = contiguousCount(size);
    this.#encodeFileHead(start, size, bits);
    for (let i = 0; i < count; i++) {
      this.#view.setUint16(body + i * CHUNK_INDEX_BYTES + 2, device, true);
      this.#view.setUint32(body + i * CHUNK_INDEX_BYTES + 4, offset / BLOCK + i * 2 ** bits, true);
    }
  }

  #encodeFileHead(start: number, size: number, bits: number): void {
    this.#setInt64(start + INODE.size, size);
    this.#view.setUint16(start + INODE.format, FORMAT.chunked, true);
    this.#view.setUint32(start + INODE.union, bits | CHUNK_INDEXES, true);
  }

  /** Returns how many bytes they take. */
  #encodeXattrs(index: LayerIndex, entry: number, start: number): number {
    const bytes = xattrBytesOf(index, entry);
    if (bytes === 0) return 0;
    this.#view.setUint16(start + INODE.xattrCount, xattrCount(bytes), true);
    encodeXattrs(index.xattrs(entry), this.#piece, start + INODE.bytes);
    return bytes;
  }

  #deviceOf(inode: number, index: LayerIndex, entry: number): number {
    return u16(this.#layout.deviceIds, dataFile(u16(this.#tree.layer, inode), index.inExtra(entry)));
  }

  #indexOf(inode: number): LayerIndex {
    const index = this.#tree.layers[u16(this.#tree.layer, inode)];
    if (index === undefined) throw new Error(`inode ${inode} belongs to no layer, though the layout pass found one`);
    return index;
  }

  /** A safe integer as 64 bits, two's complement; without the BigInt that setBigInt64 would make per inode. */
  #setInt64(start: number, value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.#view.setUint32(start, value - high * 2 ** 32, true);
    this.#view.setInt32(start + 4, high, true);
  }

  #recordEnd(inode: number): number {
    const { nid, metaBytes } = this.#layout;
    return inode + 1 < nid.length ? u32(nid, inode + 1) * NID_UNIT : metaBytes;
  }

  #start(bytes: number): void {
    this.#piece = new Uint8Array(bytes);
    this.#view = new DataView(this.#piece.buffer);
  }

  #take(): Uint8Array {
    this.#base += this.#piece.length;
    return this.#piece;
  }
}

function xattrBytesOf(index: LayerIndex, entry: number): number {
  return index.hasXattrs(entry) ? (xattrBytes(index.xattrs(entry)) ?? 0) : 0;
}

function linkOf(index: LayerIndex, entry: number): Uint8Array {
  const start = u32(index.linkStart, entry);
  return index.pool.subarray(start, start + u16(index.linkLength, entry));
}

/** `new_encode_dev` of the kernel: 12 bits of major, 20 of minor. */
function deviceNumber(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
