/**
 * Whiteouts and opaque marks of one layer, applied to the tree of the layers below it.
 *
 * All of them are looked up before the first is applied, so their order does not matter. A parent below that is a
 * symlink is followed, as extraction would, unless the same layer puts something else than a symlink at its place: then
 * the mark is about that new thing, below which nothing can be hidden.
 */
import { at } from '../bytes.js';
import { lastSlash } from './clean-path.js';
import { GrowingU32 } from './growing-columns.js';
import { type NameTable, NONE } from './name-table.js';
import { OwnPaths } from './own-paths.js';
import type { PathWalker } from './path-walker.js';
import { KIND, type LayerIndex } from './types.js';

export function applyWhiteouts(table: NameTable, walker: PathWalker, number: number): void {
  const index = table.layers[number] as LayerIndex;
  const marks = marksOf(index);
  if (marks.length === 0) return;
  const targets = lookUp(table, walker, number, marks);
  // Whiteouts first: an opaque directory that is hidden itself must stay so.
  for (const [k, i] of marks.entries()) {
    const name = at(targets, k);
    if (name !== NONE && at(index.kind, i) === KIND.whiteout) table.inode[name] = NONE;
  }
  for (const [k, i] of marks.entries()) {
    const name = at(targets, k);
    if (name !== NONE && at(index.kind, i) === KIND.opaque) empty(table, name);
  }
  walker.forget();
}

/** A directory without its content: a new inode with the same attributes. What hung on the old one is out of reach. */
function empty(table: NameTable, name: number): void {
  const old = at(table.inode, name);
  if (old === NONE || table.kind(old) !== KIND.directory) return;
  table.inode[name] = table.addInode(at(table.inodeLayer, old), at(table.inodeEntry, old));
}

function marksOf({ kind, count }: LayerIndex): Uint32Array {
  const marks = new GrowingU32();
  for (let i = 0; i < count; i++) if (at(kind, i) >= KIND.whiteout) marks.push(i);
  return marks.view();
}

/** For each mark the name that it is about, or NONE. */
function lookUp(table: NameTable, walker: PathWalker, number: number, marks: Uint32Array): Uint32Array {
  const own = new OwnPaths(table.layers[number] as LayerIndex);
  const { kind, pathStart, pathLength, pool } = table.layers[number] as LayerIndex;
  return marks.map((i) => {
    const start = at(pathStart, i);
    const end = start + at(pathLength, i);
    if (at(kind, i) === KIND.opaque) return walker.lookName(number, start, end, own);
    const slash = lastSlash(pool, start, end);
    const directory = walker.look(number, start, Math.max(start, slash), own);
    return directory === NONE ? NONE : table.find(directory, pool, slash + 1, end);
  });
}
