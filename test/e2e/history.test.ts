/** A tag that moves in Debian's docker-registry: planned, pulled, taken back, and healed. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { DockerRegistry } from './docker-registry.js';
import { TestStore } from './larder.js';
import { needs } from './tools.js';

const [OLD, NEW] = ['old', 'new'].map((name) =>
  buildImage({ layers: [{ tar: sampleLayer('base', 200_000) }, { tar: sampleLayer(name, 100_000) }] }),
);

describe('a tag that moves', { skip: needs('docker-registry') }, () => {
  let store: TestStore;
  let registry: DockerRegistry;
  let reference: string;

  before(async () => {
    store = new TestStore();
    registry = await DockerRegistry.start(join(store.directory, 'registry'));
    reference = `${registry.host}/moving:1`;
    await registry.push('moving:1', OLD ?? assert.fail());
  });
  after(async () => {
    await registry?.close();
    store.dispose();
  });

  const json = async (...args: readonly string[]) => JSON.parse(await store.ok('--json', ...args));

  test('is planned, pulled, and costs nothing while it stays', async () => {
    const plan = await json('plan', reference);
    assert.equal(
      plan.networkBytes,
      OLD?.layers.reduce((sum, { blob }) => sum + blob.length, 0),
    );
    assert.equal((await json('pull', reference)).digest, OLD?.digest);
    const again = await store.run(['pull', '--refresh', reference]);
    assert.equal(again.status, 0);
    assert.doesNotMatch(again.stderr, /to fetch/);
  });

  test('is pulled when it has moved, and taken back to what is still there', async () => {
    await registry.push('moving:1', NEW ?? assert.fail());
    const plan = await json('plan', '--refresh', reference);
    assert.deepEqual(
      plan.layers.map(({ state }: { state: string }) => state),
      ['have', 'fetch'],
    );
    assert.equal((await json('pull', '--refresh', reference)).digest, NEW?.digest);
    assert.equal((await json('--offline', 'rollback', reference)).digest, OLD?.digest);
    assert.equal(await store.ok('--offline', 'cat', reference, '/old'), 'this is old');
    await store.ok('prune', '--exclude', reference);
    // The layers of the newer one are gone, and the registry has them.
    assert.equal((await store.run(['--offline', 'rollback', reference])).status, 8);
    assert.equal((await json('rollback', reference)).digest, NEW?.digest);
  });

  test('heals a layer that check finds broken when it is pulled again', async () => {
    const [, layer = assert.fail()] = NEW?.layers ?? [];
    const path = join(store.root, 'layers', 'sha256', layer.diffId.slice(7), 'layer.tar');
    const bytes = readFileSync(path);
    bytes[2000] = (bytes[2000] ?? 0) ^ 0x40;
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    chmodSync(path, 0o400);
    assert.equal((await store.run(['check', '--deep'])).status, 9);
    const { stderr } = await store.run(['pull', '--refresh', reference]);
    assert.match(stderr, /is damaged: it is fetched again[\s\S]*1 to fetch/);
    assert.equal(await store.ok('check', '--deep'), 'clean');
  });
});
