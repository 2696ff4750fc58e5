/** Layers in the forms that lazy snapshotters read, eStargz and zstd:chunked: to everybody else they are plain ones. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type Larder, openLarder } from '../../src/index.js';
import { zstdFrame } from '../../src/testing/image-builder.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const TAR = tar([
  dir('.'),
  file('a', 'one\n'),
  file('b', 'x'.repeat(5000)),
  file('stargz.index.json', '{"version":1}'),
]);

const OTHER = tar([file('other', 'x')]);

/** Of the tar, cut at these places. */
const cut = (...places: readonly number[]): Buffer[] =>
  [0, ...places].map((place, i) => TAR.subarray(place, places[i] ?? TAR.length));

/** RFC 8878, 3.1.2. */
function skippable(content: Uint8Array, magic = 0x184d2a50): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(magic, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, content]);
}

/** An empty gzip member whose extra field says where the table of contents is (stargz-snapshotter, estargz.md). */
function stargzFooter(offset: number): Buffer {
  const text = Buffer.from(`${offset.toString(16).padStart(16, '0')}STARGZ`);
  const extra = Buffer.concat([Buffer.from('SG'), Buffer.from([text.length, 0]), text]);
  const empty = gzipSync(Buffer.alloc(0), { level: 0 }).subarray(10);
  const head = Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, extra.length, 0]);
  return Buffer.concat([head, extra, empty]);
}

describe('a layer', () => {
  let source: ImageSource;
  let directory: string;
  let larder: Larder;

  before(async () => {
    source = await ImageSource.start();
    directory = makeDirectory();
    larder = await openLarder({ root: join(directory, 'store') });
  });
  after(async () => {
    assert.deepEqual(await findingsOf(larder), []);
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  async function isPlain(name: string, blob: Uint8Array, compression: 'gzip' | 'zstd'): Promise<void> {
    const { layers } = source.publish(name, [{ tar: TAR, blob, compression }]);
    await using image = await larder.pull(source.reference(name));
    assert.equal(image.record.layers[0]?.diffId, layers[0]?.diffId);
    assert.equal((await image.fs.readFile('/a')).toString(), 'one\n');
    assert.equal((await image.fs.readFile('/b')).length, 5000);
  }

  test('in eStargz is read as gzip of several members', async () => {
    const members = cut(512, 1536, 7680).map((part) => gzipSync(part));
    const toc = members.slice(0, -1).reduce((sum, { length }) => sum + length, 0);
    await isPlain('stargz', Buffer.concat([...members, stargzFooter(toc)]), 'gzip');
  });

  test('in zstd:chunked is read as zstd, what stands beside the frames is skipped', async () => {
    const frames = cut(512, 1536, 7680).map((part) => zstdFrame(part));
    const manifest = skippable(zstdFrame(Buffer.from('{"version":1,"entries":[]}')));
    const footer = skippable(Buffer.concat([Buffer.alloc(56), Buffer.from('GNUlInUx')]));
    await isPlain('chunked', Buffer.concat([...frames, manifest, footer]), 'zstd');
  });

  test('of zstd that begins with a skippable frame, and has some of every number, is read', async () => {
    const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = cut(3000);
    const others = Array.from({ length: 16 }, (_, i) => skippable(Buffer.alloc(i), 0x184d2a50 + i));
    await isPlain('skippable', Buffer.concat([...others, zstdFrame(first), ...others, zstdFrame(second)]), 'zstd');
  });

  test('of skippable frames alone is not a tar', async () => {
    source.publish('nothing', [{ tar: OTHER, blob: skippable(Buffer.from('nothing')), compression: 'zstd' }]);
    await assert.rejects(larder.pull(source.reference('nothing')), {
      code: /LARDER_(?:DIFF_ID_MISMATCH|LAYER_INVALID)/,
    });
    await larder.prune({ exclude: ['stargz', 'chunked', 'skippable'].map((name) => source.reference(name)) });
  });
});
