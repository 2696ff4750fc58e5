/**
 * ▸ What every store must keep. Capabilities of the fixture say what is skipped, never the store's name. After each
 * case the store is checked: no invariant is broken, and after a prune of everything nothing is left.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import type { LarderEvent } from '../../events.js';
import { digestOf } from '../../spec/digest.js';
import { buildImage } from '../image-builder.js';
import { sampleLayer } from '../image-source.js';
import type { Register } from './register.js';
import { faultCases } from './store-faults.js';
import {
  BACKEND,
  getNames,
  later,
  layerNames,
  requirePrunedClean,
  type StoreCase,
  type StoreFixture,
  soon,
  until,
} from './store-fixture.js';
import { pruneCases } from './store-prune.js';

export type { StoreFixture, StoreProcess } from './store-fixture.js';

export function storeConformance(name: string, create: () => Promise<StoreFixture>, register: Register = test): void {
  const cases = { ...getCases, ...sharingCases, ...dependencyCases, ...faultCases, ...pruneCases, ...processCases };
  for (const [sentence, body] of Object.entries<StoreCase>(cases)) {
    register(`${name}: ${sentence}`, {}, async () => {
      const fixture = await create();
      try {
        await body(fixture);
        await requireSound(fixture);
      } finally {
        await fixture.dispose();
      }
    });
  }
}

/** No broken invariant now, and nothing at all once everything is pruned. */
async function requireSound(fixture: StoreFixture): Promise<void> {
  assert.deepEqual(
    (await fixture.findings()).filter(({ kind }) => kind === 'fault'),
    [],
  );
  fixture.source.setFault();
  await requirePrunedClean(
    () => fixture.prune([]),
    () => fixture.findings(),
  );
}

const getCases: Record<string, StoreCase> = {
  'an image that is not here is fetched, its layers base first and whole': async (fixture) => {
    const { store, source, image } = fixture;
    const tars = [sampleLayer('base'), sampleLayer('middle', 100_000), sampleLayer('top')];
    const built = source.publish('a', tars);
    const { layers } = await store.get(image('a'), BACKEND);
    assert.deepEqual(
      layers.map((path) => basename(path)),
      layerNames(built),
    );
    for (const [i, path] of layers.entries()) {
      assert.equal(digestOf(readFileSync(join(path, 'layer.tar'))), built.layers[i]?.diffId, `layer ${i}`);
    }
  },
  'an image answers its config as it was received, and what Docker v1 says': async ({ store, source, image }) => {
    const built = source.publish('a', [sampleLayer('one')], { config: { Env: ['A=b'], Cmd: ['/bin/x'] } });
    const info = await store.get(image('a'), BACKEND);
    assert.deepEqual(readFileSync(info.config ?? assert.fail('no config')), Buffer.from(built.config));
    assert.deepEqual(info.dockerManifest?.config?.Env, ['A=b']);
  },
  'a hit makes no request': async (fixture) => {
    fixture.source.publish('a', [sampleLayer('one'), sampleLayer('two')]);
    const first = await fixture.store.get(fixture.image('a'), BACKEND);
    const before = fixture.source.registry.requests.length;
    assert.deepEqual(await fixture.store.get(fixture.image('a'), BACKEND), first);
    assert.deepEqual(await (await fixture.open()).get(fixture.image('a'), BACKEND), first);
    assert.equal(fixture.source.registry.requests.length, before);
  },
  'a layer that an image lists twice is answered once, where it counts, and fetched once': async (fixture) => {
    const [twice, other] = [sampleLayer('twice'), sampleLayer('other')];
    const [first, second] = layerNames(fixture.source.publish('a', [twice, other, twice]));
    assert.deepEqual(await getNames(fixture, fixture.image('a')), [second, first]);
    assert.equal(fixture.source.requests('layer').length, 2);
  },
  'an image by tag and by digest share their layers': async (fixture) => {
    const { digest } = fixture.source.publish('a', [sampleLayer('one')]);
    const names = await getNames(fixture, fixture.image('a'));
    const before = fixture.source.requests('layer').length;
    assert.deepEqual(await getNames(fixture, fixture.image('a', { tag: `@${digest}` })), names);
    assert.equal(fixture.source.requests('layer').length, before);
  },
  'a moved tag is noticed with cached: false, which fetches only what is missing': async (fixture) => {
    const { source, image } = fixture;
    const old = source.publish('a', [sampleLayer('base'), sampleLayer('old')]);
    assert.deepEqual(await getNames(fixture, image('a')), layerNames(old));
    const moved = source.publish('a', [sampleLayer('base'), sampleLayer('new')]);
    assert.deepEqual(await getNames(fixture, image('a')), layerNames(old));
    const before = source.requests('layer').length;
    assert.deepEqual(await getNames(fixture, image('a', { cached: false })), layerNames(moved));
    assert.deepEqual(
      source
        .requests('layer')
        .slice(before)
        .map(({ wanted }) => wanted),
      [moved.layers[1]?.digest],
    );
    assert.deepEqual(await getNames(fixture, image('a')), layerNames(moved));
  },
  'a tag that did not move costs no layer with cached: false': async (fixture) => {
    fixture.source.publish('a', [sampleLayer('base')]);
    await fixture.store.get(fixture.image('a'), BACKEND);
    const [manifests, layers] = [fixture.source.requests('manifest').length, fixture.source.requests('layer').length];
    await fixture.store.get(fixture.image('a', { cached: false }), BACKEND);
    assert.ok(fixture.source.requests('manifest').length > manifests);
    assert.equal(fixture.source.requests('layer').length, layers);
  },
  'each platform of one name is an image of its own': async (fixture) => {
    const images = ['linux/amd64', 'linux/s390x'].map((platform) =>
      buildImage({ platform, layers: [{ tar: sampleLayer(platform.replace('/', '-')) }] }),
    );
    fixture.source.publishIndex('multi', images);
    for (const built of images) {
      assert.deepEqual(
        await getNames(fixture, fixture.image('multi', { platform: built.platform })),
        layerNames(built),
      );
    }
    const before = fixture.source.registry.requests.length;
    for (const { platform } of images) await fixture.store.get(fixture.image('multi', { platform }), BACKEND);
    assert.equal(fixture.source.registry.requests.length, before);
  },
  'a layer that is lost on disk is pulled again, and only that': lost((path) => rmSync(path, { recursive: true })),
  'a layer that lost its end on disk is pulled again': lost((path) => truncateSync(join(path, 'layer.tar'), 512)),
  'an image whose config is lost on disk is pulled again': async (fixture) => {
    const built = fixture.source.publish('a', [sampleLayer('one')]);
    const { config = assert.fail('no config') } = await fixture.store.get(fixture.image('a'), BACKEND);
    rmSync(config);
    const info = await fixture.store.get(fixture.image('a'), BACKEND);
    assert.deepEqual(readFileSync(info.config ?? ''), Buffer.from(built.config));
  },
  'recover forgets and names the images whose layers are gone, and keeps the others': async (fixture) => {
    const { store, source, image } = fixture;
    source.publish('whole', [sampleLayer('base')]);
    const broken = source.publish('broken', [sampleLayer('base'), sampleLayer('lost')]);
    await store.get(image('whole'), BACKEND);
    const { layers } = await store.get(image('broken'), BACKEND);
    rmSync(layers[1] ?? assert.fail('no layer'), { recursive: true });
    const events: LarderEvent[] = [];
    await store.recover({ onEvent: (event) => events.push(event) });
    const warnings = events.filter((event) => event.type === 'warning').map(({ message }) => message);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', new RegExp(`broken.*${layerNames(broken)[1]}`));
    const before = source.registry.requests.length;
    await store.get(image('whole'), BACKEND);
    assert.equal(source.registry.requests.length, before);
    assert.deepEqual(await getNames(fixture, image('broken')), layerNames(broken));
  },
};

function lost(damage: (layerPath: string) => void): StoreCase {
  return async (fixture) => {
    const built = fixture.source.publish('a', [sampleLayer('kept'), sampleLayer('lost', 10_000)]);
    const { layers } = await fixture.store.get(fixture.image('a'), BACKEND);
    const [, path = assert.fail('no second layer')] = layers;
    const bytes = readFileSync(join(path, 'layer.tar'));
    const before = fixture.source.requests('layer').length;
    damage(path);
    assert.deepEqual((await fixture.store.get(fixture.image('a'), BACKEND)).layers, layers);
    assert.deepEqual(readFileSync(join(path, 'layer.tar')), bytes);
    const again = fixture.source.requests('layer').slice(before);
    assert.deepEqual(
      again.map(({ wanted }) => wanted),
      [built.layers[1]?.digest],
    );
  };
}

const sharingCases: Record<string, StoreCase> = {
  'concurrent gets of one image share one pull': async ({ store, source, image }) => {
    source.publish('a', [sampleLayer('one', 200_000), sampleLayer('two', 200_000)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 100 } : undefined));
    const infos = await Promise.all(Array.from({ length: 16 }, () => store.get(image('a'), BACKEND)));
    for (const info of infos) assert.deepEqual(info, infos[0]);
    assert.deepEqual(
      source
        .requests()
        .map(({ kind }) => kind)
        .sort(),
      ['config', 'layer', 'layer', 'manifest'],
    );
  },
  'images that share a layer, pulled at once, fetch it once': async ({ store, source, image }) => {
    for (const name of ['a', 'b', 'c']) source.publish(name, [sampleLayer('shared', 200_000), sampleLayer(name)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 100 } : undefined));
    await Promise.all(['a', 'b', 'c'].map((name) => store.get(image(name), BACKEND)));
    assert.equal(source.requests('layer').length, 4);
  },
  'a waiter that cancels settles at once, and the others get the image': async ({ store, source, image }) => {
    source.publish('a', [sampleLayer('one', 200_000)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 1500 } : undefined));
    const cancel = new AbortController();
    const impatient = later(store.get(image('a'), BACKEND, { signal: cancel.signal }));
    const patient = [1, 2, 3].map(() => later(store.get(image('a'), BACKEND)));
    await until(() => source.requests('layer').length > 0, 'the layer is asked for');
    cancel.abort();
    await soon(assert.rejects(impatient, { code: 'LARDER_ABORTED' }), 'the cancelled get', 1000);
    for (const { layers } of await Promise.all(patient)) assert.equal(layers.length, 1);
    assert.equal(source.requests('layer').length, 1);
  },
  'when all waiters cancel, the pull is cancelled, and all settle at once': async ({ store, source, image }) => {
    source.publish('a', [sampleLayer('one', 400_000), sampleLayer('two', 400_000)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 100_000 } : undefined));
    const cancel = new AbortController();
    const gets = [1, 2, 3].map(() => later(store.get(image('a'), BACKEND, { signal: cancel.signal })));
    await until(() => source.requests('layer').length === 2, 'both layers are asked for');
    cancel.abort();
    await soon(Promise.all(gets.map((get) => assert.rejects(get, { code: 'LARDER_ABORTED' }))), 'cancelled gets', 1000);
    source.setFault();
    // It would wait for the stalled downloads for ever, were these still under way.
    await soon(store.get(image('a'), BACKEND), 'the next get');
  },
  'a get that was cancelled before it began asks nobody': async ({ store, source, image }) => {
    source.publish('a', [sampleLayer('one')]);
    await assert.rejects(store.get(image('a'), BACKEND, { signal: AbortSignal.abort() }), { code: 'LARDER_ABORTED' });
    assert.equal(source.registry.requests.length, 0);
  },
};

/** Images that need images; skipped by stores whose images stand alone. */
const dependencyCases: Record<string, StoreCase> = {
  'a diamond of dependencies is in topological order, without repeats': async (fixture) => {
    const { publishDependent: publish } = fixture;
    if (publish === undefined) return;
    publish('C', [], sampleLayer('C'));
    publish('B', ['C'], sampleLayer('B'));
    publish('D', ['C'], sampleLayer('D'));
    publish('A', ['B', 'D'], sampleLayer('A'));
    const { layers } = await fixture.store.get(fixture.image('A'), BACKEND);
    const tars = layers.map((path) => readFileSync(join(path, 'layer.tar'), 'latin1'));
    assert.deepEqual(
      tars.map((tar) => /this is (\w)/.exec(tar)?.[1]),
      ['C', 'B', 'D', 'A'],
    );
    assert.equal(fixture.source.requests('layer').length, 4);
  },
  'a cycle of dependencies is refused': async (fixture) => {
    const { publishDependent: publish } = fixture;
    if (publish === undefined) return;
    publish('A', ['B'], sampleLayer('a'));
    publish('B', ['A'], sampleLayer('b'));
    const get = fixture.store.get(fixture.image('A'), BACKEND);
    await assert.rejects(soon(get, 'the cycle'), { code: 'LARDER_DEPENDENCY_CYCLE' });
  },
};

const processCases: Record<string, StoreCase> = {
  'processes that pull one image at once download it once': async (fixture) => {
    if (fixture.getInProcess === undefined) return;
    fixture.source.publish('a', [sampleLayer('one', 300_000), sampleLayer('two', 300_000)]);
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 700 } : undefined));
    const start = fixture.getInProcess;
    for (const { ended } of [1, 2].map(() => start(fixture.image('a')))) {
      const { status, stderr } = await ended;
      assert.equal(status, 0, stderr);
    }
    assert.equal(fixture.source.requests('layer').length, 2);
    await fixture.store.get(fixture.image('a'), BACKEND);
    assert.equal(fixture.source.requests('layer').length, 2);
  },
  'a pull goes on where a killed process left it': async (fixture) => {
    if (fixture.getInProcess === undefined) return;
    const { source, image } = fixture;
    const [size, part] = [3_000_000, 2_000_000];
    const built = source.publish('a', [sampleLayer('whole'), sampleLayer('big', size)]);
    const big = built.layers[1]?.digest ?? assert.fail();
    source.setFault(({ wanted }) => (wanted === big ? { kind: 'stall', after: part } : undefined));
    const child = fixture.getInProcess(image('a'));
    await until(async () => (await fixture.partialBytes()) > part / 2, 'half of it is on disk');
    child.kill();
    assert.equal((await child.ended).status, 'SIGKILL');
    source.setFault();
    assert.deepEqual(
      (await fixture.findings()).filter(({ kind }) => kind === 'fault'),
      [],
    );
    const kept = await fixture.partialBytes();
    const before = source.requests('layer').length;
    const { layers } = await (await fixture.open()).get(image('a'), BACKEND);
    assert.ok(existsSync(join(layers[1] ?? '', 'layer.tar')));
    const request = source
      .requests('layer')
      .slice(before)
      .find(({ wanted }) => wanted === big);
    assert.ok((request?.offset ?? 0) > part / 2 && (request?.offset ?? 0) <= kept, `went on at ${request?.offset}`);
    assert.equal(await fixture.partialBytes(), 0);
  },
};
