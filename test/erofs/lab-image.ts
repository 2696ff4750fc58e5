/** Merged trees for tests, written as a value: `image.directory({ etc: image.directory({ passwd: image.file('…') }) })`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DataSource, IMPLIED, KIND, type MergedTree } from '../../src/tree/types.js';
import { type Attributes, LabLayer, type Piece, type Row } from './lab-layer.js';

export interface LabNode {
  readonly kind: number;
  readonly layer: number;
  readonly entry: number;
  readonly children: ReadonlyMap<string, LabNode>;
}

/** Names as latin1 text, so that each character is a byte. */
export type Children = Readonly<Record<string, LabNode>> | ReadonlyMap<string, LabNode>;

export interface Where extends Attributes {
  readonly layer?: number;
  readonly source?: DataSource;
}

export class LabImage {
  readonly directoryPath = mkdtempSync(join(tmpdir(), 'larder-erofs-'));
  readonly layers: LabLayer[] = [];

  layer(number: number): LabLayer {
    while (this.layers.length <= number) this.layers.push(new LabLayer(this.directoryPath, this.layers.length));
    const layer = this.layers[number];
    if (layer === undefined) throw new Error('no such layer');
    return layer;
  }

  directory(children: Children, where: Where = {}): LabNode {
    return this.#node({ kind: KIND.directory, ...where }, where.layer, children);
  }

  implied(children: Children): LabNode {
    return { kind: KIND.directory, layer: IMPLIED, entry: 0, children: mapOf(children) };
  }

  file(content: string | Uint8Array, where: Where = {}): LabNode {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    return this.largeFile(bytes.length, [{ at: 0, bytes }], where);
  }

  /** A file of `size` bytes that its data file has whole, zero but for `pieces`. */
  largeFile(size: number, pieces: readonly Piece[], where: Where = {}): LabNode {
    const source = where.source ?? 'tar';
    const offset = size === 0 ? 0 : this.layer(where.layer ?? 0).store(source, size, pieces);
    return this.#node({ kind: KIND.file, size, offset, inExtra: source === 'extra', ...where }, where.layer);
  }

  /** A sparse file: `runs` follow each other in the tar. */
  sparseFile(size: number, runs: readonly Piece[], where: Where = {}): LabNode {
    const stored = Buffer.concat(runs.map((run) => run.bytes));
    const offset = this.layer(where.layer ?? 0).store('tar', stored.length, [{ at: 0, bytes: stored }]);
    const sparse = runs.map((run) => ({ offset: run.at, length: run.bytes.length }));
    return this.#node({ kind: KIND.file, size, offset, sparse, ...where }, where.layer);
  }

  symlink(target: string | Uint8Array, where: Where = {}): LabNode {
    const link = typeof target === 'string' ? Buffer.from(target, 'latin1') : target;
    return this.#node({ kind: KIND.symlink, link, mode: 0o777, ...where }, where.layer);
  }

  device(kind: 'character' | 'block', major: number, minor: number, where: Where = {}): LabNode {
    return this.#node({ kind: KIND[kind], size: major, offset: minor, ...where }, where.layer);
  }

  fifo(where: Where = {}): LabNode {
    return this.#node({ kind: KIND.fifo, ...where }, where.layer);
  }

  row(row: Row, layer = 0): LabNode {
    return this.#node(row, layer);
  }

  tree(root: LabNode): MergedTree {
    return mergedTree(root, this.layers);
  }

  remove(): void {
    for (const layer of this.layers) layer.close();
    rmSync(this.directoryPath, { recursive: true });
  }

  #node(row: Row, layer = 0, children: Children = {}): LabNode {
    return { kind: row.kind, layer, entry: this.layer(layer).add(row), children: mapOf(children) };
  }
}

function mapOf(children: Children): ReadonlyMap<string, LabNode> {
  return children instanceof Map ? children : new Map(Object.entries(children));
}

/** Nodes that appear more than once are hardlinks. */
function mergedTree(root: LabNode, layers: readonly LabLayer[]): MergedTree {
  const inodes = [root];
  const numbers = new Map([[root, 0]]);
  const names: Buffer[] = [Buffer.alloc(0)];
  const inodeOf = [0];
  const parentOf = [0];
  const nlink = [2];
  const childStart: number[] = [];
  const childCount: number[] = [];
  const children: number[] = [];
  for (let dir = 0; dir < inodes.length; dir++) {
    const sorted = [...(inodes[dir]?.children ?? [])].map(([name, node]) => ({
      bytes: Buffer.from(name, 'latin1'),
      node,
    }));
    sorted.sort((a, b) => Buffer.compare(a.bytes, b.bytes));
    childStart.push(children.length);
    childCount.push(sorted.length);
    for (const { bytes, node } of sorted) {
      const known = numbers.get(node);
      const inode = known ?? inodes.push(node) - 1;
      numbers.set(node, inode);
      children.push(names.push(bytes) - 1);
      inodeOf.push(inode);
      parentOf.push(dir);
      if (node.kind === KIND.directory) {
        nlink[inode] = 2;
        nlink[dir] = (nlink[dir] ?? 0) + 1;
      } else nlink[inode] = (nlink[inode] ?? 0) + 1;
    }
  }
  const name = (number: number) => names[number] ?? Buffer.alloc(0);
  return {
    layers: layers.map((layer) => layer.index()),
    nameCount: names.length,
    inodeOf: Uint32Array.from(inodeOf),
    parentOf: Uint32Array.from(parentOf),
    inodeCount: inodes.length,
    layer: Uint16Array.from(inodes, (node) => node.layer),
    entry: Uint32Array.from(inodes, (node) => node.entry),
    nlink: Uint32Array.from(nlink),
    children: Uint32Array.from(children),
    childStart: Uint32Array.from(childStart),
    childCount: Uint32Array.from(childCount),
    name,
    kind: (inode) => inodes[inode]?.kind ?? 0,
    child: (dir, bytes) => {
      const own = children.slice(childStart[dir], (childStart[dir] ?? 0) + (childCount[dir] ?? 0));
      return own.find((number) => name(number).equals(bytes));
    },
  };
}
