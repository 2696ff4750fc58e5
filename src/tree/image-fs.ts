/**
 * ▸ Reading an image without mounting it: from its merged tree and its layers' data files, on any system that runs
 * Node, without root. Nothing of an image is written anywhere and no path of it is ever given to the host.
 *
 * Paths are text (UTF-8) or bytes and start at the image's root. Symlinks are followed inside the image, at most 40.
 * The instance opens data files when it first needs them and owns them until it is disposed.
 */

import { displayName, f64, item, u16, u32 } from '../bytes.js';
import { LarderError, systemError, throwIfAborted } from '../errors.js';
import type { SparseRun, Xattr } from '../tar/entry.js';
import type { DataFile, ImageEntry, ImageEntryType, ImageStat, TreeSource, WalkEntry } from './image-entry.js';
import { bytesOf, findPath, type ImagePath, linkTarget, pathError, readPath } from './image-path.js';
import { type DataSource, IMPLIED, KIND, type LayerIndex, type MergedTree } from './types.js';

export type { DataFile, ImageEntry, ImageEntryType, ImageStat, TreeSource, WalkEntry } from './image-entry.js';
export type { ImagePath } from './image-path.js';

export interface ReadOptions {
  readonly signal?: AbortSignal;
}

const DEFAULT_MAX_FILE_BYTES = 64 * 2 ** 20;
const READ_BYTES = 256 * 1024;
const SLASH = Uint8Array.of(0x2f);

const TYPES: { readonly [kind: number]: ImageEntryType } = {
  [KIND.file]: 'file',
  [KIND.directory]: 'directory',
  [KIND.symlink]: 'symlink',
  [KIND.character]: 'character',
  [KIND.block]: 'block',
  [KIND.fifo]: 'fifo',
};

export class ImageFs implements AsyncDisposable {
  readonly #tree: MergedTree;
  readonly #source: TreeSource;
  readonly #open = new Map<string, Promise<DataFile>>();
  #disposed = false;

  constructor(tree: MergedTree, source: TreeSource) {
    this.#tree = tree;
    this.#source = source;
  }

  /** What `path` leads to, symlinks followed. Rejects with LARDER_PATH_NOT_FOUND, as all methods do. */
  stat(path: ImagePath): ImageStat {
    return this.#statOf(this.#inode(path, true, 'reading attributes'));
  }

  /** What is at `path` itself. */
  lstat(path: ImagePath): ImageStat {
    return this.#statOf(this.#inode(path, false, 'reading attributes'));
  }

  exists(path: ImagePath): boolean {
    return typeof findPath(this.#tree, path, true) !== 'string';
  }

  /** The entries of a directory in bytewise order. */
  readdir(path: ImagePath): ImageEntry[] {
    const inode = this.#inode(path, true, 'listing');
    if (this.#tree.kind(inode) !== KIND.directory) throw pathError('listing', path, 'not a directory');
    return [...this.#children(inode)];
  }

  /** The target of the symlink at `path`, as its bytes. */
  readlink(path: ImagePath): Buffer {
    const inode = this.#inode(path, false, 'reading a symlink');
    if (this.#tree.kind(inode) !== KIND.symlink) throw pathError('reading a symlink', path, 'not a symlink');
    return Buffer.from(linkTarget(this.#tree, inode));
  }

  /** The path of what `path` leads to, from the root with a leading slash, as its bytes: free of symlinks. */
  realpath(path: ImagePath): Buffer {
    const { name, parents } = readPath(this.#tree, path, true, 'resolving');
    const names = [...parents, name].filter((n) => n !== 0).map((n) => this.#tree.name(n));
    return names.length === 0 ? Buffer.from('/') : Buffer.concat(names.flatMap((bytes) => [SLASH, bytes]));
  }

  /** Extended attributes of what is at `path` itself, in bytewise order of their names. */
  xattrs(path: ImagePath): readonly Xattr[] {
    const inode = this.#inode(path, false, 'reading xattrs');
    return this.#indexOf(inode)?.xattrs(u32(this.#tree.entry, inode)) ?? [];
  }

  /** A whole file; LARDER_LAYER_LIMIT when it is longer than `maxBytes` (64 MiB). */
  async readFile(path: ImagePath, options: ReadOptions & { readonly maxBytes?: number } = {}): Promise<Buffer> {
    const { maxBytes = DEFAULT_MAX_FILE_BYTES } = options;
    const { size } = this.stat(path);
    if (size > maxBytes) {
      const shown = displayName(bytesOf(path));
      throw new LarderError('LARDER_LAYER_LIMIT', `reading a file: ${shown}: ${size} bytes, the limit is ${maxBytes}`, {
        hint: 'read it as a stream, or raise maxBytes',
      });
    }
    const pieces: Uint8Array[] = [];
    for await (const piece of this.open(path, options)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  /**
   * The bytes of a file in order; holes are zeros. Each piece is the receiver's own. LARDER_LAYER_CORRUPT when a data
   * file is shorter than its index says.
   */
  async *open(path: ImagePath, options: ReadOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const inode = this.#inode(path, true, 'reading a file');
    if (this.#tree.kind(inode) !== KIND.file) throw pathError('reading a file', path, 'not a regular file');
    const index = item(this.#tree.layers, u16(this.#tree.layer, inode));
    const entry = u32(this.#tree.entry, inode);
    const size = f64(index.size, entry);
    const runs = index.sparse(entry) ?? [{ offset: 0, length: size }];
    let position = f64(index.offset, entry);
    let done = 0;
    for (const run of runs) {
      yield* zeros(run.offset - done, options);
      yield* this.#readRun(inode, index.inExtra(entry) ? 'extra' : 'tar', position, run, options);
      position += run.length;
      done = run.offset + run.length;
    }
    yield* zeros(size - done, options);
  }

  /** Everything below a directory, parents first, siblings in bytewise order. Symlinks are not followed. */
  async *walk(path: ImagePath = '', options: ReadOptions = {}): AsyncGenerator<WalkEntry, void, undefined> {
    const { name, parents } = readPath(this.#tree, path, true, 'walking');
    const names = [...parents, name].filter((n) => n !== 0).map((n) => this.#tree.name(n));
    const start = Buffer.concat(names.flatMap((bytes, k) => (k === 0 ? [bytes] : [SLASH, bytes])));
    const inode = u32(this.#tree.inodeOf, name);
    if (this.#tree.kind(inode) !== KIND.directory) throw pathError('walking', path, 'not a directory');
    const pending: { path: Uint8Array; entries: Iterator<ImageEntry> }[] = [
      { path: start, entries: this.#children(inode) },
    ];
    for (let top = pending.at(-1); top !== undefined; top = pending.at(-1)) {
      throwIfAborted(options.signal, 'walking an image');
      const next = top.entries.next();
      if (next.done === true) {
        pending.pop();
        continue;
      }
      const entry = next.value;
      const pathBytes = top.path.length === 0 ? entry.bytes : Buffer.concat([top.path, SLASH, entry.bytes]);
      yield { ...entry, path: displayName(pathBytes), pathBytes, stat: this.#statOf(entry.inode) };
      if (entry.type === 'directory') pending.push({ path: pathBytes, entries: this.#children(entry.inode) });
    }
  }

  /** Closes the data files. Twice is fine. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    const files = [...this.#open.values()];
    this.#open.clear();
    // A file that could not be opened was reported to who wanted to read it.
    const opened = (await Promise.allSettled(files)).flatMap((result) =>
      result.status === 'fulfilled' ? [result.value] : [],
    );
    await Promise.all(opened.map((file) => file.close()));
  }

  #inode(path: ImagePath, follow: boolean, doing: string): number {
    return u32(this.#tree.inodeOf, readPath(this.#tree, path, follow, doing).name);
  }

  *#children(inode: number): Generator<ImageEntry, void, undefined> {
    const tree = this.#tree;
    const start = u32(tree.childStart, inode);
    const end = start + u32(tree.childCount, inode);
    for (let k = start; k < end; k++) {
      const name = u32(tree.children, k);
      const child = u32(tree.inodeOf, name);
      const bytes = Buffer.from(tree.name(name));
      yield { name: displayName(bytes), bytes, type: this.#typeOf(child), inode: child };
    }
  }

  /** The index that describes an inode; undefined for an implied directory. */
  #indexOf(inode: number): LayerIndex | undefined {
    const layer = u16(this.#tree.layer, inode);
    return layer === IMPLIED ? undefined : this.#tree.layers[layer];
  }

  #typeOf(inode: number): ImageEntryType {
    return TYPES[this.#tree.kind(inode)] as ImageEntryType;
  }

  #statOf(inode: number): ImageStat {
    const type = this.#typeOf(inode);
    const nlink = u32(this.#tree.nlink, inode);
    const index = this.#indexOf(inode);
    if (index === undefined) return { ...IMPLIED_STAT, nlink, inode };
    const entry = u32(this.#tree.entry, inode);
    const isDevice = type === 'character' || type === 'block';
    return {
      type,
      mode: u16(index.mode, entry),
      uid: u32(index.uid, entry),
      gid: u32(index.gid, entry),
      mtime: f64(index.mtime, entry),
      mtimeNs: u32(index.mtimeNs, entry),
      size: type === 'file' ? f64(index.size, entry) : type === 'symlink' ? u16(index.linkLength, entry) : 0,
      nlink,
      inode,
      devMajor: isDevice ? f64(index.size, entry) : 0,
      devMinor: isDevice ? f64(index.offset, entry) : 0,
      layer: u16(this.#tree.layer, inode),
    };
  }

  async *#readRun(
    inode: number,
    source: DataSource,
    position: number,
    run: SparseRun,
    options: ReadOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (run.length === 0) return;
    const layer = u16(this.#tree.layer, inode);
    const file = await this.#dataFile(layer, source);
    for (let done = 0; done < run.length; ) {
      throwIfAborted(options.signal, 'reading a file');
      const buffer = new Uint8Array(Math.min(READ_BYTES, run.length - done));
      const { bytesRead } = await readSome(file, buffer, position + done);
      if (bytesRead === 0) throw shortData(layer, source, position + done);
      done += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  #dataFile(layer: number, source: DataSource): Promise<DataFile> {
    if (this.#disposed) throw new LarderError('LARDER_INTERNAL', 'reading a file: the image was disposed');
    const key = `${source} ${layer}`;
    const open = this.#open.get(key);
    if (open !== undefined) return open;
    const opening = this.#source.openData(layer, source);
    this.#open.set(key, opening);
    // Only successes are remembered, so that a later read tries again.
    opening.catch(() => this.#open.delete(key));
    return opening;
  }
}

const IMPLIED_STAT = {
  type: 'directory',
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: 0,
  mtimeNs: 0,
  size: 0,
  devMajor: 0,
  devMinor: 0,
  layer: undefined,
} as const;

async function readSome(file: DataFile, buffer: Uint8Array, position: number): Promise<{ readonly bytesRead: number }> {
  try {
    return await file.read(buffer, 0, buffer.length, position);
  } catch (error) {
    throw systemError('reading a file of an image', error);
  }
}

function* zeros(length: number, { signal }: ReadOptions): Generator<Uint8Array, void, undefined> {
  for (let left = length; left > 0; left -= READ_BYTES) {
    throwIfAborted(signal, 'reading a file');
    yield new Uint8Array(Math.min(left, READ_BYTES));
  }
}

function shortData(layer: number, source: DataSource, position: number): LarderError {
  return new LarderError(
    'LARDER_LAYER_CORRUPT',
    `reading a file: layer.${source} of layer ${layer + 1}: it ends at ${position}, its index says more`,
    { details: { layer: layer + 1 } },
  );
}
