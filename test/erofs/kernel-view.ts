/** What the kernel shows of a written image, compared with the tree that it was written from. */
import assert from 'node:assert/strict';
import {
  type BigIntStats,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmdirSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { at } from '../../src/bytes.js';
import { type ErofsImage, type ErofsOptions, writeErofs } from '../../src/erofs/write-erofs.js';
import { mayMount } from '../../src/linux/capabilities.js';
import { mountErofs } from '../../src/linux/erofs-mount.js';
import { unmount } from '../../src/linux/mount.js';
import { getXattr, listXattrs } from '../../src/linux/xattr.js';
import { type DataSource, IMPLIED, KIND, type MergedTree } from '../../src/tree/types.js';
import type { LabImage, LabNode } from './lab-image.js';

export const UUID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
export const needsRoot = mayMount() ? {} : { skip: 'needs root: it mounts what was written' };

/** Where the bytes of a tree's layers are, and the image may be. */
export interface LayerFiles {
  readonly directoryPath: string;
  layer(number: number): { fd(source: DataSource): number };
}

/** Writes the image of `root`, mounts it, and calls `look` with the mount point. */
export function mounted(
  lab: LabImage,
  root: LabNode,
  look: (path: string, tree: MergedTree) => void,
  through?: 'file' | 'loop',
): void {
  const tree = lab.tree(root);
  mountedTree(lab, tree, (path) => look(path, tree), through);
}

/** The same of any tree. */
export function mountedTree(
  files: LayerFiles,
  tree: MergedTree,
  look: (path: string) => void,
  through: 'file' | 'loop' = 'file',
): void {
  const image = writeErofs(tree, { uuid: UUID });
  const target = join(files.directoryPath, 'mnt');
  const imageFd = openSync(join(files.directoryPath, 'image.erofs'), 'w+');
  mkdirSync(target);
  try {
    for (const piece of image.pieces()) writeSync(imageFd, piece);
    const deviceFds = image.devices.map(({ layer, source }) => files.layer(layer).fd(source));
    mountErofs({ imageFd, deviceFds, target, through });
    try {
      look(target);
    } finally {
      unmount(target);
    }
  } finally {
    closeSync(imageFd);
    rmdirSync(target);
  }
}

/** Mounts the image of `root` and asserts that all of it is what the tree says. */
export function assertSame(lab: LabImage, root: LabNode, through?: 'file' | 'loop'): void {
  mounted(lab, root, (path, tree) => assertShows(lab, tree, path), through);
}

/** Asserts that what is mounted at `path` is what the tree says. */
export function assertShows(files: LayerFiles, tree: MergedTree, path: string): void {
  new Comparison(files, tree).directory(Buffer.from(path), 0, 0);
}

export function bytesOf(image: ErofsImage): Buffer {
  return Buffer.concat([...image.pieces()]);
}

export function write(lab: LabImage, root: LabNode, options: Partial<ErofsOptions> = {}): ErofsImage {
  return writeErofs(lab.tree(root), { uuid: UUID, ...options });
}

const TYPES: Readonly<Record<number, (stat: BigIntStats) => boolean>> = {
  [KIND.file]: (stat) => stat.isFile(),
  [KIND.directory]: (stat) => stat.isDirectory(),
  [KIND.symlink]: (stat) => stat.isSymbolicLink(),
  [KIND.character]: (stat) => stat.isCharacterDevice(),
  [KIND.block]: (stat) => stat.isBlockDevice(),
  [KIND.fifo]: (stat) => stat.isFIFO(),
};

class Comparison {
  readonly #lab: LayerFiles;
  readonly #tree: MergedTree;
  readonly #inos = new Map<number, bigint>();

  constructor(lab: LayerFiles, tree: MergedTree) {
    this.#lab = lab;
    this.#tree = tree;
  }

  directory(path: Buffer, inode: number, parent: number): void {
    const tree = this.#tree;
    this.#inode(path, inode);
    const parentStat = lstatSync(Buffer.concat([path, Buffer.from('/..')]), { bigint: true });
    if (inode !== 0) assert.equal(parentStat.ino, this.#inos.get(parent), `${path}/..`);
    const start = at(tree.childStart, inode);
    const names = Array.from(tree.children.subarray(start, start + at(tree.childCount, inode)));
    const shown = readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare);
    assert.deepEqual(
      shown.map((name) => name.toString('latin1')),
      names.map((name) => Buffer.from(tree.name(name)).toString('latin1')),
    );
    for (const name of names) {
      const child = Buffer.concat([path, Buffer.from('/'), tree.name(name)]);
      const childInode = at(tree.inodeOf, name);
      if (tree.kind(childInode) === KIND.directory) this.directory(child, childInode, inode);
      else this.#inode(child, childInode);
    }
  }

  #inode(path: Buffer, inode: number): void {
    const tree = this.#tree;
    const stat = lstatSync(path, { bigint: true });
    const index = tree.layers[at(tree.layer, inode)];
    const entry = at(tree.entry, inode);
    assert.ok(TYPES[tree.kind(inode)]?.(stat), `type of ${path}`);
    assert.equal(stat.nlink, BigInt(at(tree.nlink, inode)), `nlink of ${path}`);
    assert.equal(this.#inos.get(inode) ?? stat.ino, stat.ino, `one inode number for all names: ${path}`);
    assert.ok(stat.ino > 0n);
    this.#inos.set(inode, stat.ino);
    const implied = at(tree.layer, inode) === IMPLIED || index === undefined;
    const expected = implied
      ? { mode: 0o755n, uid: 0n, gid: 0n, mtime: 0n }
      : {
          mode: BigInt(at(index.mode, entry)),
          uid: BigInt(at(index.uid, entry)),
          gid: BigInt(at(index.gid, entry)),
          mtime: BigInt(at(index.mtime, entry)) * 1_000_000_000n + BigInt(at(index.mtimeNs, entry)),
        };
    const { uid, gid } = stat;
    assert.deepEqual({ mode: stat.mode & 0o7777n, uid, gid, mtime: stat.mtimeNs }, expected, `attributes of ${path}`);
    if (implied) return;
    const xattrs = listXattrs(path).map((name) => ({ name: hex(name), value: hex(getXattr(path, name)) }));
    const wanted = index.xattrs(entry).map(({ name, value }) => ({ name: hex(name), value: hex(value) }));
    assert.deepEqual(
      xattrs,
      wanted.sort((a, b) => (a.name < b.name ? -1 : 1)),
      `xattrs of ${path}`,
    );
    this.#content(path, inode, stat);
  }

  #content(path: Buffer, inode: number, stat: BigIntStats): void {
    const tree = this.#tree;
    const index = tree.layers[at(tree.layer, inode)];
    if (index === undefined) return;
    const entry = at(tree.entry, inode);
    const kind = tree.kind(inode);
    if (kind === KIND.symlink) {
      const start = at(index.linkStart, entry);
      const target = index.pool.subarray(start, start + at(index.linkLength, entry));
      assert.equal(hex(readlinkSync(path, { encoding: 'buffer' })), hex(target), `target of ${path}`);
      assert.equal(stat.size, BigInt(target.length));
    } else if (kind === KIND.character || kind === KIND.block) {
      const major = (stat.rdev >> 8n) & 0xfffn;
      const minor = (stat.rdev & 0xffn) | ((stat.rdev >> 12n) & 0xfff00n);
      assert.deepEqual([major, minor], [BigInt(at(index.size, entry)), BigInt(at(index.offset, entry))], `${path}`);
    } else if (kind === KIND.file) {
      assert.equal(stat.size, BigInt(at(index.size, entry)), `size of ${path}`);
      this.#bytes(path, inode);
    }
  }

  /** Small files whole; of large ones, some kilobytes at both ends and around each edge of a run. */
  #bytes(path: Buffer, inode: number): void {
    const tree = this.#tree;
    const index = tree.layers[at(tree.layer, inode)];
    if (index === undefined) return;
    const entry = at(tree.entry, inode);
    const size = at(index.size, entry);
    const fd = openSync(path, 'r');
    try {
      for (const [start, end] of rangesOf(size, index.sparse(entry))) {
        const got = Buffer.alloc(end - start);
        assert.equal(readSync(fd, got, 0, got.length, start), got.length, `${path}: read at ${start}`);
        const wanted = this.#expected(inode, start, end);
        assert.ok(got.equals(wanted), `${path}: bytes ${start} to ${end}`);
      }
      assert.equal(readSync(fd, Buffer.alloc(1), 0, 1, size), 0, `${path}: nothing past its end`);
    } finally {
      closeSync(fd);
    }
  }

  #expected(inode: number, start: number, end: number): Buffer {
    const tree = this.#tree;
    const layer = at(tree.layer, inode);
    const index = tree.layers[layer];
    assert.ok(index !== undefined);
    const entry = at(tree.entry, inode);
    const bytes = Buffer.alloc(end - start);
    const fd = this.#lab.layer(layer).fd(index.inExtra(entry) ? 'extra' : 'tar');
    let from = at(index.offset, entry);
    for (const run of index.sparse(entry) ?? [{ offset: 0, length: at(index.size, entry) }]) {
      const first = Math.max(start, run.offset);
      const last = Math.min(end, run.offset + run.length);
      if (first < last) readSync(fd, bytes, first - start, last - first, from + first - run.offset);
      from += run.length;
    }
    return bytes;
  }
}

function rangesOf(size: number, runs: readonly { offset: number; length: number }[] = []): [number, number][] {
  if (size <= 1 << 22) return size === 0 ? [] : [[0, size]];
  const points = [0, size, ...runs.flatMap((run) => [run.offset, run.offset + run.length])];
  return points
    .map((point): [number, number] => [Math.max(0, point - 5000), Math.min(size, point + 5000)])
    .filter(([start, end]) => start < end);
}

function hex(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? 'none' : Buffer.from(bytes).toString('hex');
}
