import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { checkErofs } from '../../src/erofs/verify.js';
import type { StackLayer } from '../../src/spec/stack.js';
import { dir, file, hardlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { Lab } from './lab.js';

function dirtyFile(name: string): Buffer {
  const entry = file(name, 'abc');
  entry.fill(1, 515);
  return entry;
}

describe('MergedImages', () => {
  let lab: Lab;
  let layers: readonly StackLayer[];

  beforeEach(async () => {
    lab = await Lab.open();
    layers = [
      { diffId: await lab.add(tar([dir('etc'), file('etc/a', 'lower'), file('etc/b', 'lower')])) },
      { diffId: await lab.add(tar([whiteout('etc/a'), dirtyFile('odd'), file('even', 'upper')])) },
      { diffId: await lab.add(tar([dirtyFile('only-in-extra')])) },
    ];
  });

  afterEach(async () => {
    assert.deepEqual(await lab.leftovers(), []);
    await lab[Symbol.asyncDispose]();
  });

  const merges = () => lab.events.filter((event) => event.type === 'merge').length;

  it('makes one image of the layers’ merged tree, with the UUID of its key', async () => {
    const image = await lab.merged.ensure(layers);
    const bytes = readFileSync(image.path);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), image.sha256);
    assert.equal(bytes.length, image.size);
    const head = checkErofs(bytes);
    assert.equal(Buffer.from(head.uuid).toString('hex'), image.key.slice(0, 32));
    assert.equal(head.inodeCount, 6);
    assert.equal(head.deviceCount, image.devices.length);
  });

  it('names the data files in the kernel’s order, made now or found later', async () => {
    const made = await lab.merged.ensure(layers);
    const found = await lab.merged.ensure(layers);
    assert.equal(merges(), 1);
    assert.deepEqual(found, made);
    const [base, middle, top] = layers;
    assert.deepEqual(
      made.devices.map(({ diffId, source }) => [diffId, source]),
      [
        [base?.diffId, 'tar'],
        [middle?.diffId, 'tar'],
        [middle?.diffId, 'extra'],
        [top?.diffId, 'extra'],
      ],
    );
    for (const { path, size } of made.devices) assert.equal(readFileSync(path).length, size);
  });

  for (const [name, spoil] of [
    ['missing', (path: string) => rmSync(path)],
    ['changed', (path: string) => spoilAt(path, 5)],
    ['cut', (path: string) => writeFileSync(path, readFileSync(path).subarray(0, 1024))],
  ] as const) {
    it(`makes an image that is ${name} again, with the same bytes`, async () => {
      const { path } = await lab.merged.ensure(layers);
      const before = readFileSync(path);
      spoil(path);
      const again = await lab.merged.ensure(layers);
      assert.ok(readFileSync(again.path).equals(before));
      assert.equal(merges(), 2);
    });
  }

  it('makes it again when it is asked to', async () => {
    await lab.merged.ensure(layers);
    await lab.merged.ensure(layers, { rebuild: true });
    assert.equal(merges(), 2);
  });

  it('makes an image once for callers that come together', async () => {
    const images = await Promise.all([1, 2, 3].map(() => lab.merged.ensure(layers)));
    assert.equal(merges(), 1);
    assert.equal(new Set(images).size, 1);
  });

  it('makes a missing index and a missing extra file on the way', async () => {
    const made = await lab.merged.ensure(layers);
    const extra = made.devices.find(({ source }) => source === 'extra');
    assert.ok(extra !== undefined);
    rmSync(extra.path);
    await lab.merged.ensure(layers);
    assert.equal(readFileSync(extra.path).length, extra.size);
    rmSync(lab.layout.layerIndex(extra.diffId));
    rmSync(made.path);
    assert.equal((await lab.merged.ensure(layers)).sha256, made.sha256);
  });

  it('gives the merged tree to readers in this thread', async () => {
    const tree = await lab.merged.tree(layers);
    assert.equal(tree.inodeCount, 6);
    assert.equal(tree.child(0, Buffer.from('odd')) === undefined, false);
  });

  it('validates without writing anything', async () => {
    await lab.merged.validate(layers);
    assert.equal(lab.derivedRecords.size, 0);
    const broken = { diffId: await lab.add(tar([hardlink('x', 'nowhere')])) };
    await assert.rejects(lab.merged.validate([...layers, broken]), { code: 'LARDER_LAYER_INVALID' });
    await assert.rejects(lab.merged.ensure([...layers, broken]), { code: 'LARDER_LAYER_INVALID' });
    assert.equal(lab.derivedRecords.size, 0);
  });
});

function spoilAt(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = 0xee;
  rmSync(path);
  writeFileSync(path, bytes);
}
