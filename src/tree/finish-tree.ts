/**
 * From the growing tree to the finished one: what the root reaches is numbered breadth first, with the names of each
 * directory side by side in bytewise order. What was removed or replaced is not reached and so is left behind; links
 * are counted on the way. The result depends on the tree alone, not on the hash table.
 */
import { f64, item, u8, u16, u32 } from '../bytes.js';
import { GrowingU32 } from './growing-columns.js';
import { type NameTable, NONE } from './name-table.js';
import { IMPLIED, KIND, type LayerIndex, type MergedTree } from './types.js';

export function finishTree(table: NameTable): MergedTree {
  table.dropIndex();
  const [listStart, list] = groupByDirectory(table);
  const names = list.length + 1;
  const tree = {
    inodeOf: new Uint32Array(names),
    parentOf: new Uint32Array(names),
    nameLayer: new Uint16Array(names),
    nameStart: new Uint32Array(names),
    nameLength: new Uint8Array(names),
    layer: new Uint16Array(names),
    entry: new Uint32Array(names),
    nlink: new Uint32Array(names),
    childStart: new Uint32Array(names),
    childCount: new Uint32Array(names),
  };
  const newInode = new Uint32Array(table.inodes).fill(NONE);
  const directories = new GrowingU32();
  let inodeCount = 0;
  let nameCount = 1;
  const number = (old: number): number => {
    const known = u32(newInode, old);
    if (known !== NONE) return known;
    const inode = inodeCount++;
    newInode[old] = inode;
    tree.layer[inode] = u16(table.inodeLayer, old);
    tree.entry[inode] = u32(table.inodeEntry, old);
    if (table.kind(old) === KIND.directory) {
      directories.push(old);
      tree.nlink[inode] = 2;
    }
    return inode;
  };
  number(u32(table.inode, 0));
  for (let d = 0; d < directories.length; d++) {
    const old = u32(directories.view(), d);
    const parent = u32(newInode, old);
    const group = list.subarray(u32(listStart, old), u32(listStart, old + 1));
    sortNames(table, group);
    tree.childStart[parent] = nameCount - 1;
    tree.childCount[parent] = group.length;
    for (let k = 0; k < group.length; k++) {
      const name = u32(group, k);
      const oldInode = u32(table.inode, name);
      const inode = number(oldInode);
      const counted = table.kind(oldInode) === KIND.directory ? parent : inode;
      tree.nlink[counted] = u32(tree.nlink, counted) + 1;
      tree.inodeOf[nameCount] = inode;
      tree.parentOf[nameCount] = parent;
      tree.nameLayer[nameCount] = u16(table.layer, name);
      tree.nameStart[nameCount] = u32(table.start, name);
      tree.nameLength[nameCount] = u8(table.length, name);
      nameCount++;
    }
  }
  return new ColumnTree(table.layers, nameCount, inodeCount, {
    inodeOf: fit(tree.inodeOf, nameCount),
    parentOf: fit(tree.parentOf, nameCount),
    nameLayer: fit(tree.nameLayer, nameCount),
    nameStart: fit(tree.nameStart, nameCount),
    nameLength: fit(tree.nameLength, nameCount),
    layer: fit(tree.layer, inodeCount),
    entry: fit(tree.entry, inodeCount),
    nlink: fit(tree.nlink, inodeCount),
    childStart: fit(tree.childStart, inodeCount),
    childCount: fit(tree.childCount, inodeCount),
  });
}

/** Living names grouped by the inode that holds them: those of directory d are list[start[d] .. start[d + 1]). */
function groupByDirectory(table: NameTable): [start: Uint32Array, list: Uint32Array] {
  const start = new Uint32Array(table.inodes + 1);
  for (let name = 1; name < table.names; name++) {
    if (u32(table.inode, name) === NONE) continue;
    const slot = u32(table.parent, name) + 1;
    start[slot] = u32(start, slot) + 1;
  }
  for (let d = 1; d < start.length; d++) start[d] = u32(start, d) + u32(start, d - 1);
  const list = new Uint32Array(u32(start, table.inodes));
  // Filling from the back turns each end into its start.
  for (let name = table.names - 1; name > 0; name--) {
    if (u32(table.inode, name) === NONE) continue;
    const slot = u32(table.parent, name) + 1;
    start[slot] = u32(start, slot) - 1;
    list[u32(start, slot)] = name;
  }
  start.copyWithin(0, 1);
  start[table.inodes] = list.length;
  return [start, list];
}

function sortNames(table: NameTable, group: Uint32Array): void {
  if (isSorted(table, group)) return;
  const keys = new Float64Array(group.length);
  for (let k = 0; k < group.length; k++) keys[k] = keyOf(table, u32(group, k));
  const order = new Uint32Array(group.length).map((_, k) => k);
  order.sort((a, b) => f64(keys, a) - f64(keys, b) || compareNames(table, u32(group, a), u32(group, b)));
  const before = group.slice();
  for (let k = 0; k < group.length; k++) group[k] = u32(before, u32(order, k));
}

/** Most archives come in order. */
function isSorted(table: NameTable, group: Uint32Array): boolean {
  for (let k = 1; k < group.length; k++) if (compareNames(table, u32(group, k - 1), u32(group, k)) > 0) return false;
  return true;
}

/** The first six bytes as a number, so that most comparisons need not look into the pools. */
function keyOf({ pools, layer, start, length }: NameTable, name: number): number {
  const pool = item(pools, u16(layer, name));
  const from = u32(start, name);
  const bytes = u8(length, name);
  let key = 0;
  for (let k = 0; k < 6; k++) key = key * 256 + (k < bytes ? u8(pool, from + k) : 0);
  return key;
}

function compareNames({ pools, layer, start, length }: NameTable, a: number, b: number): number {
  const poolA = item(pools, u16(layer, a));
  const poolB = item(pools, u16(layer, b));
  return compareBytes(poolA, u32(start, a), u8(length, a), poolB, u32(start, b), u8(length, b));
}

function compareBytes(
  a: Uint8Array,
  startA: number,
  lengthA: number,
  b: Uint8Array,
  startB: number,
  lengthB: number,
): number {
  const shared = Math.min(lengthA, lengthB);
  for (let k = 0; k < shared; k++) {
    const difference = u8(a, startA + k) - u8(b, startB + k);
    if (difference !== 0) return difference;
  }
  return lengthA - lengthB;
}

/** The first elements, in memory of their own where the rest would be much. */
function fit<T extends Uint8Array | Uint16Array | Uint32Array>(array: T, length: number): T {
  return (length * 4 < array.length * 3 ? array.slice(0, length) : array.subarray(0, length)) as T;
}

interface TreeColumns {
  readonly inodeOf: Uint32Array;
  readonly parentOf: Uint32Array;
  readonly nameLayer: Uint16Array;
  readonly nameStart: Uint32Array;
  readonly nameLength: Uint8Array;
  readonly layer: Uint16Array;
  readonly entry: Uint32Array;
  readonly nlink: Uint32Array;
  readonly childStart: Uint32Array;
  readonly childCount: Uint32Array;
}

class ColumnTree implements MergedTree {
  readonly layers: readonly LayerIndex[];
  readonly nameCount: number;
  readonly inodeCount: number;
  readonly inodeOf: Uint32Array;
  readonly parentOf: Uint32Array;
  readonly layer: Uint16Array;
  readonly entry: Uint32Array;
  readonly nlink: Uint32Array;
  readonly children: Uint32Array;
  readonly childStart: Uint32Array;
  readonly childCount: Uint32Array;
  readonly #nameLayer: Uint16Array;
  readonly #nameStart: Uint32Array;
  readonly #nameLength: Uint8Array;

  constructor(layers: readonly LayerIndex[], nameCount: number, inodeCount: number, columns: TreeColumns) {
    this.layers = layers;
    this.nameCount = nameCount;
    this.inodeCount = inodeCount;
    this.inodeOf = columns.inodeOf;
    this.parentOf = columns.parentOf;
    this.layer = columns.layer;
    this.entry = columns.entry;
    this.nlink = columns.nlink;
    this.childStart = columns.childStart;
    this.childCount = columns.childCount;
    this.#nameLayer = columns.nameLayer;
    this.#nameStart = columns.nameStart;
    this.#nameLength = columns.nameLength;
    // Names are numbered in the order of their directories, the root before all.
    this.children = new Uint32Array(nameCount - 1).map((_, k) => k + 1);
  }

  name(name: number): Uint8Array {
    const start = u32(this.#nameStart, name);
    return this.#pool(name).subarray(start, start + u8(this.#nameLength, name));
  }

  kind(inode: number): number {
    const layer = u16(this.layer, inode);
    return layer === IMPLIED ? KIND.directory : u8(item(this.layers, layer).kind, u32(this.entry, inode));
  }

  child(dir: number, bytes: Uint8Array): number | undefined {
    let low = u32(this.childStart, dir);
    let high = low + u32(this.childCount, dir) - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const name = u32(this.children, middle);
      const order = compareBytes(
        this.#pool(name),
        u32(this.#nameStart, name),
        u8(this.#nameLength, name),
        bytes,
        0,
        bytes.length,
      );
      if (order === 0) return name;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  #pool(name: number): Uint8Array {
    return this.layers[u16(this.#nameLayer, name)]?.pool ?? EMPTY;
  }
}

const EMPTY = new Uint8Array(0);
