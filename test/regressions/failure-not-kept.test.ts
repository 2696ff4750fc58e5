import assert from 'node:assert/strict';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('an open store, when what was in the way is gone', () => {
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

  it('reads the rules of registries again that could not be read before', async () => {
    const rules = join(directory, 'registries.conf');
    await using larder = await openLarder({ root: join(directory, 'ruled'), registries_conf: rules });
    await assert.rejects(larder.pull(source.reference('image')), { code: 'LARDER_CONFIG_INVALID' });
    writeFileSync(rules, '');
    await (await larder.pull(source.reference('image')))[Symbol.asyncDispose]();
  });

  it('reads a Docker configuration again that was damaged before', async () => {
    const config = join(directory, 'config.json');
    await using larder = await openLarder({ root: join(directory, 'configured'), docker_config: config });
    writeFileSync(config, '{ not json');
    await assert.rejects(larder.pull(source.reference('image')), { code: 'LARDER_CONFIG_INVALID' });
    writeFileSync(config, '{}');
    await (await larder.pull(source.reference('image')))[Symbol.asyncDispose]();
  });

  it('starts to work after a failure, and keeps no handle of the failed start', async () => {
    const root = join(directory, 'blocked');
    const staging = join(root, 'staging');
    await using larder = await openLarder({ root });
    writeFileSync(staging, 'not a directory');
    await assert.rejects(larder.recover([]));
    assert.deepEqual(readdirSync(join(root, 'handles')), []);
    rmSync(staging);
    await larder.recover([]);
    assert.equal(readdirSync(join(root, 'handles')).length, 1);
  });
});
