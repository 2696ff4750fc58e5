import assert from 'node:assert/strict';
import { chmodSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { Layout } from '../../src/layout.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { file, tar } from '../../src/testing/tar-builder.js';
import { needsRoot } from '../e2e/tools.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const CONTENT = Buffer.alloc(300_000, 'content ');

describe('a layer that is cut while a container shows it', { skip: needsRoot() }, () => {
  let directory: string;
  let source: ImageSource;

  before(async () => {
    directory = makeDirectory();
    source = await ImageSource.start();
  });

  after(async () => {
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  it('is fetched again, and the next container shows the new one', async () => {
    const image = source.publish('image', [tar([file('data', CONTENT)])]);
    const reference = source.reference('image');
    await using larder = await openLarder({ root: directory });
    await larder.provision(reference, { id: 'one', backend: 'erofs' });
    const [layer] = image.layers;
    assert.ok(layer);
    const path = new Layout(directory).layerTar(layer.diffId);
    chmodSync(path, 0o600);
    truncateSync(path, 1024);
    const { rootfs } = await larder.provision(reference, { id: 'two', backend: 'erofs' });
    assert.deepEqual(readFileSync(join(rootfs, 'data')), CONTENT);
    for (const id of ['one', 'two']) await larder.destroy(id);
    await larder.prune();
    for await (const finding of larder.check({ deep: true })) assert.fail(JSON.stringify(finding));
  });
});
