/** ▸ What every writer of layers must keep: from a tar to its index and to the bytes that the index points at. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { at } from '../../bytes.js';
import { type DiffId, parseDiffId } from '../../spec/digest.js';
import { DEFAULT_LAYER_LIMITS, type LayerLimits } from '../../tar/entry.js';
import { decodeLayerIndex } from '../../tree/layer-index.js';
import { mergeLayers } from '../../tree/merge.js';
import { KIND, type LayerIndex, type MergedTree } from '../../tree/types.js';
import * as t from '../tar-builder.js';
import type { Register } from './register.js';

export interface WrittenLayer {
  readonly diffId: DiffId;
  readonly entries: number;
  /** The stored tar. */
  readonly tar: Uint8Array;
  /** The stored index. */
  readonly index: Uint8Array;
  /** The stored `layer.extra`. */
  readonly extra: Uint8Array | undefined;
}

export interface LayerWriterFixture {
  /** Writes an uncompressed tar as a layer of its own. */
  write(tar: Uint8Array, limits?: LayerLimits): Promise<WrittenLayer>;
  /** Paths of whatever a refused or finished write left behind in the writer's working area. */
  leftovers(): Promise<readonly string[]>;
  dispose(): Promise<void>;
}

type Case = (fixture: LayerWriterFixture) => Promise<void>;

export function layerWriterConformance(
  name: string,
  create: () => Promise<LayerWriterFixture>,
  register: Register = test,
): void {
  for (const [sentence, body] of Object.entries({ ...entryCases, ...layeringCases, ...refusalCases })) {
    register(`${name}: ${sentence}`, {}, async () => {
      const fixture = await create();
      try {
        await body(fixture);
        assert.deepEqual(await fixture.leftovers(), []);
      } finally {
        await fixture.dispose();
      }
    });
  }
}

const EVERYTHING = t.tar([
  t.dir('.', { mode: 0o755 }),
  t.dir('d', { mode: 0o1777, uid: 1, gid: 2 }),
  t.file('d/f', 'content', { mode: 0o4755, mtime: -7, mtimeNs: 123_456_789, xattrs: { 'user.a': 'b' } }),
  t.hardlink('d/hard', 'd/f'),
  t.symlink('d/soft', '../nowhere'),
  t.char('null', 1, 3, { mode: 0o666 }),
  t.block('disk', 259, 70_000),
  t.fifo('pipe'),
  t.file('huge', '', { uid: 4_294_967_294, gid: 3_000_000_000 }),
  t.file(`long/${'x'.repeat(255)}/${'y'.repeat(255)}`, 'far away'),
  t.file(Buffer.from([0x6c, 0xe9, 0x21]), 'latin-1'),
  t.file('new\nline', ''),
  t.sparse('holes', 1 << 20, [{ offset: 4096, data: 'x'.repeat(512) }], '1.0'),
]);

const entryCases: Record<string, Case> = {
  'the stored tar is the tar, and its SHA-256 the DiffID': async ({ write }) => {
    const written = await write(EVERYTHING);
    assert.ok(Buffer.from(written.tar).equals(EVERYTHING));
    assert.equal(written.diffId, diffIdOf(EVERYTHING));
  },
  'every type of entry is in the index, in order': async ({ write }) => {
    const index = indexOf(await write(EVERYTHING));
    const { directory, file, hardlink, symlink, character, block, fifo } = KIND;
    const kinds = [directory, directory, file, hardlink, symlink, character, block, fifo, file, file, file, file, file];
    assert.deepEqual([...index.kind], kinds);
  },
  'modes, owners, times, devices and xattrs are kept exactly': async ({ write }) => {
    const index = indexOf(await write(EVERYTHING));
    const f = find(index, 'd/f');
    assert.equal(at(index.mode, f), 0o4755);
    assert.deepEqual([at(index.mtime, f), at(index.mtimeNs, f)], [-7, 123_456_789]);
    assert.deepEqual(
      index.xattrs(f).map(({ name, value }) => [text(name), text(value)]),
      [['user.a', 'b']],
    );
    assert.equal(at(index.mode, find(index, 'd')), 0o1777);
    const huge = find(index, 'huge');
    assert.deepEqual([at(index.uid, huge), at(index.gid, huge)], [4_294_967_294, 3_000_000_000]);
    const disk = find(index, 'disk');
    assert.deepEqual([at(index.size, disk), at(index.offset, disk)], [259, 70_000]);
  },
  'long, odd and non-UTF-8 names are kept byte for byte': async ({ write }) => {
    const index = indexOf(await write(EVERYTHING));
    for (const name of [`long/${'x'.repeat(255)}/${'y'.repeat(255)}`, Buffer.from([0x6c, 0xe9, 0x21]), 'new\nline']) {
      assert.ok(find(index, name) >= 0);
    }
  },
  'the index points at each file’s bytes': async ({ write }) => {
    const written = await write(EVERYTHING);
    const index = indexOf(written);
    assert.equal(contentOf(written, index, 'd/f'), 'content');
    assert.equal(contentOf(written, index, Buffer.from([0x6c, 0xe9, 0x21])), 'latin-1');
    const holes = find(index, 'holes');
    assert.deepEqual(index.sparse(holes), [{ offset: 4096, length: 512 }]);
    assert.equal(at(index.size, holes), 1 << 20);
  },
  'bytes that cannot be mapped from the tar are in the extra file, whole and zero-padded': async ({ write }) => {
    const dirty = t.file('dirty', 'abc');
    dirty.fill(0x55, 515);
    const odd = t.sparse('odd', 3000, [{ offset: 100, data: 'x'.repeat(50) }], '1.0');
    const written = await write(t.tar([t.file('clean', 'clean'), dirty, odd]));
    const index = indexOf(written);
    assert.equal(contentOf(written, index, 'clean'), 'clean');
    assert.equal(contentOf(written, index, 'dirty'), 'abc');
    const expected = Buffer.concat([Buffer.alloc(100), Buffer.alloc(50, 'x'), Buffer.alloc(2850)]);
    assert.equal(contentOf(written, index, 'odd'), expected.toString('latin1'));
    assert.equal(written.extra?.length, 512 + 3072);
    assert.ok(written.extra?.subarray(3, 512).every((byte) => byte === 0));
  },
  'an empty archive is a layer without entries': async ({ write }) => {
    assert.equal((await write(t.tar([]))).entries, 0);
  },
  'the same tar twice gives the same bytes': async ({ write }) => {
    const [one, two] = [await write(EVERYTHING), await write(EVERYTHING)];
    assert.ok(Buffer.from(one.index).equals(two.index));
    assert.deepEqual(one.extra, two.extra);
  },
};

const layeringCases: Record<string, Case> = {
  'a whiteout hides what is below, wherever it stands in its layer': async ({ write }) => {
    const base = await write(t.tar([t.dir('d'), t.file('d/a', '1'), t.file('d/b', '1')]));
    for (const order of [0, 1]) {
      const parts = [t.whiteout('d/a'), t.file('d/c', '2')];
      const top = await write(t.tar(order === 0 ? parts : parts.reverse()));
      assert.deepEqual(namesOf(treeOf(base, top)), ['d', 'd/b', 'd/c']);
    }
  },
  'an opaque mark hides a directory’s content below, not its own layer’s': async ({ write }) => {
    const base = await write(t.tar([t.dir('d'), t.file('d/a', '1')]));
    for (const order of [0, 1]) {
      const parts = [t.opaque('d'), t.file('d/new', '2')];
      const top = await write(t.tar([t.dir('d'), ...(order === 0 ? parts : parts.reverse())]));
      assert.deepEqual(namesOf(treeOf(base, top)), ['d', 'd/new']);
    }
  },
  'a hardlink may name a file of a lower layer': async ({ write }) => {
    const base = await write(t.tar([t.file('a', 'shared')]));
    const tree = treeOf(base, await write(t.tar([t.hardlink('b', 'a')])));
    assert.equal(inodeOf(tree, 'a'), inodeOf(tree, 'b'));
    assert.equal(at(tree.nlink, inodeOf(tree, 'b') ?? -1), 2);
  },
  'directories that no entry names exist': async ({ write }) => {
    const tree = treeOf(await write(t.tar([t.file('a/b/c', 'deep')])));
    assert.deepEqual(namesOf(tree), ['a', 'a/b', 'a/b/c']);
  },
  'an implied directory keeps what a lower layer said of it': async ({ write }) => {
    const base = await write(t.tar([t.dir('d', { mode: 0o700, uid: 5 })]));
    const top = await write(t.tar([t.file('d/f', '')]));
    const tree = treeOf(base, top);
    const inode = inodeOf(tree, 'd') ?? -1;
    const index = tree.layers[at(tree.layer, inode)];
    assert.equal(index?.mode[at(tree.entry, inode)], 0o700);
  },
};

const refusalCases: Record<string, Case> = {
  'a tar beyond the size limit is refused': async ({ write }) => {
    const limits = { ...DEFAULT_LAYER_LIMITS, maxTarBytes: 10_000 };
    await assert.rejects(write(t.tar([t.file('f', Buffer.alloc(20_000))]), limits), { code: 'LARDER_LAYER_LIMIT' });
  },
  'a tar with too many entries is refused': async ({ write }) => {
    const limits = { ...DEFAULT_LAYER_LIMITS, maxEntries: 10 };
    const many = Array.from({ length: 11 }, (_, i) => t.file(`f${i}`));
    await assert.rejects(write(t.tar(many), limits), { code: 'LARDER_LAYER_LIMIT' });
  },
  'names that leave the root are refused': async ({ write }) => {
    for (const name of ['../escape', 'a/../../escape']) {
      await assert.rejects(write(t.tar([t.file(name)])), { code: 'LARDER_LAYER_INVALID' });
    }
  },
  'a whiteout that names no entry is refused': async ({ write }) => {
    for (const name of ['.wh.', '.wh..', '.wh...', 'd/.wh...']) {
      await assert.rejects(write(t.tar([t.file(name)])), { code: 'LARDER_LAYER_INVALID' });
    }
  },
  'a header with a wrong checksum is refused': async ({ write }) => {
    const bad = t.tar([t.file('good'), t.file('bad', '', { checksum: 'bad' })]);
    await assert.rejects(write(bad), { code: 'LARDER_LAYER_INVALID' });
  },
  'a tar that is cut off is refused': async ({ write }) => {
    await assert.rejects(write(EVERYTHING.subarray(0, 1800)), { code: 'LARDER_LAYER_INVALID' });
  },
  'an extension that is too large is refused before it is held in memory': async ({ write }) => {
    const header = t.file('x', '', { typeflag: 'x', size: 2 ** 33 });
    await assert.rejects(write(t.tar([header])), { code: 'LARDER_LAYER_LIMIT' });
  },
  'holes that are too many to hash are refused': async ({ write }) => {
    const bytes = t.tar([t.sparse('odd', 2 ** 36, [{ offset: 100, data: 'x' }], '1.0')]);
    await assert.rejects(write(bytes), { code: 'LARDER_LAYER_LIMIT' });
  },
};

function diffIdOf(tar: Uint8Array): DiffId {
  return parseDiffId(`sha256:${createHash('sha256').update(tar).digest('hex')}`);
}

function indexOf(written: WrittenLayer): LayerIndex {
  return decodeLayerIndex(written.index);
}

function treeOf(...layers: readonly WrittenLayer[]): MergedTree {
  return mergeLayers(layers.map(indexOf));
}

function find(index: LayerIndex, path: string | Uint8Array): number {
  const wanted = Buffer.from(path);
  for (let i = 0; i < index.count; i++) {
    const start = at(index.pathStart, i);
    if (wanted.equals(index.pool.subarray(start, start + at(index.pathLength, i)))) return i;
  }
  return assert.fail(`no entry ${wanted.toString('latin1')}`);
}

function contentOf(written: WrittenLayer, index: LayerIndex, path: string | Uint8Array): string {
  const i = find(index, path);
  const source = index.inExtra(i) ? written.extra : written.tar;
  const start = at(index.offset, i);
  return Buffer.from(source?.subarray(start, start + at(index.size, i)) ?? []).toString('latin1');
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

/** Every path but the root, sorted. */
function namesOf(tree: MergedTree): string[] {
  const paths: string[] = [];
  const visit = (dir: number, above: string): void => {
    for (let k = 0; k < at(tree.childCount, dir); k++) {
      const name = at(tree.children, at(tree.childStart, dir) + k);
      const path = `${above}${text(tree.name(name))}`;
      paths.push(path);
      const inode = at(tree.inodeOf, name);
      if (tree.kind(inode) === KIND.directory) visit(inode, `${path}/`);
    }
  };
  visit(0, '');
  return paths.sort();
}

function inodeOf(tree: MergedTree, path: string): number | undefined {
  let inode = 0;
  for (const part of path.split('/')) {
    const name = tree.child(inode, Buffer.from(part));
    if (name === undefined) return undefined;
    inode = at(tree.inodeOf, name);
  }
  return inode;
}
