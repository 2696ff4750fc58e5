/** Appc images that are here: what is lost is fetched again, what is shared is fetched once, and prune prunes. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LarderEvent } from '../../src/events.js';
import { type BuiltAci, buildAci } from '../../src/testing/aci-builder.js';
import { later, soon, until } from '../../src/testing/conformance/store-fixture.js';
import { AppcLab, imageOf } from '../helpers/appc-store.js';
import type { Route } from '../registry/appc-server.js';

const LABELS = { version: '1' };

function aciOf(name: string, needs: readonly BuiltAci[] = []): BuiltAci {
  const dependencies = needs.map((aci) => ({ imageName: aci.name, labels: aci.labels }));
  return buildAci({ name: `example.com/${name}`, labels: LABELS, files: { [name]: name }, dependencies });
}

/** The same, so much later. */
function slowly(aci: BuiltAci, ms: number): Route {
  return (_, response) => {
    setTimeout(() => response.writeHead(200, { 'content-length': aci.bytes.length }).end(aci.bytes), ms);
  };
}

describe('Appc images that are here', () => {
  let lab: AppcLab;
  const c = aciOf('c');
  const b = aciOf('b', [c]);
  const d = aciOf('d', [c]);
  const a = aciOf('a', [b, d]);

  beforeEach(async () => {
    lab = await AppcLab.start();
    lab.publish(a, b, c, d);
  });
  afterEach(async () => {
    try {
      assert.deepEqual(
        (await lab.findings(true)).filter(({ kind }) => kind === 'fault'),
        [],
      );
      await lab.prune();
      assert.deepEqual(await lab.findings(true), []);
    } finally {
      await lab[Symbol.asyncDispose]();
    }
  });

  test('of one that lost its tar only that one is fetched again', async () => {
    const info = await lab.get(a);
    rmSync(dirname(info.layers[1] ?? assert.fail()), { recursive: true });
    assert.deepEqual(await lab.get(a), info);
    assert.deepEqual(lab.counts(a, b, c, d), [1, 2, 1, 1]);
  });

  for (const damage of ['loses', 'has damaged'] as const) {
    const harm = (path: string): void => {
      rmSync(path);
      if (damage === 'has damaged') writeFileSync(path, 'not what it was', { mode: 0o400 });
    };
    test(`one that ${damage} its manifest is fetched again, and only that`, async () => {
      const info = await lab.get(a);
      const { appcMetadata, content } = await lab.assembly();
      const record = appcMetadata.get('appc:example.com/d:1', true, 'linux/amd64');
      harm(content.pathOf(record?.manifest ?? assert.fail()));
      assert.deepEqual(await lab.get(a), info);
      assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 2]);
    });

    test(`one that ${damage} the list of its images is made whole without a request`, async () => {
      const info = await lab.get(a);
      const { appcMetadata, content } = await lab.assembly();
      const record = appcMetadata.get('appc:example.com/a:1', true, 'linux/amd64');
      harm(content.pathOf(record?.config ?? assert.fail()));
      assert.deepEqual(await lab.get(a), info);
      assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 1]);
    });
  }

  test('recover names and forgets those that lost something, and keeps the others', async () => {
    const info = await lab.get(a);
    rmSync(dirname(info.layers[1] ?? assert.fail()), { recursive: true });
    const warnings: string[] = [];
    const onEvent = (event: LarderEvent): void => void (event.type === 'warning' && warnings.push(event.message));
    await (await lab.store()).recover({ onEvent });
    assert.deepEqual(warnings.map((text) => text.split(' ')[0]).sort(), [
      'appc:example.com/a:1',
      'appc:example.com/b:1',
    ]);
    assert.ok(
      warnings.every((text) => text.includes(basename(dirname(info.layers[1] ?? '')))),
      warnings.join(),
    );
    await lab.get(d);
    assert.deepEqual(await lab.get(a), info);
    // Their names are forgotten, too, so both are asked for.
    assert.deepEqual(lab.counts(a, b, c, d), [2, 2, 1, 1]);
  });

  test('prune really prunes (Mesos never did): all that nobody excluded, with its layers', async () => {
    const { layers } = await lab.get(a);
    await lab.prune();
    assert.deepEqual([...(await lab.assembly()).records()], []);
    for (const path of layers) assert.ok(!existsSync(dirname(path)), path);
    assert.deepEqual(readdirSync((await lab.assembly()).layout.gc), []);
  });

  test('prune keeps excluded ones with all that they are made of', async () => {
    await lab.get(a);
    await lab.prune([imageOf(b)]);
    const { layers } = await lab.get(b);
    assert.equal(layers.length, 2);
    assert.deepEqual(
      readdirSync(`${lab.root}/layers/sha256`).sort(),
      layers.map((path) => basename(dirname(path))).sort(),
    );
    assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 1]);
    await lab.prune([{ type: 'appc', name: b.name }]);
    assert.deepEqual([...(await lab.assembly()).records()], []);
  });

  test('a dry run tells what a prune then removes, and removes nothing', async () => {
    const { layers } = await lab.get(a);
    const removed: string[][] = [[], []];
    for (const [i, dryRun] of [true, false].entries()) {
      const onEvent = (event: LarderEvent): void => {
        if (event.type === 'removed' && (event.what === 'image' || event.what === 'layer'))
          removed[i]?.push(event.name);
      };
      if (dryRun) for (const path of layers) assert.ok(existsSync(dirname(path)), path);
      await lab.prune([imageOf(d)], new Set(), { dryRun, onEvent });
    }
    assert.equal(removed[0]?.length, 5);
    assert.deepEqual(removed[0]?.sort(), removed[1]?.sort());
  });

  test('prune keeps active layers although their images go', async () => {
    const { layers } = await lab.get(a);
    const [active = assert.fail(), idle = assert.fail()] = layers;
    await lab.prune([], new Set([active]));
    assert.ok(existsSync(dirname(active)));
    assert.ok(!existsSync(dirname(idle)));
    await lab.get(a);
    assert.deepEqual(lab.counts(a, b, d), [2, 2, 2]);
  });

  test('what is held is not pruned before it is given back', async () => {
    const held = await (await lab.store()).acquire(imageOf(a), 'copy');
    await lab.prune();
    for (const path of held.info.layers) assert.ok(existsSync(dirname(path)), path);
    await lab.get(a);
    assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 1]);
    await held[Symbol.asyncDispose]();
    await lab.prune();
    for (const path of held.info.layers) assert.ok(!existsSync(dirname(path)), path);
  });

  test('prune during a pull takes nothing of it', async () => {
    lab.route(c, slowly(c, 700));
    const pull = later(lab.get(a));
    await until(() => lab.counts(c)[0] === 1, 'the last one is asked for');
    await lab.prune();
    for (const path of (await pull).layers) assert.ok(existsSync(dirname(path)), path);
    assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 1]);
  });

  test('gets of one image share one pull; who cancels settles at once and disturbs nobody (Mesos fetched twice)', async () => {
    lab.route(c, slowly(c, 700));
    const store = await lab.store();
    const cancel = new AbortController();
    const impatient = later(store.get(imageOf(a), 'copy', { signal: cancel.signal }));
    const patient = [1, 2, 3].map(() => later(store.get(imageOf(a), 'copy')));
    await until(() => lab.counts(c)[0] === 1, 'the last one is asked for');
    cancel.abort();
    await soon(assert.rejects(impatient, { code: 'LARDER_ABORTED' }), 'the cancelled get', 500);
    for (const { layers } of await Promise.all(patient)) assert.equal(layers.length, 4);
    assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 1]);
  });

  test('when all who wait cancel, the pull ends, and nothing of it is in the way', async () => {
    lab.route(c, (_, response) => void response.writeHead(200, { 'content-length': 1000 }).write('x'));
    const store = await lab.store();
    const cancel = new AbortController();
    const gets = [1, 2].map(() => later(store.get(imageOf(a), 'copy', { signal: cancel.signal })));
    await until(() => lab.counts(c)[0] === 1, 'the last one is asked for');
    cancel.abort();
    await soon(Promise.all(gets.map((get) => assert.rejects(get, { code: 'LARDER_ABORTED' }))), 'the gets', 1000);
    lab.publish(c);
    assert.equal((await soon(lab.get(a), 'the next get')).layers.length, 4);
  });

  test('images that share others, pulled at once, fetch those once', async () => {
    lab.route(c, slowly(c, 300));
    await Promise.all([lab.get(b), lab.get(d), lab.get(c)]);
    assert.deepEqual(lab.counts(b, c, d), [1, 1, 1]);
  });

  test('an image that two processes want is downloaded once, though the first has yet to fetch what it needs', async () => {
    await lab.assembly();
    lab.route(a, slowly(a, 300));
    lab.route(c, slowly(c, 1500));
    const children = [lab.getInProcess(imageOf(a)), lab.getInProcess(imageOf(a))];
    for (const { ended } of children) {
      const { status, stderr } = await ended;
      assert.equal(status, 0, stderr);
    }
    assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 1]);
    assert.deepEqual(await lab.findings(true), []);
  });

  test('what a killed pull knew is not believed: the next asks again', async () => {
    await lab.assembly();
    lab.route(c, (_, response) => void response.writeHead(200, { 'content-length': 1000 }).write('x'));
    const child = lab.getInProcess(imageOf(a));
    await until(() => lab.counts(c)[0] === 1, 'the last one is asked for');
    child.kill();
    await child.ended;
    await sleep(10);
    lab.publish(c);
    const store = await (await lab.open()).appc();
    assert.equal((await store.get(imageOf(a), 'copy')).layers.length, 4);
    assert.deepEqual(lab.counts(a, b, c, d), [2, 2, 2, 2]);
  });
});
