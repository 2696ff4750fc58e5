import { at, displayName } from '../bytes.js';
import type { MergedTree } from '../tree/types.js';

/** A path of an inode, for messages: it searches all names, once per component. */
export function pathOfInode(tree: MergedTree, inode: number): string {
  const parts: string[] = [];
  for (let current = inode; current !== 0; ) {
    const name = tree.inodeOf.indexOf(current, 1);
    if (name < 0 || parts.length > tree.inodeCount) return `inode ${inode}`;
    parts.unshift(displayName(tree.name(name)));
    current = at(tree.parentOf, name);
  }
  return `/${parts.join('/')}`;
}
