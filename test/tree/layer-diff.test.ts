import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import { dir, file, hardlink, opaque, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { IndexBuilder } from '../../src/tree/index-builder.js';
import { overlayDiff } from '../../src/tree/layer-diff.js';
import { mergeLayers } from '../../src/tree/merge.js';
import type { LayerIndex, MergedTree } from '../../src/tree/types.js';

function indexOf(bytes: Uint8Array): LayerIndex {
  const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
  const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS);
  reader.write(bytes);
  reader.end();
  return builder.finish(bytes.length).index;
}

/** What the directory of the last layer contains: paths, whiteouts as `-path`, opaque directories as `path!`. */
function diffOf(...layers: readonly Uint8Array[]): readonly string[] {
  const indexes = layers.map(indexOf);
  const upper = mergeLayers(indexes);
  const diff = overlayDiff(layers.length === 1 ? undefined : mergeLayers(indexes.slice(0, -1)), upper);
  const lines: string[] = [];
  const visit = (inode: number, path: string): void => {
    for (const gone of diff.whiteouts.get(inode) ?? []) lines.push(`-${path}${Buffer.from(gone)}`);
    for (const child of childrenOf(upper, inode)) {
      if (diff.included[child] === 0) continue;
      const childInode = upper.inodeOf[child] ?? 0;
      const childPath = `${path}${Buffer.from(upper.name(child))}`;
      lines.push(diff.opaque[childInode] === 1 ? `${childPath}!` : childPath);
      visit(childInode, `${childPath}/`);
    }
  };
  if (diff.opaque[0] === 1) lines.push('!');
  visit(0, '');
  return lines.sort();
}

function childrenOf(tree: MergedTree, inode: number): readonly number[] {
  const start = tree.childStart[inode] ?? 0;
  return [...tree.children.subarray(start, start + (tree.childCount[inode] ?? 0))];
}

const BASE = tar([dir('d'), file('d/a'), file('d/b'), file('x'), hardlink('y', 'x'), dir('e'), file('e/only')]);

describe('what an overlay directory of the top layer contains', () => {
  it('is everything of a base layer', () => {
    assert.deepEqual(diffOf(tar([dir('d'), file('d/a')])), ['d', 'd/a']);
  });

  it('is nothing when the layer changes nothing', () => {
    assert.deepEqual(diffOf(BASE, tar([])), []);
  });

  it('is a new file and the directories that lead to it', () => {
    assert.deepEqual(diffOf(BASE, tar([file('d/new')])), ['d', 'd/new']);
  });

  it('is a file that is written again, even with the same bytes', () => {
    assert.deepEqual(diffOf(BASE, tar([file('d/a')])), ['d', 'd/a']);
  });

  it('is a whiteout where something below shows through beside it', () => {
    assert.deepEqual(diffOf(BASE, tar([whiteout('d/a')])), ['-d/a', 'd']);
  });

  it('is an opaque directory where nothing below shows through', () => {
    assert.deepEqual(diffOf(BASE, tar([whiteout('e/only')])), ['e!']);
    assert.deepEqual(diffOf(BASE, tar([opaque('d'), file('d/new')])), ['d!', 'd/new']);
  });

  it('is one whiteout for each name in the root, whose mark the kernel would not see', () => {
    assert.deepEqual(diffOf(BASE, tar([opaque(''), file('new')])), ['-d', '-e', '-x', '-y', 'new']);
  });

  it('is nothing for whiteouts of what never was', () => {
    assert.deepEqual(diffOf(BASE, tar([whiteout('d/never'), whiteout('neither')])), []);
  });

  it('is one whiteout for a whole directory', () => {
    assert.deepEqual(diffOf(BASE, tar([whiteout('d')])), ['-d']);
  });

  it('is an opaque directory where a file was', () => {
    assert.deepEqual(diffOf(BASE, tar([dir('x'), file('x/in')])), ['x!', 'x/in', 'y']);
  });

  it('is a directory alone when only its attributes changed', () => {
    assert.deepEqual(diffOf(BASE, tar([dir('d', { mode: 0o700 })])), ['d']);
  });

  it('is all names of a file that got one more', () => {
    assert.deepEqual(diffOf(BASE, tar([hardlink('d/z', 'x')])), ['d', 'd/z', 'x', 'y']);
  });

  it('is all names of a file that lost one', () => {
    assert.deepEqual(diffOf(BASE, tar([whiteout('y')])), ['-y', 'x']);
  });

  it('is where a symlink below leads, not where the entry says', () => {
    assert.deepEqual(diffOf(tar([dir('usr'), symlink('bin', 'usr')]), tar([file('bin/tool')])), ['usr', 'usr/tool']);
  });
});
