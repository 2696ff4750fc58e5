import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { Assembly } from '../../src/assemble.js';
import { configOf } from '../../src/config.js';
import { stackOf } from '../../src/metadata/records.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

it('makes a merged image for who waits for it, although who asked for it first gave up', async () => {
  const directory = makeDirectory();
  await using source = await ImageSource.start();
  source.publish('image', [sampleLayer('image')]);
  const assembly = await Assembly.open(configOf({ root: join(directory, 'store'), owner: 'test' }));
  try {
    const store = await assembly.docker();
    await using held = await store.acquire({ type: 'docker', name: source.reference('image') }, 'copy');
    const { merged } = await assembly.working();
    const layers = stackOf(held.record);
    const first = new AbortController();
    const given = assert.rejects(merged.ensure(layers, { signal: first.signal, onEvent: () => {} }), {
      code: 'LARDER_ABORTED',
    });
    const wanted = merged.ensure(layers);
    // Both look for the image first; nobody has started to make it before that.
    await Promise.resolve();
    first.abort();
    await given;
    assert.equal((await wanted).devices.length, 1);
  } finally {
    await assembly.close();
    removeDirectory(directory);
  }
});
