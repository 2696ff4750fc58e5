import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Assembly } from '../../src/assemble.js';
import type { Finding } from '../../src/check.js';
import { configOf } from '../../src/config.js';
import { type Larder, openLarder } from '../../src/larder.js';
import { LayerStore } from '../../src/layers/layer-store.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('repair, while another process works on the same layer', () => {
  const { has, verify } = LayerStore.prototype;
  let directory: string;
  let source: ImageSource;
  let larder: Larder;

  beforeEach(async () => {
    directory = makeDirectory();
    source = await ImageSource.start();
    source.publish('image', [sampleLayer('image', 20_000)]);
    larder = await openLarder({ root: join(directory, 'store') });
    await (await larder.pull(source.reference('image')))[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    LayerStore.prototype.verify = verify;
    LayerStore.prototype.has = has;
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
    const all: T[] = [];
    for await (const item of items) all.push(item);
    return all;
  }

  it('does not forget the whole layer that took the place of the broken one which it had read', async () => {
    const diffId = larder.images()[0]?.layers[0]?.diffId.slice(7) ?? '';
    const tar = join(larder.root, 'layers/sha256', diffId, 'layer.tar');
    const whole = join(directory, 'whole.tar');
    copyFileSync(tar, whole);
    chmodSync(whole, 0o400);
    const bytes = readFileSync(tar);
    bytes.fill(0xff, 2000, 2100);
    rmSync(tar);
    writeFileSync(tar, bytes, { mode: 0o400 });
    const fetched = source.requests('layer').length;
    LayerStore.prototype.verify = async function (this: LayerStore, ...given) {
      LayerStore.prototype.verify = verify;
      await verify.apply(this, given).finally(() => renameSync(whole, tar));
    };
    assert.deepEqual(await collect(larder.repair()), []);
    assert.equal(source.requests('layer').length, fetched);
    assert.deepEqual(await collect<Finding>(larder.check({ deep: true })), []);
  });

  it('does not call broken what a prune took', async () => {
    await using other = await openLarder({ root: larder.root });
    const assembly = await Assembly.open(configOf({ root: larder.root }));
    try {
      // No image has it any more: it is looked at because it is recorded.
      await assembly.metadata.remove(`${source.reference('image')}:latest`);
    } finally {
      await assembly.close();
    }
    LayerStore.prototype.has = async function (this: LayerStore, ...given) {
      LayerStore.prototype.has = has;
      await other.prune();
      return has.apply(this, given);
    };
    assert.deepEqual(await collect(larder.repair()), []);
  });
});
