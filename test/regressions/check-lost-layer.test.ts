import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { Assembly } from '../../src/assemble.js';
import { configOf } from '../../src/config.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

it('goes on with a deep check behind a layer whose tar is lost', async () => {
  const directory = makeDirectory();
  await using source = await ImageSource.start();
  source.publish('image', [sampleLayer('a'), sampleLayer('b'), sampleLayer('c')]);
  const assembly = await Assembly.open(configOf({ root: join(directory, 'store'), owner: 'test' }));
  try {
    const store = await assembly.docker();
    const { layers } = await store.get({ type: 'docker', name: source.reference('image') }, 'copy');
    for (const layer of layers) rmSync(join(layer, 'layer.tar'));
    const deep = { check: () => assembly.check({ deep: true }) };
    const lost = (await findingsOf(deep)).filter(({ message }) => message === 'there is no layer.tar');
    assert.equal(lost.length, layers.length);
  } finally {
    await assembly.close();
    removeDirectory(directory);
  }
});
