import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('provision, where a claim was lost or never came to be', () => {
  let directory: string;
  let source: ImageSource;

  before(async () => {
    directory = makeDirectory();
    source = await ImageSource.start();
    source.publish('image', [sampleLayer('image')]);
  });

  after(async () => {
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  it('refuses a container whose directory is there without a claim, and leaves it alone', async () => {
    const root = join(directory, 'lost');
    let rootfs: string;
    {
      await using larder = await openLarder({ root });
      ({ rootfs } = await larder.provision(source.reference('image'), { id: 'c1', backend: 'copy' }));
      writeFileSync(join(rootfs, 'precious'), 'work of a week');
    }
    renameSync(join(root, 'metadata'), join(root, 'metadata.away'));
    // With it the claim would come back.
    rmSync(join(root, 'containers', 'c1', 'claim.json'));
    await using larder = await openLarder({ root });
    await assert.rejects(larder.provision(source.reference('image'), { id: 'c1', backend: 'copy' }), {
      code: 'LARDER_CONTAINER_EXISTS',
    });
    assert.equal(readFileSync(join(rootfs, 'precious'), 'utf8'), 'work of a week');
    assert.deepEqual(larder.containers(), []);
    assert.equal(await larder.destroy('c1'), true);
    assert.equal(existsSync(rootfs), false);
  });

  it('leaves nothing in containers/ when the image cannot be had', async () => {
    const root = join(directory, 'failed');
    await using larder = await openLarder({ root });
    await assert.rejects(larder.provision(source.reference('nothing'), { id: 'c1', backend: 'copy' }));
    assert.deepEqual(readdirSync(join(root, 'containers')), []);
  });
});
