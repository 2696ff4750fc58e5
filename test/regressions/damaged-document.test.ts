import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { Layout } from '../../src/layout.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('an image whose config is damaged on disk', () => {
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

  it('is healed by the next pull, without fetching its layers again', async () => {
    const image = source.publish('image', [sampleLayer('image')]);
    await using larder = await openLarder({ root: directory });
    await (await larder.pull(source.reference('image')))[Symbol.asyncDispose]();
    const path = new Layout(directory).blob(image.configDigest);
    const bytes = readFileSync(path);
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    await (await larder.pull(source.reference('image')))[Symbol.asyncDispose]();
    for await (const finding of larder.check({ deep: true })) assert.fail(JSON.stringify(finding));
  });
});
