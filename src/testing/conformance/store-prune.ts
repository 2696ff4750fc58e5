/** What goes and what stays: the cases of the store's suite about prune. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { LarderError } from '../../errors.js';
import type { LarderEvent } from '../../events.js';
import { sampleLayer } from '../image-source.js';
import { BACKEND, getNames, later, layerNames, type StoreCase, type StoreFixture, until } from './store-fixture.js';

export const pruneCases: Record<string, StoreCase> = {
  'prune keeps the excluded images whole, with what they share, and drops the others': async (fixture) => {
    const { store, source, image } = fixture;
    source.publish('kept', [sampleLayer('base'), sampleLayer('kept')]);
    source.publish('gone', [sampleLayer('base'), sampleLayer('gone')]);
    const kept = await store.get(image('kept'), 'copy');
    const gone = await store.get(image('gone'), 'copy');
    await fixture.prune([image('kept')]);
    for (const path of kept.layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
    assert.ok(!existsSync(gone.layers[1] ?? assert.fail()));
    await requireNoRequest(fixture, () => store.get(image('kept'), BACKEND));
    await store.get(image('gone'), BACKEND);
    assert.equal(source.requests('layer').length, 4);
  },
  'a name without a tag excludes latest, and nothing else': async (fixture) => {
    const { store, source, image } = fixture;
    source.publish('a', [sampleLayer('latest')]);
    source.publish('a', [sampleLayer('old')], { tag: 'old' });
    await store.get(image('a', { tag: 'latest' }), BACKEND);
    const old = await store.get(image('a', { tag: 'old' }), BACKEND);
    await fixture.prune([image('a')]);
    await requireNoRequest(fixture, () => store.get(image('a', { tag: 'latest' }), BACKEND));
    assert.ok(!existsSync(old.layers[0] ?? assert.fail()));
  },
  'prune keeps active layers although their image goes': async (fixture) => {
    const built = fixture.source.publish('a', [sampleLayer('active'), sampleLayer('idle')]);
    const { layers } = await fixture.store.get(fixture.image('a'), BACKEND);
    const [active = assert.fail(), idle = assert.fail()] = layers;
    await fixture.prune([], new Set([active]));
    assert.ok(existsSync(join(active, 'layer.tar')));
    assert.ok(!existsSync(idle));
    const before = fixture.source.requests('layer').length;
    assert.deepEqual(await getNames(fixture, fixture.image('a')), layerNames(built));
    const fetched = fixture.source
      .requests('layer')
      .slice(before)
      .map(({ wanted }) => wanted);
    assert.deepEqual(fetched, [built.layers[1]?.digest]);
  },
  'what is held is not pruned before it is given back': async (fixture) => {
    fixture.source.publish('a', [sampleLayer('one'), sampleLayer('two')]);
    const held = await fixture.store.acquire(fixture.image('a'), BACKEND);
    await fixture.prune([]);
    for (const path of held.info.layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
    assert.ok(readFileSync(held.info.config ?? '').length > 0);
    await requireNoRequest(fixture, () => fixture.store.get(fixture.image('a'), BACKEND));
    await held[Symbol.asyncDispose]();
    await fixture.prune([]);
    for (const path of held.info.layers) assert.ok(!existsSync(path), path);
  },
  'a dry run tells what a prune then removes, and removes nothing': async (fixture) => {
    fixture.source.publish('a', [sampleLayer('one'), sampleLayer('two')]);
    const { layers } = await fixture.store.get(fixture.image('a'), BACKEND);
    const told = await removedBy(fixture, true);
    for (const path of layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
    await requireNoRequest(fixture, () => fixture.store.get(fixture.image('a'), BACKEND));
    assert.deepEqual(told.layers.sort(), layers.map((path) => `sha256:${basename(path)}`).sort());
    assert.equal(told.images.length, 1);
    assert.deepEqual(await removedBy(fixture, false), told);
  },
  'prune during a pull takes nothing of it': async (fixture) => {
    const { store, source, image } = fixture;
    const built = source.publish('a', [sampleLayer('first'), sampleLayer('slow', 200_000)]);
    const slow = built.layers[1]?.digest;
    let wait = true;
    source.setFault(({ wanted }) => (wanted === slow && wait ? { kind: 'delay', ms: 1500 } : undefined));
    const done: string[] = [];
    const onEvent = (event: LarderEvent): void => {
      if (event.type === 'layer-done') done.push(event.layer);
    };
    const pull = later(store.get(image('a'), BACKEND, { onEvent }));
    await until(() => done.length === 1 && source.requests('layer').length === 2, 'one layer is done');
    wait = false;
    await fixture.prune([]);
    for (const path of (await pull).layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
    assert.equal(source.requests('layer').length, 2);
    await requireNoRequest(fixture, () => store.get(image('a'), BACKEND));
  },
  'prune beside pulls never leaves an image without its layers': async (fixture) => {
    const { store, source, image } = fixture;
    for (const name of ['a', 'b']) source.publish(name, [sampleLayer('shared'), sampleLayer(name)]);
    let busy = true;
    const pruning = (async () => {
      while (busy) await fixture.prune([]);
    })();
    try {
      for (let round = 0; round < 10; round++) {
        const held = await Promise.all(['a', 'b'].map((name) => store.acquire(image(name), BACKEND)));
        for (const { info } of held)
          for (const path of info.layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
        await Promise.all(held.map((one) => one[Symbol.asyncDispose]()));
      }
    } finally {
      busy = false;
      await pruning;
    }
  },
};

async function requireNoRequest({ source }: StoreFixture, work: () => Promise<unknown>): Promise<void> {
  const before = source.registry.requests.length;
  await work();
  assert.equal(source.registry.requests.length, before, 'asked the registry');
}

async function removedBy(fixture: StoreFixture, dryRun: boolean): Promise<{ images: string[]; layers: string[] }> {
  const removed: { images: string[]; layers: string[] } = { images: [], layers: [] };
  await fixture.prune([], new Set(), {
    dryRun,
    onEvent: (event) => {
      if (event.type === 'warning') throw new LarderError('LARDER_INTERNAL', event.message);
      if (event.type !== 'removed') return;
      if (event.what === 'image') removed.images.push(event.name);
      if (event.what === 'layer') removed.layers.push(event.name);
    },
  });
  return { images: removed.images.sort(), layers: removed.layers.sort() };
}
