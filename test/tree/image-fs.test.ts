import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import { char, dir, fifo, file, hardlink, symlink, tar } from '../../src/testing/tar-builder.js';
import { ImageFs } from '../../src/tree/image-fs.js';
import { type BuiltIndex, IndexBuilder } from '../../src/tree/index-builder.js';
import { mergeLayers } from '../../src/tree/merge.js';
import { buildLines, file as fileLine } from './entries.js';

const scratch = mkdtempSync(join(tmpdir(), 'larder-image-fs-'));
after(() => rmSync(scratch, { recursive: true }));
let made = 0;

function buildFrom(archive: Uint8Array): BuiltIndex {
  const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
  const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS);
  reader.write(archive);
  reader.end();
  return builder.finish(archive.length);
}

/** Layers on disk as the store has them: a tar, its index, its extra data. */
function imageOf(...layers: { readonly archive: Uint8Array; readonly built: BuiltIndex }[]): ImageFs {
  const base = join(scratch, String(made++));
  for (const [k, { archive, built }] of layers.entries()) {
    writeFileSync(`${base}-${k}.tar`, archive);
    writeFileSync(`${base}-${k}.extra`, extraOf(built, archive));
  }
  const tree = mergeLayers(layers.map(({ built }) => built.index));
  return new ImageFs(tree, { openData: (layer, source) => open(`${base}-${layer}.${source}`, 'r') });
}

/** What the layer writer makes of it, in memory. */
function extraOf(built: BuiltIndex, archive: Uint8Array): Uint8Array {
  const extra = new Uint8Array(built.index.extraSize);
  let start = 0;
  for (const { size, tarOffset, runs } of built.extra) {
    let from = tarOffset;
    for (const { offset, length } of runs) {
      extra.set(archive.subarray(from, from + length), start + offset);
      from += length;
    }
    start += Math.ceil(size / 512) * 512;
  }
  return extra;
}

function image(...archives: Uint8Array[]): ImageFs {
  return imageOf(...archives.map((archive) => ({ archive, built: buildFrom(archive) })));
}

const big = Buffer.alloc(700_001, 'larder');
const BASE = tar([
  dir('usr', { mode: 0o711, uid: 3 }),
  dir('usr/lib'),
  file('usr/lib/os-release', 'ID=base\n'),
  file('usr/big', big),
  symlink('etc', '/usr/lib'),
  symlink('up', '../../../usr'),
  symlink('loop', 'loop'),
  symlink('gone', 'nowhere'),
  hardlink('release', 'usr/lib/os-release'),
  fifo('pipe'),
  char('null', 1, 3),
  file(Buffer.from([0x66, 0xff]), 'odd name'),
]);
const UPPER = tar([
  file('usr/lib/os-release', 'ID=upper\n', { mtime: 5, xattrs: { 'user.k': 'v' } }),
  file('made/f', 'x'),
]);

const notFound = (error: unknown) => isLarderError(error, 'LARDER_PATH_NOT_FOUND');

test('Files are read from the layer that gave them, through symlinks inside the image', async () => {
  await using fs = image(BASE, UPPER);
  assert.equal((await fs.readFile('/etc/os-release')).toString(), 'ID=upper\n');
  assert.equal((await fs.readFile('release')).toString(), 'ID=base\n');
  assert.deepEqual(await fs.readFile('up/./lib/../big'), big);
  assert.equal((await fs.readFile(Buffer.from([0x66, 0xff]))).toString(), 'odd name');
});

test('Attributes tell type, owner, size, links and layer', async () => {
  await using fs = image(BASE, UPPER);
  const { type, mode, uid, nlink, layer } = fs.stat('up');
  assert.deepEqual([type, mode, uid, nlink, layer], ['directory', 0o711, 3, 3, 0]);
  assert.deepEqual([fs.lstat('up').type, fs.lstat('up').size], ['symlink', 12]);
  assert.deepEqual([fs.stat('etc/os-release').mtime, fs.stat('etc/os-release').layer], [5, 1]);
  assert.deepEqual([fs.stat('null').devMajor, fs.stat('null').devMinor, fs.stat('null').size], [1, 3, 0]);
  assert.deepEqual([fs.stat('made').layer, fs.stat('made').mode], [undefined, 0o755]);
});

test('A directory is listed in bytewise order, names also as bytes', async () => {
  await using fs = image(BASE);
  const names = fs.readdir('/').map(({ name, type }) => `${name} ${type}`);
  const expected = ['etc symlink', 'f\\xff file', 'gone symlink', 'loop symlink', 'null character', 'pipe fifo'];
  assert.deepEqual(names, [...expected, 'release file', 'up symlink', 'usr directory']);
  assert.deepEqual([...(fs.readdir('')[1]?.bytes ?? [])], [0x66, 0xff]);
});

test('Links, real paths and xattrs', async () => {
  await using fs = image(BASE, UPPER);
  assert.equal(fs.readlink('etc').toString(), '/usr/lib');
  assert.equal(fs.realpath('etc/os-release').toString(), '/usr/lib/os-release');
  assert.equal(fs.realpath('../..').toString(), '/');
  assert.deepEqual(
    fs.xattrs('usr/lib/os-release').map(({ name, value }) => `${Buffer.from(name)}=${Buffer.from(value)}`),
    ['user.k=v'],
  );
  assert.deepEqual([fs.exists('etc/os-release'), fs.exists('gone'), fs.exists('loop')], [true, false, false]);
});

test('Walking gives everything, parents first', async () => {
  await using fs = image(BASE);
  const paths: string[] = [];
  for await (const { path } of fs.walk('usr')) paths.push(path);
  assert.deepEqual(paths, ['usr/big', 'usr/lib', 'usr/lib/os-release']);
  const all: string[] = [];
  for await (const { path } of fs.walk()) all.push(path);
  assert.equal(all.length, 12);
});

for (const path of ['missing', 'gone', 'loop', 'release/', 'release/x', 'pipe', 'usr', 'null']) {
  test(`Reading ${path} as a file is refused`, async () => {
    await using fs = image(BASE);
    await assert.rejects(fs.readFile(path), notFound);
  });
}

test('Listing a file, reading a file as a link and walking a file are refused', async () => {
  await using fs = image(BASE);
  assert.throws(() => fs.readdir('release'), notFound);
  assert.throws(() => fs.readlink('release'), notFound);
  await assert.rejects(fs.walk('release').next(), notFound);
});

test('A file above the limit is not read', async () => {
  await using fs = image(BASE);
  await assert.rejects(fs.readFile('usr/big', { maxBytes: 700_000 }), (error) =>
    isLarderError(error, 'LARDER_LAYER_LIMIT'),
  );
});

test('An aborted read ends', async () => {
  await using fs = image(BASE);
  await assert.rejects(fs.readFile('usr/big', { signal: AbortSignal.abort() }), (error) =>
    isLarderError(error, 'LARDER_ABORTED'),
  );
});

test('A tar shorter than its index is noticed', async () => {
  const built = buildFrom(BASE);
  await using fs = imageOf({ archive: BASE.subarray(0, 4096), built });
  await assert.rejects(fs.readFile('usr/big'), (error) => isLarderError(error, 'LARDER_LAYER_CORRUPT'));
});

/** An archive of nothing but bytes 1, 2, 3, … per block, and files that lie in it as the test says. */
function blocks(count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, k) => Buffer.alloc(512, k + 1)));
}

function expand(
  archive: Uint8Array,
  offset: number,
  size: number,
  runs: readonly { offset: number; length: number }[],
): Buffer {
  const content = Buffer.alloc(size);
  let from = offset;
  for (const run of runs) {
    content.set(archive.subarray(from, from + run.length), run.offset);
    from += run.length;
  }
  return content;
}

test('Extra data and sparse files read as their holes and runs say', async () => {
  const archive = blocks(12);
  const mapped = [
    { offset: 512, length: 512 },
    { offset: 4096, length: 100 },
  ];
  const unaligned = [
    { offset: 7, length: 300 },
    { offset: 300_000, length: 700 },
  ];
  const built = buildLines(
    [
      fileLine('padded', 0, { size: 100, offset: 0, zeroPadded: false }),
      fileLine('mapped', 0, { size: 10_000, offset: 1024, stored: 612, sparse: mapped }),
      fileLine('unaligned', 0, { size: 600_000, offset: 3072, stored: 1000, sparse: unaligned }),
      fileLine('hole', 0, { size: 5000, offset: 512, stored: 0, sparse: [] }),
      fileLine('short', 0, { size: 100, offset: 5632 }),
    ],
    {},
    5732,
  );
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((i) => built.index.inExtra(i)),
    [true, false, true, false, true],
  );
  await using fs = imageOf({ archive: archive.subarray(0, 5732), built });
  assert.deepEqual(await fs.readFile('padded'), Buffer.alloc(100, 1));
  assert.deepEqual(await fs.readFile('mapped'), expand(archive, 1024, 10_000, mapped));
  assert.deepEqual(await fs.readFile('unaligned'), expand(archive, 3072, 600_000, unaligned));
  assert.deepEqual(await fs.readFile('hole'), Buffer.alloc(5000));
  assert.deepEqual(await fs.readFile('short'), Buffer.alloc(100, 12));
});

test('Nothing can be read once the image is disposed', async () => {
  const fs = image(BASE);
  await fs.readFile('release');
  await fs[Symbol.asyncDispose]();
  await fs[Symbol.asyncDispose]();
  await assert.rejects(fs.readFile('release'), /disposed/);
});
