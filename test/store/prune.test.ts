import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Larder } from '../../src/larder.js';
import { bindMount, unmount } from '../../src/linux/mount.js';
import { StoreLock } from '../../src/linux/store-lock.js';
import { parseDiffId } from '../../src/spec/digest.js';
import { startNode, whileRuns } from '../helpers/child.js';
import { findingsOf } from '../helpers/docker-store.js';
import { needsRoot } from '../helpers/temporary.js';
import { faultsOf, layerOf, openStore, type PruneStore, removedBy, withStore } from './prune-store.js';

const CHILD = fileURLToPath(new URL('./prune-child.js', import.meta.url));

/** `kept` and `gone` share their base; nothing holds either when it resolves. */
async function pullTwo({ source, larder }: PruneStore) {
  const base = layerOf('base');
  const kept = source.publish('kept', [base, layerOf('kept')]);
  const gone = source.publish('gone', [base, layerOf('gone')]);
  for (const name of ['kept', 'gone']) await (await larder.pull(source.reference(name)))[Symbol.asyncDispose]();
  return { kept, gone, names: { kept: source.reference('kept'), gone: source.reference('gone') } };
}

test('a prune that is killed before any step leaves no fault, and the next prune takes everything', () =>
  withStore(async (store) => {
    const { names } = await pullTwo(store);
    await store.larder.pin(names.kept);
    await store.larder.close();
    const copy = async (name: string): Promise<string> => {
      await cp(store.root, join(store.directory, name), { recursive: true });
      return join(store.directory, name);
    };
    const whole = await startNode(CHILD, [await copy('whole'), 'prune']).ended;
    const steps = Number(whole.stdout);
    assert.ok(steps >= 10, `${whole.stdout}${whole.stderr}`);
    for (let step = 1; step <= steps; step++) {
      const root = await copy(`step-${step}`);
      assert.equal((await startNode(CHILD, [root, 'prune', String(step)]).ended).status, 'SIGKILL', `step ${step}`);
      const assembly = await openStore(root);
      await using larder = new Larder(assembly);
      assert.deepEqual(await faultsOf(assembly), [], `before step ${step}`);
      await larder.prune();
      assert.deepEqual(await findingsOf(assembly), [], `after the next prune, before step ${step}`);
      assert.deepEqual(
        larder.images().map(({ reference }) => reference.split('/').at(-1)),
        ['kept:latest'],
      );
      assert.equal(readdirSync(assembly.layout.layers).length, 2);
    }
  }));

test('prune tells the bytes of layers with their indexes, of merged images and of documents, and they are what went', () =>
  withStore(async (store) => {
    const { names, gone } = await pullTwo(store);
    const before = await store.larder.df();
    const alone = before.images.find(({ reference }) => reference.includes('/gone:'))?.aloneBytes ?? assert.fail();
    const { removed } = await removedBy((onEvent) => store.larder.prune({ exclude: [names.kept], onEvent }));
    const after = await store.larder.df();
    const weigh = (...kinds: string[]): number =>
      removed.filter(({ what }) => kinds.includes(what)).reduce((sum, { bytes }) => sum + bytes, 0);
    assert.equal(weigh('layer', 'derived'), alone);
    assert.equal(weigh('layer', 'blob', 'derived'), before.storeBytes - after.storeBytes);
    const layers = removed.filter(({ what }) => what === 'layer').map(({ name }) => name);
    assert.deepEqual(layers, [gone.layers[1]?.diffId]);
  }));

test('a removal answers when the image is out of the store, and the store closes when the space is free', () =>
  withStore(async (store) => {
    const { names, gone } = await pullTwo(store);
    const report = await store.larder.remove(names.gone);
    assert.deepEqual(report.layers, [gone.layers[1]?.diffId]);
    assert.ok(report.bytes > 0);
    assert.equal(readdirSync(join(store.root, 'layers', 'sha256')).length, 2);
    await store.larder.close();
    assert.deepEqual(readdirSync(join(store.root, 'gc')), []);
  }));

test('a check does not tell of what a removal of the same process is deleting', () =>
  withStore(async (store) => {
    const { names } = await pullTwo(store);
    const slow = join(store.root, 'gc', 'slow');
    mkdirSync(slow);
    for (let i = 0; i < 2000; i++) writeFileSync(join(slow, String(i)), '');
    await store.larder.remove(names.gone);
    assert.deepEqual(await findingsOf(store.assembly), []);
  }));

test(
  'what a removal cannot delete is told before the store is closed, and the next sweep takes it',
  { skip: needsRoot },
  () =>
    withStore(async (store) => {
      const { names } = await pullTwo(store);
      const stuck = join(store.root, 'gc', 'stuck');
      mkdirSync(join(stuck, 'point'), { recursive: true });
      bindMount({ source: stuck, target: join(stuck, 'point') });
      const { warnings } = await removedBy(async (onEvent) => {
        await store.larder.remove(names.gone, { onEvent });
        await store.larder.close();
      });
      unmount(join(stuck, 'point'));
      assert.match(warnings.join(), /stuck/);
      await using larder = new Larder(await openStore(store.root));
      await larder.prune({ exclude: [names.kept] });
      assert.deepEqual(readdirSync(join(store.root, 'gc')), []);
    }),
);

test('what cannot be moved is told and stays, and the rest goes', { skip: needsRoot }, (t) =>
  withStore(async (store) => {
    const { gone, kept } = await pullTwo(store);
    const stuck = store.assembly.layout.layer(gone.layers[1]?.diffId ?? assert.fail());
    if (spawnSync('chattr', ['+i', stuck]).status !== 0) return t.skip('no immutable files here');
    try {
      const { warnings, names } = await removedBy((onEvent) => store.larder.prune({ onEvent }));
      assert.equal(warnings.length, 1);
      assert.match(warnings[0] ?? '', /retire: .*layers/);
      for (const { diffId } of kept.layers) assert.ok(names.includes(`layer ${diffId}`));
      assert.deepEqual(readdirSync(store.assembly.layout.layers), [stuck.split('/').at(-1)]);
      assert.deepEqual(await faultsOf(store.assembly), []);
    } finally {
      spawnSync('chattr', ['-i', stuck]);
    }
    await store.larder.prune();
    assert.deepEqual(await findingsOf(store.assembly), []);
  }),
);

test('what cannot be deleted is told and waits in gc/, and the rest goes', { skip: needsRoot }, (t) =>
  withStore(async (store) => {
    const { gone } = await pullTwo(store);
    const layer = gone.layers[1]?.diffId ?? assert.fail();
    if (spawnSync('chattr', ['+i', store.assembly.layout.layerTar(layer)]).status !== 0)
      return t.skip('no immutable files here');
    try {
      const { warnings } = await removedBy((onEvent) => store.larder.prune({ onEvent }));
      assert.equal(warnings.length, 1);
      const [left, ...others] = readdirSync(store.assembly.layout.gc);
      assert.deepEqual(others, []);
      spawnSync('chattr', ['-i', join(store.assembly.layout.gc, left ?? '', 'layer.tar')]);
    } finally {
      spawnSync('chattr', ['-R', '-i', store.assembly.layout.gc]);
    }
    await store.larder.prune();
    assert.deepEqual(readdirSync(store.assembly.layout.gc), []);
  }),
);

test('active layers survive every sweep until a prune that is not told them', () =>
  withStore(async ({ larder, assembly, source }) => {
    const built = source.publish('a', [layerOf('active'), layerOf('idle')]);
    await (await larder.pull(source.reference('a')))[Symbol.asyncDispose]();
    const [active = assert.fail(), idle = assert.fail()] = built.layers.map(({ diffId }) =>
      assembly.layout.layer(diffId),
    );
    const docker = await assembly.docker();
    const lock = new StoreLock(assembly.layout);
    const prune = async (paths: readonly string[]): Promise<void> => {
      {
        using _exclusive = await lock.exclusive();
        await docker.prune([], new Set(paths));
      }
      await (await assembly.retention()).sweep();
    };
    await prune([active]);
    assert.deepEqual([existsSync(active), existsSync(idle)], [true, false]);
    source.publish('b', [layerOf('b')]);
    await (await larder.pull(source.reference('b')))[Symbol.asyncDispose]();
    await larder.remove(source.reference('b'));
    assert.ok(existsSync(active));
    assert.equal((await larder.why(active))[0]?.holders[0]?.kind, 'active');
    await prune([]);
    assert.ok(!existsSync(active));
  }));

test('a layer that is pulled again between the mark and the sweep is not fetched, and stays', () =>
  withStore(async (store) => {
    const { names, gone } = await pullTwo(store);
    const { assembly, larder, source } = store;
    {
      using _exclusive = await new StoreLock(assembly.layout).exclusive();
      await (await assembly.docker()).prune([], new Set());
    }
    assert.deepEqual(larder.images(), []);
    const before = source.requests('layer').length;
    await (await larder.pull(names.gone))[Symbol.asyncDispose]();
    assert.equal(source.requests('layer').length, before);
    await (await assembly.retention()).sweep();
    assert.deepEqual(await findingsOf(assembly), []);
    assert.deepEqual(readdirSync(assembly.layout.layers).length, gone.layers.length);
  }));

test('a layer is adopted anew while its old tar, which has no record, waits for its turn', () =>
  withStore(async ({ larder, assembly, source }) => {
    const built = source.publish('a', [layerOf('again')]);
    const diffId = built.layers[0]?.diffId ?? assert.fail();
    mkdirSync(assembly.layout.layer(diffId), { recursive: true });
    writeFileSync(assembly.layout.layerTar(diffId), 'left by a turn that was cut short');
    await using image = await larder.pull(source.reference('a'));
    await larder.prune();
    assert.equal((await image.fs.readFile('/again')).length, 10_000);
    assert.deepEqual(await faultsOf(assembly), []);
  }));

test('prune of one type takes no layer, document or derived file of the other', () =>
  withStore(async (store) => {
    await pullTwo(store);
    const { larder, assembly } = store;
    await (await larder.pull('appc:example.com/app:1'))[Symbol.asyncDispose]();
    for (const type of ['docker', 'appc'] as const) {
      const before = larder.images().filter((image) => image.type !== type);
      assert.ok(before.length > 0);
      {
        using _exclusive = await new StoreLock(assembly.layout).exclusive();
        await (await assembly.stores()).get(type)?.prune([], new Set());
      }
      await (await assembly.retention()).sweep();
      assert.deepEqual(larder.images(), before);
      assert.deepEqual(await findingsOf(assembly), []);
      await pullTwo(store);
    }
  }));

test('a pinned image stays until prune --all, is pulled again pinned, and can be removed by name', () =>
  withStore(async (store) => {
    const { names } = await pullTwo(store);
    const { larder } = store;
    assert.equal(await larder.pin(names.kept), true);
    assert.equal(await larder.pin(names.kept), false);
    const left = async (): Promise<string[]> =>
      larder.images().map(({ reference, pinned }) => `${reference.split('/').at(-1)} ${pinned}`);
    await (await larder.pull(names.kept, { cached: false }))[Symbol.asyncDispose]();
    await larder.prune();
    assert.deepEqual(await left(), ['kept:latest true']);
    await larder.recover([]);
    assert.deepEqual(await left(), ['kept:latest true']);
    await larder.prune({ all: true });
    assert.deepEqual(await left(), []);
    await (await larder.pull(names.kept))[Symbol.asyncDispose]();
    await larder.pin(names.kept);
    await larder.remove(names.kept);
    assert.deepEqual(await left(), []);
    await assert.rejects(larder.pin(names.kept), { code: 'LARDER_IMAGE_NOT_FOUND' });
  }));

test('a dry run tells what prune and prune --all then take, and waits for no lock', () =>
  withStore(async (store) => {
    const { names } = await pullTwo(store);
    const { larder, assembly } = store;
    await (await larder.pull('appc:example.com/app:1'))[Symbol.asyncDispose]();
    for (const request of [{ exclude: [names.kept] }, { all: true }]) {
      const held = await new StoreLock(assembly.layout).exclusive();
      const told = await removedBy((onEvent) => larder.prune({ ...request, dryRun: true, onEvent }));
      held.release();
      const done = await removedBy((onEvent) => larder.prune({ ...request, onEvent }));
      assert.deepEqual(told.names, done.names);
      assert.ok(told.names.length > 3);
    }
    assert.deepEqual(larder.images(), []);
  }));

test(
  'what is made from layers goes with prune --all where no container uses it, and is made again',
  { skip: needsRoot },
  () =>
    withStore(async (store) => {
      const { names } = await pullTwo(store);
      const { larder, assembly, source } = store;
      await larder.provision(names.kept, { id: 'c', backend: 'overlay' });
      await larder.pin(names.gone);
      const chains = join(assembly.layout.derived, 'chains');
      const before = readdirSync(chains).filter((name) => name !== '.lock');
      await larder.prune({ all: true, exclude: [names.gone] });
      assert.deepEqual(
        readdirSync(chains).filter((name) => name !== '.lock'),
        before,
      );
      await larder.destroy('c');
      await larder.prune({ all: true, exclude: [names.gone] });
      assert.deepEqual(
        readdirSync(chains).filter((name) => name !== '.lock'),
        [],
      );
      const requests = source.registry.requests.length;
      await larder.provision(names.gone, { id: 'd', backend: 'overlay' });
      await larder.destroy('d');
      assert.equal(source.registry.requests.length, requests);
      assert.deepEqual(await faultsOf(assembly), []);
    }),
);

test(
  'sixteen processes prune and provision on one store: all of them get on, and nothing is lost',
  { skip: needsRoot },
  () =>
    withStore(async (store) => {
      const { names } = await pullTwo(store);
      await store.larder.pin(names.kept);
      const rounds: number[] = [];
      const children = Array.from({ length: 16 }, (_, i) => {
        const child = startNode(CHILD, [store.root, 'loop', i % 4 === 0 ? 'prune' : 'provision', `c${i}`, names.kept]);
        rounds.push(0);
        child.process.stdout?.on('data', (text: string) => {
          rounds[i] = (rounds[i] ?? 0) + text.split('\n').length - 1;
        });
        return child;
      });
      // Nobody ends before all have got on twice; whoever starves is killed after his two minutes.
      await Promise.all(children.map((child, i) => whileRuns(child, () => (rounds[i] ?? 0) >= 2)));
      for (const child of children) child.kill('SIGTERM');
      for (const { status, stderr } of await Promise.all(children.map((child) => child.ended)))
        assert.equal(status, 0, stderr);
      assert.equal(store.source.requests('layer').length, 3);
      await store.larder.prune();
      assert.deepEqual(await findingsOf(store.assembly), []);
    }),
);

test('a layer that is derived from is known by its beginning, its path and the digest that it came as', () =>
  withStore(async (store) => {
    const { kept, names } = await pullTwo(store);
    const { larder, assembly } = store;
    const [base = assert.fail(), top = assert.fail()] = kept.layers;
    const path = assembly.layout.layerTar(base.diffId);
    for (const name of [base.diffId, base.diffId.slice(7), base.diffId.slice(7, 19), path, base.digest]) {
      const layer = (await larder.why(name)).find(({ what }) => what === 'layer');
      assert.equal(layer?.name, base.diffId);
      assert.equal(layer?.holders.length, 2);
    }
    await larder.remove(names.gone);
    await using held = await larder.open(names.kept);
    const [config] = await larder.why(held.record.config);
    assert.deepEqual(
      config?.holders.map(({ kind }) => kind),
      ['image', 'lease'],
    );
    await held[Symbol.asyncDispose]();
    const garbage = parseDiffId(`sha256:${'7'.repeat(64)}`);
    mkdirSync(assembly.layout.layer(garbage));
    assert.equal((await larder.why(garbage))[0]?.verdict, 'garbage');
    assert.deepEqual(await larder.why('0'.repeat(64)), []);
    await assert.rejects(larder.why('../../etc/passwd'), { code: 'LARDER_REQUEST_INVALID' });
    assert.equal((await larder.why(top.diffId))[0]?.verdict, 'held');
  }));
