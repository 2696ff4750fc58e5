/** erofs ≡ overlay ≡ copy ≡ what umoci unpacks, byte for byte and attribute for attribute, for every real image. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { diffListings, listTree, type TreeLine, treeDigest } from '../../src/testing/tree-digest.js';
import { FIXTURES_NEED, type Fixtures, IMAGES, type ImageName, openFixtures } from './fixtures.js';
import { TestStore } from './larder.js';
import { needs } from './tools.js';

const BACKENDS = ['erofs', 'overlay', 'copy'] as const;

describe('all backends and umoci make the same tree', { skip: FIXTURES_NEED || needs('umoci') }, () => {
  let fixtures: Fixtures;
  let store: TestStore;
  let unpacked: string;

  before(async () => {
    fixtures = await openFixtures();
    store = new TestStore();
    unpacked = mkdtempSync(join(tmpdir(), 'larder-umoci-'));
  });

  after(async () => {
    store?.dispose();
    if (unpacked !== undefined) rmSync(unpacked, { recursive: true, force: true });
    await fixtures?.registry.close();
  });

  for (const name of Object.keys(IMAGES) as ImageName[]) {
    test(`the image ${IMAGES[name]}`, async () => {
      const bundle = join(unpacked, name);
      execFileSync('umoci', ['unpack', '--image', `${fixtures.layout}:${name}`, bundle], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const expected = listTree(join(bundle, 'rootfs'));
      assert.ok(expected.length > 1000, 'umoci unpacked a whole system');
      for (const backend of BACKENDS) {
        const id = `${name}-${backend}`;
        const flags = ['--id', id, '--backend', backend, '--dev'];
        const rootfs = await store.ok('provision', fixtures.reference(name), ...flags);
        assert.deepEqual(differences(expected, listTree(rootfs)), [], `${backend} and umoci differ`);
        await store.ok('destroy', id);
      }
    });
  }

  test('two images with the same layers in different compressions are one tree', async () => {
    const roots: string[] = [];
    for (const name of ['many', 'zstd', 'docker'] as const) {
      roots.push(await store.ok('provision', fixtures.reference(name), '--id', `same-${name}`));
    }
    assert.equal(new Set(roots.map((root) => treeDigest(root))).size, 1);
    for (const name of ['many', 'zstd', 'docker']) await store.ok('destroy', `same-${name}`);
  });

  test('nothing of it is left behind', async () => {
    await store.ok('prune');
    await store.ok('check');
    assert.deepEqual(store.mounts(), []);
  });
});

/** Enough to see what is wrong. */
function differences(expected: readonly TreeLine[], actual: readonly TreeLine[]): readonly string[] {
  return diffListings(expected, actual).slice(0, 20);
}
