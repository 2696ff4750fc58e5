/** Processes that begin at the same time, over an empty store: what one of them downloads, none of the others does. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { type BuiltImage, buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { CHECKOUT } from '../checkout.js';
import { type Child, startNode } from '../helpers/child.js';
import { TestStore } from './larder.js';
import { PacedRegistry } from './paced-registry.js';

const PROCESSES = 16;
const layer = (name: string, bytes = 300_000) => ({ tar: sampleLayer(name, bytes) });

function startPull(store: TestStore, reference: string): Child {
  const args = ['--root', store.root, '--max-parallel-layers', '2', 'pull', reference];
  return startNode(join(CHECKOUT, 'bin', 'larder.js'), args, {
    env: { PATH: process.env['PATH'], HOME: store.directory },
  });
}

async function succeed(pulls: readonly Child[]): Promise<void> {
  for (const { status, stderr } of await Promise.all(pulls.map(({ ended }) => ended))) assert.equal(status, 0, stderr);
}

async function isClean(store: TestStore): Promise<void> {
  await store.ok('check', '--deep');
  assert.deepEqual([store.list('ingest'), store.list('staging')], [[], []]);
}

function getsOfLayers(registry: PacedRegistry, ...images: readonly BuiltImage[]): number[] {
  const digests = new Set(images.flatMap(({ layers }) => layers.map(({ digest }) => digest)));
  return [...digests].map((digest) => registry.gets.get(digest) ?? 0);
}

test('sixteen processes that pull one image make one request for each layer', async () => {
  await using registry = await PacedRegistry.start({ pauseMs: 5 });
  using store = new TestStore();
  const image = buildImage({ layers: ['a', 'b', 'c', 'd'].map((name) => layer(name)) });
  const reference = registry.add('same', image);
  await succeed(Array.from({ length: PROCESSES }, () => startPull(store, reference)));
  assert.deepEqual(getsOfLayers(registry, image), [1, 1, 1, 1]);
  assert.equal(registry.gets.get(image.configDigest), 1);
  await isClean(store);
});

test('sixteen processes that pull images which share layers make one request for each layer', async () => {
  await using registry = await PacedRegistry.start({ pauseMs: 5 });
  using store = new TestStore();
  const shared = ['base', 'tools'].map((name) => layer(name));
  const images = Array.from({ length: PROCESSES }, (_, i) =>
    buildImage({ layers: [...shared, layer(`own-${i % 4}`), layer(`top-${i}`, 1000)] }),
  );
  const references = images.map((image, i) => registry.add(`image-${i}`, image));
  await succeed(references.map((reference) => startPull(store, reference)));
  assert.deepEqual(getsOfLayers(registry, ...images), new Array(2 + 4 + PROCESSES).fill(1));
  await isClean(store);
});

test('when the process that downloads is killed, one that waits goes on from what it left', async () => {
  await using registry = await PacedRegistry.start({ pauseMs: 5 });
  using store = new TestStore();
  const image = buildImage({ layers: [layer('only', 4 << 20)] });
  const [{ digest = '', blob } = assert.fail()] = image.layers;
  const reference = registry.add('killed', image);
  let thaw: (() => void) | undefined;
  registry.at(blob.length / 4, () => {
    thaw = registry.freeze();
  });
  const first = startPull(store, reference);
  await until(() => thaw !== undefined, 'a part has come');
  const others = Array.from({ length: 5 }, () => startPull(store, reference));
  // Everybody has asked what the image is, and can only wait for its layer.
  await until(() => (registry.gets.get('latest') ?? 0) >= 6, 'the others have come');
  first.kill();
  await first.ended;
  thaw?.();
  await succeed(others);
  assert.equal(registry.gets.get(digest), 2);
  assert.ok(registry.bytes < blob.length * 1.25, `${registry.bytes} of ${blob.length}`);
  // The workbench of who was killed.
  await store.ok('prune', '--exclude', reference);
  await isClean(store);
});
