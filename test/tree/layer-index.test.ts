import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isLarderError } from '../../src/errors.js';
import { parseDiffId } from '../../src/spec/digest.js';
import { rootfsViewOf } from '../../src/spec/stack.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import {
  char,
  tar,
  dir as tarDir,
  file as tarFile,
  hardlink as tarLink,
  symlink as tarSymlink,
} from '../../src/testing/tar-builder.js';
import { IndexBuilder } from '../../src/tree/index-builder.js';
import { decodeLayerIndex, encodeLayerIndex } from '../../src/tree/layer-index.js';
import { mergeLayers } from '../../src/tree/merge.js';
import { mergedKeyOf } from '../../src/tree/merged-key.js';
import type { LayerIndex } from '../../src/tree/types.js';
import { buildLines, dir, file, hardlink, type Line, show, symlink, xattr } from './entries.js';

const SOME: readonly Line[] = [
  dir('./', 0o711),
  dir('d', 0o755, { xattrs: [xattr('user.a', '1'), xattr('user.b', '')] }),
  file('d/f', 3, { size: 700, offset: 1024, mtime: -7, mtimeNs: 5, xattrs: [xattr('security.capability', 'x')] }),
  file('d/odd', 3, { size: 9, offset: 2560, zeroPadded: false }),
  file('d/holes', 3, {
    size: 8192,
    offset: 4096,
    stored: 1024,
    sparse: [
      { offset: 512, length: 512 },
      { offset: 4096, length: 512 },
    ],
  }),
  symlink('d/l', '../x'),
  hardlink('h', 'd/f'),
  file('d/.wh.gone'),
  file('e/.wh..wh..opq'),
  file('same', 0, { xattrs: [xattr('user.a', '1'), xattr('user.b', '')] }),
];

/** Everything that an index can be asked. */
function facts(index: LayerIndex): unknown {
  const { count, tarSize, extraSize, kind, mode, uid, gid, mtime, mtimeNs, size, offset } = index;
  const text = (starts: Uint32Array, lengths: Uint16Array, i: number) => {
    const start = starts[i] ?? 0;
    return Buffer.from(index.pool.subarray(start, start + (lengths[i] ?? 0))).toString('latin1');
  };
  const entries = Array.from({ length: count }, (_, i) => ({
    path: text(index.pathStart, index.pathLength, i),
    link: text(index.linkStart, index.linkLength, i),
    xattrs: index
      .xattrs(i)
      .map(({ name, value }) => [Buffer.from(name).toString('latin1'), Buffer.from(value).toString('latin1')]),
    hasXattrs: index.hasXattrs(i),
    inExtra: index.inExtra(i),
    sparse: index.sparse(i),
  }));
  const columns = [kind, mode, uid, gid, mtime, mtimeNs, size, offset].map((column) => [...column]);
  return { count, tarSize, extraSize, entries, columns };
}

test('A decoded index answers as the built one', () => {
  const built = buildLines(SOME);
  assert.deepEqual(facts(decodeLayerIndex(encodeLayerIndex(built))), facts(built.index));
});

test('An empty layer has an index', () => {
  const decoded = decodeLayerIndex(encodeLayerIndex(buildLines([])));
  assert.equal(decoded.count, 0);
});

test('Equal archives give equal bytes, and decoding changes none of them', () => {
  const first = encodeLayerIndex(buildLines(SOME));
  const copy = first.slice();
  decodeLayerIndex(first);
  assert.deepEqual(first, copy);
  assert.deepEqual(encodeLayerIndex(buildLines(SOME)), copy);
});

test('Bytes that do not start at a multiple of eight are decoded too', () => {
  const encoded = encodeLayerIndex(buildLines(SOME));
  const shifted = new Uint8Array(encoded.length + 3).subarray(3);
  shifted.set(encoded);
  assert.deepEqual(facts(decodeLayerIndex(shifted)), facts(buildLines(SOME).index));
});

test('Equal sets of xattrs are stored once', () => {
  const lines = (n: number) =>
    Array.from({ length: n }, (_, k) => file(`f${k}`, 0, { xattrs: [xattr('security.selinux', 'l'.repeat(500))] }));
  const bytes = (n: number) => encodeLayerIndex(buildLines(lines(n))).length;
  assert.ok(bytes(101) - bytes(1) < 100 * 100);
});

function isRefusal(error: unknown): boolean {
  return isLarderError(error, 'LARDER_LAYER_CORRUPT');
}

test('A cut or lengthened index is refused, wherever it is cut', () => {
  const encoded = encodeLayerIndex(buildLines(SOME));
  for (let length = 0; length < encoded.length; length++) {
    assert.throws(() => decodeLayerIndex(encoded.subarray(0, length)), isRefusal, `cut at ${length}`);
  }
  assert.throws(() => decodeLayerIndex(Buffer.concat([encoded, Buffer.alloc(8)])), isRefusal);
});

test('Other versions and other files are refused', () => {
  const encoded = encodeLayerIndex(buildLines(SOME));
  const newer = encoded.slice();
  newer[8] = 2;
  assert.throws(() => decodeLayerIndex(newer), /version 2 instead of 1/);
  assert.throws(() => decodeLayerIndex(Buffer.alloc(4096, 'not an index')), isRefusal);
});

test('An index with damaged bytes is refused, or reads within its bounds', () => {
  const encoded = encodeLayerIndex(buildLines(SOME));
  const position = fc.nat({ max: encoded.length - 1 });
  const byte = fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x2f, 0x2e));
  let refused = 0;
  let read = 0;
  fc.assert(
    fc.property(fc.array(fc.tuple(position, byte), { minLength: 1, maxLength: 4 }), (changes) => {
      const damaged = encoded.slice();
      for (const [at, value] of changes) damaged[at] = value;
      try {
        const index = decodeLayerIndex(damaged);
        checkBounds(index);
        show(mergeLayers([index]));
        read++;
      } catch (error) {
        assert.ok(
          isLarderError(error, 'LARDER_LAYER_CORRUPT', 'LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT'),
          String(error),
        );
        refused++;
      }
    }),
    { numRuns: 20_000 },
  );
  assert.ok(refused > 1000 && read > 1000, `${refused} refused, ${read} read`);
});

/** What a reader relies on, asked again in other words. */
function checkBounds(index: LayerIndex): void {
  const extent = (i: number) => index.sparse(i)?.reduce((sum, { length }) => sum + length, 0) ?? index.size[i] ?? 0;
  const { entries } = facts(index) as {
    entries: { path: string; xattrs: string[][]; sparse?: { offset: number; length: number }[] }[];
  };
  for (const [i, { path, xattrs, sparse }] of entries.entries()) {
    assert.equal(path.length, index.pathLength[i]);
    assert.ok(!path.split('/').some((part) => part === '..' || part === '.' || (part === '' && path !== '')), path);
    assert.ok(xattrs.every(([name]) => name !== ''));
    const end = index.inExtra(i) ? index.extraSize : index.tarSize;
    if (index.kind[i] === 1 && extent(i) > 0) assert.ok((index.offset[i] ?? 0) + extent(i) <= end);
    for (const run of sparse ?? []) assert.ok(run.offset + run.length <= (index.size[i] ?? 0));
  }
}

function indexOf(archive: Uint8Array): LayerIndex {
  const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
  const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS);
  reader.write(archive);
  reader.end();
  return builder.finish(archive.length).index;
}

test('A real archive is indexed through the reader', () => {
  const archive = tar([
    tarDir('etc'),
    tarFile('etc/os-release', 'ID=larder\n', { mode: 0o600, xattrs: { 'user.note': 'x' } }),
    tarSymlink('l', 'etc'),
    tarLink('h', 'etc/os-release'),
    char('null', 1, 3),
  ]);
  const index = indexOf(archive);
  assert.deepEqual(show(mergeLayers([index])), [
    '/ d implied',
    'etc d 755',
    'etc/os-release f 0',
    'h f 0 =etc/os-release',
    'l l etc',
    'null c 0',
  ]);
  const offset = index.offset[1] ?? 0;
  assert.equal(archive.subarray(offset, offset + (index.size[1] ?? 0)).toString(), 'ID=larder\n');
  assert.equal(index.xattrs(1).length, 1);
});

test('The merged key depends on the layers and their order', () => {
  const [a, b] = ['a', 'b'].map((c) => ({ diffId: parseDiffId(`sha256:${c.repeat(64)}`) }));
  assert.ok(a !== undefined && b !== undefined);
  const keys = [[], [a], [b], [a, b], [b, a], [a, a], [{ ...b, view: rootfsViewOf() }]].map(mergedKeyOf);
  assert.equal(new Set(keys).size, keys.length);
  assert.ok(keys.every((key) => /^[0-9a-f]{64}$/.test(key)));
  assert.equal(mergedKeyOf([a, b]), keys[3]);
});
