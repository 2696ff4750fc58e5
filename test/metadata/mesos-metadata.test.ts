/**
 * Counterparts of the cases of Mesos's ProvisionerDockerLocalStoreTest that are about what the store remembers
 * (src/tests/containerizer/provisioner_docker_tests.cpp); each title has the name of its original.
 */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type LarderEvent, openLarder, Store } from '../../src/index.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('ProvisionerDockerLocalStoreTest', () => {
  let source: ImageSource;
  let directory: string;
  let root: string;

  beforeEach(async () => {
    source = await ImageSource.start();
    source.publish('abc', [sampleLayer('123'), sampleLayer('456')]);
    directory = makeDirectory();
    root = join(directory, 'store');
  });
  afterEach(async () => {
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  const image = () => ({ type: 'docker', name: source.reference('abc') }) as const;

  async function store(): Promise<Store> {
    return (await Store.create({ root })).get('docker') ?? assert.fail('no docker store');
  }

  async function clean(): Promise<void> {
    await using larder = await openLarder({ root });
    assert.deepEqual(
      (await findingsOf(larder)).filter(({ kind }) => kind === 'fault'),
      [],
    );
  }

  test('MetadataManagerInitialization: a store that is made anew and recovered answers the same layers', async () => {
    const { layers } = await (await store()).get(image(), 'copy');
    source.setFault(() => assert.fail('asked the registry'));
    const again = await store();
    await again.recover();
    assert.deepEqual((await again.get(image(), 'copy')).layers, layers);
    await clean();
  });

  test('MetadataManagerRecoveryWithEmptyImagesFile: recovery succeeds, and the images are there (MESOS-8871)', async () => {
    const { layers } = await (await store()).get(image(), 'copy');
    for (const suffix of ['', '-wal']) {
      const name = `larder.db${suffix}`;
      if (readdirSync(join(root, 'metadata')).includes(name)) truncateSync(join(root, 'metadata', name), 0);
    }
    source.setFault(() => assert.fail('asked the registry'));
    const events: LarderEvent[] = [];
    {
      // Mesos goes on with no image at all; here they come back.
      await using larder = await openLarder({ root }, { onEvent: (event) => void events.push(event) });
      await larder.recover([]);
      assert.equal(larder.images().length, 1);
    }
    assert.ok(events.some((event) => event.type === 'warning' && /database is damaged/.test(event.message)));
    const again = await store();
    await again.recover();
    assert.deepEqual((await again.get(image(), 'copy')).layers, layers);
    await clean();
  });

  test('MissingLayer: a layer that is lost is pulled again by the next get', async () => {
    const first = await store();
    const { layers } = await first.get(image(), 'copy');
    rmSync(layers[1] ?? '', { recursive: true });
    assert.deepEqual((await first.get(image(), 'copy')).layers, layers);
    assert.deepEqual(readdirSync(layers[1] ?? ''), ['layer.tar']);
    await clean();
  });

  test('recover reports and drops an image whose layer is lost, and keeps the others', async () => {
    source.publish('other', [sampleLayer('789')]);
    await using larder = await openLarder({ root });
    for (const name of ['abc', 'other']) await (await larder.pull(source.reference(name)))[Symbol.asyncDispose]();
    const lost = larder.images()[0]?.layers[1]?.diffId ?? assert.fail('no layer');
    rmSync(join(root, 'layers', 'sha256', lost.slice(7)), { recursive: true });
    const warnings: string[] = [];
    await larder.recover([], { onEvent: (event) => event.type === 'warning' && void warnings.push(event.message) });
    assert.deepEqual(warnings, [
      `${source.reference('abc')}:latest (linux/amd64) is forgotten: ${lost} is not on disk`,
    ]);
    assert.equal(larder.images().length, 1);
  });
});
