/** Paths inside a merged tree: symlinks are followed inside the image only, as the kernel would in a chroot. */

import { displayName, item, u16, u32 } from '../bytes.js';
import { LarderError } from '../errors.js';
import { KIND, type MergedTree } from './types.js';

/** A path: text is taken as UTF-8, bytes as they are. With or without a leading slash it starts at the image's root. */
export type ImagePath = string | Uint8Array;

const MAX_LINKS = 40;
const SLASH = 0x2f;

/** A name found, and the way to it: the names of its parents, root first. */
export interface Found {
  readonly name: number;
  readonly parents: readonly number[];
}

/** What stopped a lookup. */
export type Missing = 'not-found' | 'not-a-directory' | 'loop';

/** The name at `path`; the last component is followed only where `follow` says so. */
export function findPath(tree: MergedTree, path: ImagePath, follow: boolean): Found | Missing {
  const way: number[] = [];
  const pending = splitPath(bytesOf(path)).reverse();
  let links = 0;
  let name = 0;
  for (let component = pending.pop(); component !== undefined; component = pending.pop()) {
    const inode = u32(tree.inodeOf, name);
    if (tree.kind(inode) !== KIND.directory) return 'not-a-directory';
    if (isDot(component, 1)) continue;
    if (isDot(component, 2)) {
      name = way.pop() ?? 0;
      continue;
    }
    const child = tree.child(inode, component);
    if (child === undefined) return 'not-found';
    const childInode = u32(tree.inodeOf, child);
    if (tree.kind(childInode) === KIND.symlink && (follow || pending.length > 0)) {
      if (++links > MAX_LINKS) return 'loop';
      const target = linkTarget(tree, childInode);
      if (target[0] === SLASH) {
        way.length = 0;
        name = 0;
      }
      pending.push(...splitPath(target).reverse());
      continue;
    }
    way.push(name);
    name = child;
  }
  return { name, parents: way };
}

/** As {@link findPath}; rejects with LARDER_PATH_NOT_FOUND. */
export function readPath(tree: MergedTree, path: ImagePath, follow: boolean, doing: string): Found {
  const found = findPath(tree, path, follow);
  if (typeof found !== 'string') return found;
  const why = {
    'not-found': 'no such file',
    'not-a-directory': 'a part of the path is no directory',
    loop: 'too many symlinks',
  };
  throw pathError(doing, path, why[found]);
}

export function pathError(doing: string, path: ImagePath, problem: string): LarderError {
  return new LarderError('LARDER_PATH_NOT_FOUND', `${doing}: ${displayName(bytesOf(path)) || '/'}: ${problem}`);
}

export function bytesOf(path: ImagePath): Uint8Array {
  return typeof path === 'string' ? Buffer.from(path) : path;
}

/** The target of symlink `inode`; a view. */
export function linkTarget(tree: MergedTree, inode: number): Uint8Array {
  const index = item(tree.layers, u16(tree.layer, inode));
  const entry = u32(tree.entry, inode);
  const start = u32(index.linkStart, entry);
  return index.pool.subarray(start, start + u16(index.linkLength, entry));
}

/** Components without empty ones. A trailing slash asks for a directory, so it becomes a last `.`. */
function splitPath(path: Uint8Array): Uint8Array[] {
  const components: Uint8Array[] = [];
  let start = 0;
  for (let i = 0; i <= path.length; i++) {
    if (i < path.length && path[i] !== SLASH) continue;
    if (i > start) components.push(path.subarray(start, i));
    start = i + 1;
  }
  if (components.length > 0 && path.at(-1) === SLASH) components.push(DOT);
  return components;
}

const DOT = Uint8Array.of(0x2e);

function isDot(component: Uint8Array, dots: number): boolean {
  return component.length === dots && component.every((byte) => byte === 0x2e);
}
