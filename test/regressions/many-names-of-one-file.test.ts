import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { file, hardlink, tar } from '../../src/testing/tar-builder.js';
import { makeBackend, makeStore, type StoreFixture } from '../backends/store-fixture.js';

/** ext4 allows 65,000, and this machine's temporary directory may be on a file system that allows more. */
const NAMES = 65_100;

describe('a file with more names than the file system allows', () => {
  let store: StoreFixture;

  beforeEach(() => {
    store = makeStore();
  });
  afterEach(() => store.dispose());

  it('is refused by name and with a way out, or copied whole', async () => {
    const links = Array.from({ length: NAMES }, (_, i) => hardlink(`n${i}`, 'first'));
    const layers = [store.layers.add(tar([file('first', 'x'), ...links]))];
    const backend = makeBackend('copy', store.layers.layout, store.layers);
    try {
      await backend.provision(layers, join(store.directory, 'rootfs'), store.directory);
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'LARDER_ENTRY_UNSUPPORTED');
      assert.match(String((error as { hint?: string }).hint), /erofs/);
    }
    await backend.destroy(join(store.directory, 'rootfs'), store.directory);
  });
});
