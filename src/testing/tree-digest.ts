/**
 * ▸ What is in a directory, said so exactly that two trees with one digest are the same to every program: names as
 * bytes, types, permissions, owners, times, xattrs, which names are one file, device numbers, sizes, contents.
 * Deterministic; never follows a symbolic link. Inode numbers and link counts are not part of it, link groups are.
 */
import { createHash } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { displayName } from '../bytes.js';
import { getXattr, listXattrs } from '../linux/xattr.js';

export interface TreeDigestOptions {
  /** Modification times, in nanoseconds. Default true. */
  readonly times?: boolean;
  /** Default true. */
  readonly xattrs?: boolean;
  /** Leaves `trusted.overlay.*` and `user.overlay.*` out: for looking at a layer of an overlay by itself. Default false. */
  readonly ignoreOverlayXattrs?: boolean;
  /** Owners. Default true. */
  readonly owners?: boolean;
}

/** One line for each name, in bytewise order of paths; `path` is relative, empty for the root. */
export interface TreeLine {
  readonly path: Buffer;
  readonly facts: Readonly<Record<string, string>>;
}

export function listTree(root: string, options: TreeDigestOptions = {}): readonly TreeLine[] {
  return new TreeWalk(options).walk(Buffer.from(root));
}

/** SHA-256, in hex, of the listing. */
export function treeDigest(root: string, options: TreeDigestOptions = {}): string {
  const hash = createHash('sha256');
  for (const { path, facts } of listTree(root, options)) {
    hash.update(`${path.toString('hex')} ${JSON.stringify(facts)}\n`);
  }
  return hash.digest('hex');
}

/** Readable differences, one line each; empty when the trees are the same. */
export function diffTrees(a: string, b: string, options: TreeDigestOptions = {}): readonly string[] {
  return diffListings(listTree(a, options), listTree(b, options));
}

export function diffListings(a: readonly TreeLine[], b: readonly TreeLine[]): readonly string[] {
  const differences: string[] = [];
  let [i, j] = [0, 0];
  for (;;) {
    const [left, right] = [a[i], b[j]];
    if (left === undefined && right === undefined) return differences;
    const order = left === undefined ? 1 : right === undefined ? -1 : Buffer.compare(left.path, right.path);
    if (left !== undefined && order < 0)
      differences.push(`${shown(left.path)}: only in the first (${left.facts['type']})`);
    if (right !== undefined && order > 0)
      differences.push(`${shown(right.path)}: only in the second (${right.facts['type']})`);
    if (left !== undefined && right !== undefined && order === 0) differences.push(...diffFacts(left, right));
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
}

function diffFacts(a: TreeLine, b: TreeLine): readonly string[] {
  const keys = new Set([...Object.keys(a.facts), ...Object.keys(b.facts)]);
  return [...keys]
    .filter((key) => a.facts[key] !== b.facts[key])
    .map((key) => `${shown(a.path)}: ${key}: ${a.facts[key] ?? 'none'} and ${b.facts[key] ?? 'none'}`);
}

function shown(path: Uint8Array): string {
  return `/${displayName(path)}`;
}

const TYPE: Readonly<Record<number, string>> = {
  [constants.S_IFREG]: 'file',
  [constants.S_IFDIR]: 'directory',
  [constants.S_IFLNK]: 'symlink',
  [constants.S_IFCHR]: 'character',
  [constants.S_IFBLK]: 'block',
  [constants.S_IFIFO]: 'fifo',
  [constants.S_IFSOCK]: 'socket',
};

class TreeWalk {
  readonly #options: TreeDigestOptions;
  readonly #lines: TreeLine[] = [];
  /** `dev:ino` of files with several names: the first name, in the order of paths. */
  readonly #groups = new Map<string, { readonly line: Record<string, string>; readonly first: string }>();

  constructor(options: TreeDigestOptions) {
    this.#options = options;
  }

  walk(root: Buffer): readonly TreeLine[] {
    this.#visit(root, Buffer.alloc(0));
    return this.#lines.sort((a, b) => Buffer.compare(a.path, b.path));
  }

  #visit(full: Buffer, path: Buffer): void {
    const stats = lstatSync(full, { bigint: true });
    const facts = this.#factsOf(full, path, stats);
    this.#lines.push({ path, facts });
    if (!stats.isDirectory()) return;
    for (const name of readdirSync(full, { encoding: 'buffer' }).sort(Buffer.compare)) {
      this.#visit(join(full, name), path.length === 0 ? name : join(path, name));
    }
  }

  #factsOf(full: Buffer, path: Buffer, stats: BigIntStats): Record<string, string> {
    const { times = true, owners = true, xattrs = true } = this.#options;
    const mode = Number(stats.mode);
    const facts: Record<string, string> = { type: TYPE[mode & constants.S_IFMT] ?? 'unknown' };
    if (!stats.isSymbolicLink()) facts['mode'] = (mode & 0o7777).toString(8);
    if (owners) facts['owner'] = `${stats.uid}:${stats.gid}`;
    if (times) facts['mtime'] = String(stats.mtimeNs);
    if (stats.isSymbolicLink()) facts['target'] = displayName(readlinkSync(full, { encoding: 'buffer' }));
    if (stats.isCharacterDevice() || stats.isBlockDevice()) facts['device'] = String(stats.rdev);
    if (stats.isFile()) Object.assign(facts, { size: String(stats.size), sha256: contentDigest(full) });
    if (xattrs) for (const name of this.#xattrNames(full)) facts[`xattr ${displayName(name)}`] = hexValue(full, name);
    if (stats.nlink > 1n && !stats.isDirectory()) this.#group(facts, path, stats);
    return facts;
  }

  #xattrNames(full: Buffer): readonly Uint8Array[] {
    const names = listXattrs(full);
    if (this.#options.ignoreOverlayXattrs !== true) return names;
    return names.filter((name) => !/^(?:trusted|user)\.overlay\./.test(Buffer.from(name).toString('latin1')));
  }

  /** Files with one inode name the first of their paths: those outside of the tree are not our business. */
  #group(facts: Record<string, string>, path: Buffer, stats: BigIntStats): void {
    const key = `${stats.dev}:${stats.ino}`;
    const group = this.#groups.get(key);
    if (group === undefined) {
      this.#groups.set(key, { line: facts, first: shown(path) });
      return;
    }
    group.line['same file as'] = group.first;
    facts['same file as'] = group.first;
  }
}

function join(directory: Buffer, name: Buffer): Buffer {
  return Buffer.concat([directory, Buffer.from('/'), name]);
}

function hexValue(path: Buffer, name: Uint8Array): string {
  return Buffer.from(getXattr(path, name) ?? []).toString('hex');
}

const chunk = Buffer.alloc(1 << 18);

function contentDigest(path: Buffer): string {
  const hash = createHash('sha256');
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    for (let length = readSync(fd, chunk); length > 0; length = readSync(fd, chunk))
      hash.update(chunk.subarray(0, length));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}
