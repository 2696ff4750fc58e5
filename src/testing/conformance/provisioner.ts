/**
 * ▸ What every provisioner must keep, whichever backend it uses. Capabilities of the fixture say what is skipped. After
 * each case no container is left, the store is checked, and after a prune of everything nothing is left in it.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import type { LarderEvent } from '../../events.js';
import { sampleLayer } from '../image-source.js';
import {
  type ProvisionerCase,
  type ProvisionerFixture,
  provisionIt,
  requireNothing,
  rootfsOf,
} from './provisioner-fixture.js';
import { nestedCases } from './provisioner-nested.js';
import { processCases } from './provisioner-processes.js';
import { recoverCases } from './provisioner-recover.js';
import { volumeCases } from './provisioner-volumes.js';
import type { Register } from './register.js';
import { later, requirePrunedClean, soon, until } from './store-fixture.js';

export type { ContainerJob, ContainerProcess, ContainerState, ProvisionerFixture } from './provisioner-fixture.js';

export function provisionerConformance(
  name: string,
  create: () => Promise<ProvisionerFixture>,
  register: Register = test,
): void {
  const cases = {
    ...{ ...lifeCases, ...failureCases, ...recoverCases, ...pruneCases },
    ...{ ...nestedCases, ...volumeCases, ...processCases },
  };
  for (const [sentence, body] of Object.entries<ProvisionerCase>(cases)) {
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

async function requireSound(fixture: ProvisionerFixture): Promise<void> {
  const { provisioner, source } = fixture;
  source.setFault();
  for (const { container } of await provisioner.list()) await provisioner.destroy(container);
  await requireNothing(fixture);
  assert.deepEqual(
    (await fixture.findings()).filter(({ kind }) => kind === 'fault'),
    [],
  );
  await requirePrunedClean(
    () => provisioner.pruneImages([]),
    () => fixture.findings(),
  );
}

const lifeCases: Record<string, ProvisionerCase> = {
  'an image becomes a root filesystem, is listed with what it holds, and goes when it is destroyed': async (
    fixture,
  ) => {
    const built = fixture.source.publish('a', [sampleLayer('one'), sampleLayer('two')]);
    const events: LarderEvent[] = [];
    const info = await fixture.provisioner.provision('c', fixture.image('a'), {
      backend: fixture.backend,
      onEvent: (event) => events.push(event),
    });
    assert.equal(readFileSync(join(info.rootfs, 'two'), 'utf8'), 'this is two\n');
    assert.equal(info.backend, fixture.backend);
    assert.equal(info.container, 'c');
    assert.deepEqual(
      info.layers.map((path) => `sha256:${basename(path)}`),
      built.layers.map(({ diffId }) => diffId),
    );
    const [claim = assert.fail('no claim'), ...others] = await fixture.provisioner.list();
    assert.deepEqual(others, []);
    assert.deepEqual(await fixture.provisioner.claimOf('c'), claim);
    const [image = assert.fail('no image')] = claim.images;
    assert.equal(image.rootfs, info.rootfs);
    assert.deepEqual(
      image.layers.map(({ diffId }) => diffId),
      built.layers.map(({ diffId }) => diffId),
    );
    assert.ok(events.some((event) => event.type === 'mounted' && event.container === 'c'));
    assert.equal(await fixture.provisioner.destroy('c', { onEvent: (event) => events.push(event) }), true);
    assert.ok(events.some((event) => event.type === 'destroyed' && event.container === 'c'));
    await requireNothing(fixture);
  },
  'destroying twice is true once, and a container that never was is false': async (fixture) => {
    await provisionIt(fixture, 'c');
    assert.equal(await fixture.provisioner.destroy('c'), true);
    assert.equal(await fixture.provisioner.destroy('c'), false);
    assert.equal(await fixture.provisioner.destroy('never'), false);
  },
  'of those who destroy a container at once, one does it': async (fixture) => {
    await provisionIt(fixture, 'c');
    const all = await Promise.all([1, 2, 3, 4].map(() => fixture.provisioner.destroy('c')));
    assert.deepEqual(
      all.filter((did) => did),
      [true],
    );
  },
  'a name can be used again': async (fixture) => {
    for (const file of ['one', 'two']) {
      const { rootfs } = await provisionIt(fixture, 'c');
      assert.ok(!existsSync(join(rootfs, 'one')));
      writeFileSync(join(rootfs, file), 'x');
      await fixture.provisioner.destroy('c');
    }
  },
  'containers of one image keep what they write to themselves': async (fixture) => {
    const [a, b] = [await provisionIt(fixture, 'a'), await provisionIt(fixture, 'b')];
    writeFileSync(join(a.rootfs, 'image'), 'changed');
    assert.equal(readFileSync(join(b.rootfs, 'image'), 'utf8'), 'this is image\n');
    await fixture.provisioner.destroy('a');
    assert.equal(readFileSync(join(b.rootfs, 'image'), 'utf8'), 'this is image\n');
  },
  'containers of one image share one mount, which goes with the last of them': async (fixture) => {
    if (!fixture.sharesMounts) return;
    const ids = ['a', 'b', 'c', 'd'];
    await Promise.all(ids.map((id) => provisionIt(fixture, id)));
    assert.equal(fixture.state().imageMounts.length, 1);
    for (const id of ids.slice(1)) await fixture.provisioner.destroy(id);
    assert.equal(fixture.state().imageMounts.length, 1);
    await fixture.provisioner.destroy('a');
    assert.deepEqual(fixture.state().imageMounts, []);
  },
  'a container that shares no mount keeps none from going': async (fixture) => {
    if (!fixture.sharesMounts) return;
    await provisionIt(fixture, 'mounted');
    await fixture.provisioner.provision('copied', fixture.image('image'), { backend: 'copy' });
    await fixture.provisioner.destroy('mounted');
    assert.deepEqual(fixture.state().imageMounts, []);
  },
};

const failureCases: Record<string, ProvisionerCase> = {
  'a name that is in use is refused, and its container stays as it is': async (fixture) => {
    const { rootfs } = await provisionIt(fixture, 'c');
    writeFileSync(join(rootfs, 'mine'), 'x');
    await assert.rejects(provisionIt(fixture, 'c'), { code: 'LARDER_CONTAINER_EXISTS' });
    assert.equal(readFileSync(join(rootfs, 'mine'), 'utf8'), 'x');
    assert.equal((await fixture.provisioner.list()).length, 1);
  },
  'of those who provision one name at once, one gets it': async (fixture) => {
    fixture.publish();
    const other = await fixture.open();
    const all = [fixture.provisioner, other, fixture.provisioner, other].map((each) =>
      each.provision('c', fixture.image('image'), { backend: fixture.backend }),
    );
    const outcomes = await Promise.allSettled(all);
    const failures = outcomes.filter((outcome) => outcome.status === 'rejected').map(({ reason }) => reason.code);
    assert.deepEqual(failures, Array(3).fill('LARDER_CONTAINER_EXISTS'));
    assert.equal(readFileSync(join(await rootfsOf(fixture, 'c'), 'image'), 'utf8'), 'this is image\n');
  },
  'names that are none are refused': async (fixture) => {
    fixture.publish();
    const tooDeep = 'a/b/c/d/e/f';
    const tooLong = Array(3).fill('x'.repeat(100)).join('/');
    const nested = ['/a', 'a/', 'a//b', 'a/..', 'a/../b', './a', 'a/x.lock', 'a+b', tooDeep, tooLong];
    for (const id of ['', '.', '..', '../up', '-x', 'x.lock', 'x'.repeat(129), 'a\nb', ...nested]) {
      const provision = fixture.provisioner.provision(id, fixture.image('image'), { backend: fixture.backend });
      await assert.rejects(provision, { code: 'LARDER_REQUEST_INVALID' }, JSON.stringify(id));
      await assert.rejects(fixture.provisioner.destroy(id), { code: 'LARDER_REQUEST_INVALID' }, JSON.stringify(id));
    }
  },
  'an unknown container has no claim': async (fixture) => {
    await assert.rejects(async () => fixture.provisioner.claimOf('c'), { code: 'LARDER_CONTAINER_NOT_FOUND' });
  },
  'a provision whose image is not there leaves nothing, and the name is free': async (fixture) => {
    const provision = fixture.provisioner.provision('c', fixture.image('nowhere'), { backend: fixture.backend });
    await assert.rejects(provision, { code: 'LARDER_IMAGE_NOT_FOUND' });
    await requireNothing(fixture);
    await provisionIt(fixture, 'c');
  },
  'a provision whose backend fails leaves nothing, and the name is free': async (fixture) => {
    const restore = await fixture.breakImage();
    await assert.rejects(provisionIt(fixture, 'c'), { code: 'LARDER_LAYER_CORRUPT' });
    await requireNothing(fixture);
    await restore();
    await provisionIt(fixture, 'c');
  },
  'a provision that is cancelled leaves nothing': async (fixture) => {
    fixture.publish();
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 10 } : undefined));
    const cancel = new AbortController();
    const provision = later(provisionIt(fixture, 'c', { signal: cancel.signal }));
    await until(() => fixture.source.requests('layer').length > 0, 'the layer is asked for');
    cancel.abort();
    await soon(assert.rejects(provision, { code: 'LARDER_ABORTED' }), 'the provision', 1000);
    await requireNothing(fixture);
  },
  'destroy cuts a provision off that is still fetching, and nothing is left of it': async (fixture) => {
    fixture.publish();
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 10 } : undefined));
    const provision = later(provisionIt(fixture, 'c'));
    await until(() => fixture.source.requests('layer').length > 0, 'the layer is asked for');
    assert.equal(await soon(fixture.provisioner.destroy('c'), 'the destroy', 1000), true);
    await assert.rejects(provision, { code: 'LARDER_ABORTED' });
    await requireNothing(fixture);
    fixture.source.setFault();
    await provisionIt(fixture, 'c');
  },
  'destroy waits for a provision of another process, or cuts it off': async (fixture) => {
    if (fixture.inProcess === undefined) return;
    fixture.publish();
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 500 } : undefined));
    const job = { what: 'provision', id: 'c', image: fixture.image('image'), backend: fixture.backend } as const;
    const { ended } = fixture.inProcess(job);
    await until(() => fixture.source.requests('layer').length > 0, 'the layer is asked for');
    assert.equal(await fixture.provisioner.destroy('c'), true);
    await ended;
    await requireNothing(fixture);
  },
  'a destroy that is cancelled leaves the container': async (fixture) => {
    const { rootfs } = await provisionIt(fixture, 'c');
    const destroy = fixture.provisioner.destroy('c', { signal: AbortSignal.abort() });
    await assert.rejects(destroy, { code: 'LARDER_ABORTED' });
    assert.ok(existsSync(join(rootfs, 'image')));
  },
};

const pruneCases: Record<string, ProvisionerCase> = {
  'prune never takes what a container holds, and takes it afterwards': async (fixture) => {
    fixture.source.publish('idle', [sampleLayer('idle')]);
    const { rootfs, layers, config } = await provisionIt(fixture, 'c');
    const idle = await fixture.provisioner.provision('d', fixture.image('idle'), { backend: fixture.backend });
    await fixture.provisioner.destroy('d');
    await fixture.provisioner.pruneImages([]);
    assert.equal(readFileSync(join(rootfs, 'image'), 'utf8'), 'this is image\n');
    for (const path of layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
    // Only some types of images have one.
    if (config !== undefined) assert.ok(existsSync(config));
    for (const path of idle.layers) assert.ok(!existsSync(path), path);
    const before = fixture.source.registry.requests.length;
    await provisionIt(fixture, 'again');
    assert.equal(fixture.source.registry.requests.length, before, 'the image was forgotten');
    for (const id of ['c', 'again']) await fixture.provisioner.destroy(id);
    await fixture.provisioner.pruneImages([]);
    for (const path of layers) assert.ok(!existsSync(path), path);
  },
  'a container holds its layers although its tag has moved on': async (fixture) => {
    const { rootfs, layers } = await provisionIt(fixture, 'old');
    fixture.source.publish('image', [sampleLayer('moved')]);
    const moved = await fixture.provisioner.provision('new', fixture.image('image', { cached: false }), {
      backend: fixture.backend,
    });
    assert.notDeepEqual(moved.layers, layers);
    await fixture.provisioner.pruneImages([]);
    for (const path of layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
    assert.equal(readFileSync(join(rootfs, 'image'), 'utf8'), 'this is image\n');
  },
  'prune keeps the excluded images': async (fixture) => {
    const { layers } = await provisionIt(fixture, 'c');
    await fixture.provisioner.destroy('c');
    await fixture.provisioner.pruneImages([fixture.image('image')]);
    for (const path of layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
  },
  'an image in use is not removed, and the refusal names the container': async (fixture) => {
    const { layers } = await provisionIt(fixture, 'holder');
    await assert.rejects(fixture.remove(fixture.image('image')), { code: 'LARDER_IMAGE_IN_USE', message: /holder/ });
    for (const path of layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
    await fixture.provisioner.destroy('holder');
    await fixture.remove(fixture.image('image'));
    for (const path of layers) assert.ok(!existsSync(path), path);
    await assert.rejects(fixture.remove(fixture.image('image')), { code: 'LARDER_IMAGE_NOT_FOUND' });
  },
  'prune beside provision and destroy never breaks a container': async (fixture) => {
    fixture.publish();
    let busy = true;
    const pruning = (async () => {
      while (busy) await fixture.provisioner.pruneImages([]);
    })();
    try {
      for (let round = 0; round < 8; round++) {
        const ids = [`a${round}`, `b${round}`];
        const infos = await Promise.all(ids.map((id) => provisionIt(fixture, id)));
        for (const { rootfs } of infos) assert.equal(readFileSync(join(rootfs, 'image'), 'utf8'), 'this is image\n');
        await Promise.all(ids.map((id) => fixture.provisioner.destroy(id)));
      }
    } finally {
      busy = false;
      await pruning;
    }
  },
};
