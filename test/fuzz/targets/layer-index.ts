/** The stored layer index: what is decoded can be merged and laid out without reading outside of it. */
import assert from 'node:assert/strict';
import { writeErofs } from '../../../src/erofs/write-erofs.js';
import { isLarderError } from '../../../src/errors.js';
import { DEFAULT_LAYER_LIMITS } from '../../../src/tar/entry.js';
import { TarReader } from '../../../src/tar/reader.js';
import { dir, fifo, file, hardlink, opaque, sparse, symlink, tar, whiteout } from '../../../src/testing/tar-builder.js';
import { IndexBuilder } from '../../../src/tree/index-builder.js';
import { decodeLayerIndex, encodeLayerIndex } from '../../../src/tree/layer-index.js';
import { mergeLayers } from '../../../src/tree/merge.js';
import { KIND, type LayerIndex } from '../../../src/tree/types.js';
import { mutateBytes } from '../mutate.js';
import type { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';

const UUID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const ENTRIES: readonly Buffer[] = [
  dir('etc', { xattrs: { 'user.a': 'b' } }),
  file('etc/passwd', 'root', { xattrs: { 'security.capability': 'x' } }),
  file('a/b/c/d', 'x'.repeat(3000)),
  symlink('lib', 'usr/lib'),
  hardlink('h', 'etc/passwd'),
  whiteout('gone'),
  opaque('etc'),
  fifo('p'),
  sparse('s', 8192, [{ offset: 4096, data: Buffer.alloc(4096, 1) }], '1.0'),
];
const LOWER = indexOf([dir('etc'), file('etc/group', ''), file('gone', 'y'), dir('usr/lib'), symlink('a', 'usr')]);

export const layerIndexTarget: FuzzTarget = {
  name: 'layer-index',
  codes: ['LARDER_LAYER_CORRUPT', 'LARDER_LAYER_LIMIT', 'LARDER_LAYER_INVALID'],
  short: { runs: 700, meets: ['ok', 'LARDER_LAYER_CORRUPT'] },
  make: (random) => Buffer.from(encoded(Array.from({ length: random.below(8) }, () => random.pick(ENTRIES)))),
  mutate: mutateIndex,
  run(input) {
    const index = decodeLayerIndex(Uint8Array.from(input));
    for (let i = 0; i < index.count; i++) {
      index.xattrs(i);
      assert.ok(index.kind[i] !== KIND.file || isInside(index, i), 'data outside of its source');
    }
    const tree = mergeLayers([decodeLayerIndex(Uint8Array.from(LOWER)), index]);
    for (let name = 0; name < tree.nameCount; name++) assert.ok(name === 0 || isName(tree.name(name)));
    const image = writeErofs(tree, { uuid: UUID, maxBytes: 64 << 20 });
    let bytes = 0;
    for (const piece of image.pieces()) bytes += piece.length;
    assert.equal(bytes, image.byteLength);
    return [tree.nameCount, tree.inodeCount, bytes, kindsOf(index)];
  },
};

/** Said once more, in another way than the check does it. */
function isInside(index: LayerIndex, i: number): boolean {
  const stored = (index.sparse(i) ?? [{ length: index.size[i] ?? 0 }]).reduce((sum, { length }) => sum + length, 0);
  const end = (index.offset[i] ?? 0) + stored;
  return stored === 0 || end <= (index.inExtra(i) ? index.extraSize : index.tarSize);
}

function isName(name: Uint8Array): boolean {
  const text = Buffer.from(name).toString('latin1');
  return text !== '' && text !== '.' && text !== '..' && !/[/\0]/.test(text) && name.length <= 255;
}

function kindsOf({ kind }: LayerIndex): string {
  return kind.join();
}

/** Whole numbers of the header and of the columns, beside bytes. */
function mutateIndex(input: Buffer, random: Random): Buffer {
  const at = 8 * random.below((input.length >> 3) + 1);
  if (random.oneIn(4) || at + 8 > input.length) return mutateBytes(input, random);
  const changed = Buffer.from(input);
  const value = random.pick([0, 1, 2, 7, 255, 511, 512, 4096, 2 ** 31, 2 ** 32 - 1]);
  const byte = at + random.below(8);
  switch (random.below(4)) {
    case 0:
      changed.writeDoubleLE(value, at);
      break;
    case 1:
      changed.writeUInt32LE(value, at + 4 * random.below(2));
      break;
    case 2:
      changed.writeUInt8(random.below(16), byte);
      break;
    default:
      changed.writeUInt8(random.pick([0x2e, 0x2f, 0, 0x61]), byte);
  }
  return changed;
}

function indexOf(entries: readonly Buffer[]): Uint8Array {
  return encoded(entries);
}

function encoded(entries: readonly Buffer[]): Uint8Array {
  const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
  const archive = tar(entries);
  const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS);
  reader.write(archive);
  reader.end();
  try {
    return encodeLayerIndex(builder.finish(archive.length));
  } catch (error) {
    if (isLarderError(error)) return new Uint8Array(0);
    throw error;
  }
}
