/** Layers written as short lists, and merged trees read back as short lines. */

import {
  DEFAULT_LAYER_LIMITS,
  ENTRY,
  type EntryType,
  type LayerLimits,
  makeEntry,
  type TarEntry,
  type Xattr,
} from '../../src/tar/entry.js';
import { IndexBuilder } from '../../src/tree/index-builder.js';
import { mergeLayers } from '../../src/tree/merge.js';
import { IMPLIED, KIND, type LayerIndex, type MergedTree } from '../../src/tree/types.js';

export type Line = Partial<Omit<TarEntry, 'path' | 'link'>> & { path: string; link?: string };

/** Bytes of text in which each character is one byte; so tests can name any bytes. */
export function bytes(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

export function tarEntry(line: Line): TarEntry {
  return makeEntry({
    mode: 0o644,
    stored: line.size ?? 0,
    ...line,
    path: bytes(line.path),
    link: bytes(line.link ?? ''),
  });
}

const of =
  (type: EntryType) =>
  (path: string, more: Partial<Line> = {}): Line => ({ type, path, ...more });
/** A file; `uid` tells files apart in {@link show}. */
export const file = (path: string, uid = 0, more: Partial<Line> = {}): Line => ({
  type: ENTRY.file,
  path,
  uid,
  ...more,
});
export const dir = (path: string, mode = 0o755, more: Partial<Line> = {}): Line => ({
  type: ENTRY.directory,
  path,
  mode,
  ...more,
});
export const symlink = (path: string, link: string): Line => ({ type: ENTRY.symlink, path, link });
export const hardlink = (path: string, link: string, more: Partial<Line> = {}): Line => ({
  type: ENTRY.hardlink,
  path,
  link,
  ...more,
});
export const fifo = of(ENTRY.fifo);
export const charDevice = of(ENTRY.character);
export const blockDevice = of(ENTRY.block);
export const xattr = (name: string, value: string): Xattr => ({ name: bytes(name), value: bytes(value) });

export function buildLines(lines: readonly Line[], limits: Partial<LayerLimits> = {}, tarSize = 2 ** 40) {
  const builder = new IndexBuilder({ ...DEFAULT_LAYER_LIMITS, ...limits });
  for (const line of lines) builder.entry(tarEntry(line));
  return builder.finish(tarSize);
}

export function layer(...lines: Line[]): LayerIndex {
  return buildLines(lines).index;
}

const LETTERS: Record<number, string> = {
  [KIND.file]: 'f',
  [KIND.directory]: 'd',
  [KIND.symlink]: 'l',
  [KIND.character]: 'c',
  [KIND.block]: 'b',
  [KIND.fifo]: 'p',
};

export function merged(...layers: (readonly Line[])[]): MergedTree {
  return mergeLayers(layers.map((lines) => layer(...lines)));
}

/**
 * Every name of a tree, sorted by path: `path kind`, then what tells it apart: mode of a directory (`implied` where no
 * layer gave it), target of a symlink, uid of the rest; `=first` names the first path of a hardlinked file.
 */
export function show(tree: MergedTree): string[] {
  const lines: string[] = [];
  const first = new Map<number, string>();
  const walk = (inode: number, path: string): void => {
    lines.push(`${path === '' ? '/' : path} ${describe(tree, inode)}${again(first, tree, inode, path)}`);
    if (tree.kind(inode) !== KIND.directory) return;
    const start = tree.childStart[inode] ?? 0;
    for (let k = start; k < start + (tree.childCount[inode] ?? 0); k++) {
      const name = tree.children[k] ?? 0;
      walk(
        tree.inodeOf[name] ?? 0,
        `${path}${path === '' ? '' : '/'}${Buffer.from(tree.name(name)).toString('latin1')}`,
      );
    }
  };
  walk(0, '');
  return lines;
}

function describe(tree: MergedTree, inode: number): string {
  const layerNumber = tree.layer[inode] ?? 0;
  if (layerNumber === IMPLIED) return 'd implied';
  const index = tree.layers[layerNumber];
  const entry = tree.entry[inode] ?? 0;
  const kind = tree.kind(inode);
  const letter = LETTERS[kind];
  if (index === undefined || letter === undefined) throw new Error(`no attributes for inode ${inode} of kind ${kind}`);
  if (kind === KIND.directory) return `d ${(index.mode[entry] ?? 0).toString(8)}`;
  if (kind !== KIND.symlink) return `${letter} ${index.uid[entry]}`;
  const start = index.linkStart[entry] ?? 0;
  return `l ${Buffer.from(index.pool.subarray(start, start + (index.linkLength[entry] ?? 0))).toString('latin1')}`;
}

function again(first: Map<number, string>, tree: MergedTree, inode: number, path: string): string {
  if (tree.kind(inode) === KIND.directory) return '';
  const known = first.get(inode);
  if (known !== undefined) return ` =${known}`;
  first.set(inode, path);
  return '';
}
