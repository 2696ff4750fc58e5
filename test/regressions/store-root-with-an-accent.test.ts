import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { needsRoot } from '../e2e/tools.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('a store whose path is not ASCII, as the mount table has it', { skip: needsRoot() }, () => {
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

  it('knows which container uses a mount', async () => {
    source.publish('image', [sampleLayer('image')]);
    await using larder = await openLarder({ root: join(directory, 'störe') });
    await larder.provision(source.reference('image'), { id: 'one', backend: 'erofs' });
    for await (const finding of larder.check()) assert.fail(JSON.stringify(finding));
    await larder.destroy('one');
    await larder.prune();
    for await (const finding of larder.check()) assert.fail(JSON.stringify(finding));
  });
});
