/**
 * Whiteouts and opaque marks of one layer, applied to the tree of the layers below it.
 *
 * All of them are looked up before the first is applied, so their order does not matter. A parent below that is a
 * symlink is followed, as extraction would, unless the same layer puts something else than a symlink at its place: then
 * the mark is about that new thing, below which nothing can be hidden.
 */

import { item, u8, u16, u32 } from '../bytes.js';
import { lastSlash } from './clean-path.js';
import { GrowingU32 } from './growing-columns.js';
import { type NameTable, NONE } from './name-table.js';
import { OwnPaths } from './own-paths.js';
import type { PathWalker } from './path-walker.js';
import { KIND, type LayerIndex } from './types.js';

export function applyWhiteouts(table: NameTable, walker: PathWalker, number: number): void {
  const index = item(table.layers, number);
  const marks = marksOf(index);
  if (marks.length === 0) return;
  const targets = lookUp(table, walker, number, marks);
  // Whiteouts first: an opaque directory that is hidden itself must stay so.
  for (const [k, i] of marks.entries()) {
    const name = u32(targets, k);
    if (name !== NONE && u8(index.kind, i) === KIND.whiteout) table.inode[name] = NONE;
  }
  for (const [k, i] of marks.entries()) {
    const name = u32(targets, k);
    if (name !== NONE && u8(index.kind, i) === KIND.opaque) empty(table, name);
  }
  walker.forget();
}

/** A directory without its content: a new inode with the same attributes. What hung on the old one is out of reach. */
function empty(table: NameTable, name: number): void {
  const old = u32(table.inode, name);
  if (old === NONE || table.kind(old) !== KIND.directory) return;
  table.inode[name] = table.addInode(u16(table.inodeLayer, old), u32(table.inodeEntry, old));
}

function marksOf({ kind, count }: LayerIndex): Uint32Array {
  const marks = new GrowingU32();
  for (let i = 0; i < count; i++) if (u8(kind, i) >= KIND.whiteout) marks.push(i);
  return marks.view();
}

/** For each mark the name that it is about, or NONE. */
function lookUp(table: NameTable, walker: PathWalker, number: number, marks: Uint32Array): Uint32Array {
  const own = new OwnPaths(item(table.layers, number));
  const { kind, pathStart, pathLength, pool } = item(table.layers, number);
  return marks.map((i) => {
    const start = u32(pathStart, i);
    const end = start + u16(pathLength, i);
    if (u8(kind, i) === KIND.opaque) return walker.lookName(number, start, end, own);
    const slash = lastSlash(pool, start, end);
    const directory = walker.look(number, start, Math.max(start, slash), own);
    return directory === NONE ? NONE : table.find(directory, pool, slash + 1, end);
  });
}
