/** What the writer promises without a kernel: determinism, limits, the order of devices. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { crc32c } from '../../src/erofs/crc32c.js';
import { checkErofs, EROFS_HEAD_BYTES } from '../../src/erofs/verify.js';
import { writeErofs } from '../../src/erofs/write-erofs.js';
import { KIND } from '../../src/tree/types.js';
import { bytesOf, UUID, write } from './kernel-view.js';
import { LabImage, type LabNode } from './lab-image.js';

describe('writeErofs', () => {
  let lab: LabImage;
  before(() => {
    lab = new LabImage();
  });
  after(() => lab.remove());

  const refuses = (node: LabNode, code: string, message: RegExp, options = {}) =>
    assert.throws(() => write(lab, lab.directory({ bad: node }), options), { code, message });

  test('gives the same bytes for the same tree, from one image twice and from two', () => {
    const tree = lab.tree(lab.directory({ a: lab.file('a'), d: lab.directory({ l: lab.symlink('x') }) }));
    const image = writeErofs(tree, { uuid: UUID });
    const first = bytesOf(image);
    assert.deepEqual(bytesOf(image), first);
    assert.deepEqual(bytesOf(writeErofs(tree, { uuid: UUID })), first);
  });

  test('announces its length before it is asked for bytes', () => {
    const many = new Map(Array.from({ length: 30_000 }, (_, i) => [`entry-with-a-long-name-${i}`, lab.fifo()]));
    const image = write(lab, lab.directory(many));
    const pieces = [...image.pieces()];
    assert.equal(
      pieces.reduce((sum, piece) => sum + piece.length, 0),
      image.byteLength,
    );
    assert.ok(pieces.length > 3);
    for (const piece of pieces) assert.ok(piece.length > 0 && piece.length <= 1 << 20);
  });

  test('lists the data files that files have bytes in, and no others', () => {
    const own = new LabImage();
    try {
      own.layer(5);
      const root = own.directory({
        c: own.file('c', { layer: 4, source: 'extra' }),
        b: own.file('b', { layer: 4 }),
        a: own.file('a', { layer: 1 }),
        empty: own.file('', { layer: 0 }),
        hole: own.sparseFile(5000, [], { layer: 2 }),
      });
      assert.deepEqual(write(own, root).devices, [
        { layer: 1, source: 'tar' },
        { layer: 4, source: 'tar' },
        { layer: 4, source: 'extra' },
      ]);
    } finally {
      own.remove();
    }
  });

  test('puts the tags of the layers into the device table', () => {
    const image = write(lab, lab.directory({ f: lab.file('f') }), { tags: ['0123456789abcdef'.repeat(4)] });
    assert.equal(bytesOf(image).toString('latin1', 1152, 1152 + 64), '0123456789abcdef'.repeat(4));
  });

  test('refuses names of no or more than 255 bytes', () => {
    refuses(lab.directory({ '': lab.fifo() }), 'LARDER_LAYER_LIMIT', /name has 0 bytes/);
    refuses(
      lab.directory({ ['n'.repeat(256)]: lab.fifo() }),
      'LARDER_LAYER_LIMIT',
      /\/bad\/n+: the name has 256 bytes/,
    );
  });

  test('refuses links without a target and with one of 4096 bytes', () => {
    refuses(lab.symlink(''), 'LARDER_LAYER_LIMIT', /\/bad: the link's target has 0 bytes/);
    refuses(lab.symlink('x'.repeat(4096)), 'LARDER_LAYER_LIMIT', /has 4096 bytes/);
  });

  test('refuses devices that Linux has no number for', () => {
    refuses(lab.device('block', 4096, 0), 'LARDER_LAYER_LIMIT', /4096:0/);
    refuses(lab.device('character', 0, 2 ** 20), 'LARDER_LAYER_LIMIT', /0:1048576/);
  });

  test('refuses xattrs that do not fit behind an inode', () => {
    const xattrs = Array.from({ length: 5 }, (_, i) => ({
      name: Buffer.from(`user.${i}`),
      value: new Uint8Array(65_535),
    }));
    refuses(lab.file('x', { xattrs }), 'LARDER_LAYER_LIMIT', /extended attributes/);
    const long = [{ name: Buffer.from('user.a'), value: new Uint8Array(65_536) }];
    refuses(lab.file('x', { xattrs: long }), 'LARDER_LAYER_LIMIT', /extended attributes/);
  });

  test('refuses an image larger than the caller allows', () => {
    refuses(lab.file('x'), 'LARDER_LAYER_LIMIT', /passes 4095 bytes/, { maxBytes: 4095 });
  });

  test('refuses files whose bytes the layer does not have or that start inside a block', () => {
    const file = { kind: KIND.file, size: 100 };
    refuses(lab.row({ ...file, offset: 2 ** 50 }), 'LARDER_LAYER_CORRUPT', /past the end of the layer/);
    refuses(lab.row({ ...file, offset: 100 }), 'LARDER_LAYER_CORRUPT', /not at a multiple of 512/);
    refuses(lab.row({ ...file, offset: 0, inExtra: true }, 1), 'LARDER_LAYER_CORRUPT', /past the end of the layer/);
  });

  test('refuses bytes past the first 2 TiB of a layer', () => {
    const own = new LabImage();
    try {
      const end = { at: 2 ** 41 - 512, bytes: Uint8Array.of(1) };
      const root = own.directory({ huge: own.largeFile(2 ** 41, [end]) });
      assert.throws(() => write(own, root), { code: 'LARDER_LAYER_LIMIT', message: /2 TiB/ });
    } finally {
      own.remove();
    }
  });

  test('refuses sparse runs that overlap, are not aligned, pass the end or are too many', () => {
    const run = (offset: number, length: number) => ({ offset, length });
    const sparse = (size: number, ...runs: { offset: number; length: number }[]) =>
      lab.row({ kind: KIND.file, size, offset: 0, sparse: runs });
    for (const node of [
      sparse(4096, run(0, 1024), run(512, 512)),
      sparse(4096, run(100, 512)),
      sparse(4096, run(0, 100), run(512, 512)),
      sparse(4096, run(3584, 1024)),
      sparse(512 * 65_537 * 2, run(512, 512)),
    ]) {
      refuses(node, 'LARDER_LAYER_CORRUPT', /sparse runs/);
    }
  });

  test('refuses a UUID of zeros or of another length', () => {
    for (const uuid of [new Uint8Array(16), UUID.subarray(1)]) {
      assert.throws(() => write(lab, lab.directory({}), { uuid }), { code: 'LARDER_INTERNAL' });
    }
  });

  describe('checkErofs', () => {
    test('reads the head of an image back', () => {
      const image = write(lab, lab.directory({ a: lab.file('a'), b: lab.file('') }));
      const head = checkErofs(bytesOf(image).subarray(0, EROFS_HEAD_BYTES));
      assert.deepEqual(head, { uuid: UUID, deviceCount: 1, inodeCount: 3, byteLength: image.byteLength });
    });

    test('refuses a head that is short or has any bit changed', () => {
      const head = bytesOf(write(lab, lab.directory({ a: lab.file('a') }))).subarray(0, EROFS_HEAD_BYTES);
      assert.throws(() => checkErofs(head.subarray(0, -1)), { code: 'LARDER_METADATA_CORRUPT' });
      for (let bit = 1024 * 8; bit < head.length * 8; bit++) {
        const changed = Buffer.from(head);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        assert.throws(() => checkErofs(changed), { code: 'LARDER_METADATA_CORRUPT' });
      }
    });
  });
});

test('crc32c gives the check value of the Castagnoli polynomial', () => {
  assert.equal((crc32c(0xffffffff, Buffer.from('123456789')) ^ 0xffffffff) >>> 0, 0xe3069283);
});
