/** Appc images on their way in: what is fetched, how often, and in which order it is stacked. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { parseAppcName } from '../../src/spec/appc-name.js';
import { type BuiltAci, buildAci } from '../../src/testing/aci-builder.js';
import { AppcLab, imageOf } from '../helpers/appc-store.js';

const VERSION = { version: '1' };

/** `NAME` needs the others; one file of its own. */
function aciOf(
  name: string,
  needs: readonly BuiltAci[] = [],
  more: Parameters<typeof buildAci>[0] | object = {},
): BuiltAci {
  const dependencies = needs.map((aci) => ({ imageName: aci.name, labels: aci.labels }));
  return buildAci({
    name: `example.com/${name}`,
    labels: VERSION,
    files: { [name]: `this is ${name}\n` },
    dependencies,
    ...more,
  });
}

describe('an Appc image', () => {
  let lab: AppcLab;

  beforeEach(async () => {
    lab = await AppcLab.start();
  });
  afterEach(async () => {
    try {
      assert.deepEqual(await lab.findings(true), []);
    } finally {
      await lab[Symbol.asyncDispose]();
    }
  });

  for (const compression of ['none', 'gzip', 'bzip2', 'xz'] as const) {
    test(`is stored as its tar when it comes with compression ${compression}${compression === 'gzip' ? '' : ' (Mesos took gzip only)'}`, async () => {
      const aci = aciOf('a', [], { compression, labels: { ...VERSION, how: compression } });
      lab.publish(aci);
      const { layers, appcManifest, appcImages } = await lab.get(aci);
      assert.deepEqual(
        layers.map((path) => readFileSync(join(dirname(path), 'layer.tar'))),
        [aci.tar],
      );
      assert.deepEqual(appcManifest, JSON.parse(Buffer.from(aci.manifest).toString()));
      assert.deepEqual(
        appcImages?.map(({ id, name }) => [id, name]),
        [[aci.id, aci.name]],
      );
    });
  }

  test('the diamond A→B→C, A→D→C gives [C, B, D, A], each fetched once, and the manifest of A (Mesos: [C, B, C, D, A], that of C)', async () => {
    const c = aciOf('c');
    const [b, d] = [aciOf('b', [c]), aciOf('d', [c])];
    const a = aciOf('a', [b, d]);
    lab.publish(a, b, c, d);
    const { layers, appcManifest, appcImages } = await lab.get(a);
    assert.deepEqual(
      appcImages?.map(({ name }) => name),
      [c, b, d, a].map(({ name }) => name),
    );
    assert.deepEqual(
      layers.map((path) => readFileSync(join(dirname(path), 'layer.tar'))),
      [c, b, d, a].map(({ tar }) => tar),
    );
    assert.equal(appcManifest?.['name'], a.name);
    assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 1]);
    // What it depends on is an image of its own now.
    assert.equal((await lab.get(d)).layers.length, 2);
    assert.deepEqual(lab.counts(a, b, c, d), [1, 1, 1, 1]);
  });

  test('that one depends on by its id and another by its name is fetched once', async () => {
    const c = aciOf('c');
    const b = aciOf('b', [], { dependencies: [{ imageName: c.name, imageID: c.id, labels: c.labels }] });
    const a = aciOf('a', [b, c], {
      dependencies: [
        { imageName: c.name, imageID: c.id },
        { imageName: c.name, labels: c.labels },
        { imageName: b.name, labels: b.labels },
      ],
    });
    lab.publish(a, b, c);
    lab.server.routes.set('/acis/example.com/c-latest-linux-amd64.aci', c.bytes);
    assert.equal((await lab.get(a)).layers.length, 3);
    assert.equal(lab.server.requests.filter((url) => url.includes('/c-')).length, 1);
  });

  test('in the store is answered without a request, also without a version (Mesos fetched it each time)', async () => {
    const aci = buildAci({ name: 'example.com/a', labels: { version: 'latest' }, files: { a: 'a' } });
    lab.publish(aci);
    for (const labels of [{}, { version: 'latest' }]) await lab.get({ type: 'appc', name: aci.name, labels });
    assert.deepEqual(lab.counts(aci), [1]);
  });

  test('that is asked for with labels in another order, or with the words of another tool, is the same', async () => {
    const aci = aciOf('a', [], { labels: { version: '1', os: 'linux', arch: 'amd64', channel: 'beta' } });
    lab.publish(aci);
    await lab.get({
      type: 'appc',
      name: aci.name,
      labels: { arch: 'x86_64', channel: 'beta', os: 'linux', version: '1' },
    });
    await lab.get({ type: 'appc', name: aci.name, labels: { channel: 'beta', version: '1' } });
    await lab.get(parseAppcName('appc:example.com/a,channel=beta,version=1'));
    assert.deepEqual(lab.counts(aci), [1]);
  });

  test('of each platform is an image of its own', async () => {
    const acis = ['amd64', 's390x'].map((arch) =>
      aciOf('a', [], { labels: { ...VERSION, os: 'linux', arch }, files: { a: arch } }),
    );
    lab.publish(...acis);
    for (const { labels, id } of acis) {
      const { appcImages } = await lab.get({
        type: 'appc',
        name: 'example.com/a',
        labels: VERSION,
        platform: `linux/${labels['arch']}`,
      });
      assert.deepEqual(
        appcImages?.map((image) => image.id),
        [id],
      );
    }
    await lab.prune([{ type: 'appc', name: 'example.com/a', labels: VERSION, platform: 'linux/s390x' }]);
    assert.deepEqual(
      [...(await lab.assembly()).records()].map(({ platform }) => platform),
      ['linux/s390x'],
    );
  });

  test('that names no machine is not the one that is asked for by its machine, whoever came first', async () => {
    const aci = aciOf('a');
    lab.publish(aci);
    await lab.get(aci);
    const strict = { ...VERSION, os: 'linux' };
    await assert.rejects(lab.get(aci, { labels: strict }), { code: 'LARDER_MANIFEST_INVALID', message: /no label os/ });
    assert.equal((await lab.get(aci, { platform: 'linux/amd64' })).layers.length, 1);
  });

  test('with cached: false is asked for again, with all that it depends on; the layers that stayed are kept', async () => {
    const [b, moved] = [aciOf('b'), aciOf('b', [], { files: { b: 'moved' } })];
    const a = aciOf('a', [b]);
    lab.publish(a, b);
    const before = await lab.get(a);
    lab.publish(moved);
    assert.deepEqual(await lab.get(a), before);
    const after = await lab.get(a, { cached: false });
    assert.deepEqual(lab.counts(a, b), [2, 2]);
    assert.equal(after.layers[1], before.layers[1]);
    assert.deepEqual(
      after.appcImages?.map(({ id }) => id),
      [moved.id, a.id],
    );
    assert.equal((await lab.assembly()).history.list('appc:example.com/b:1').length, 2);
    assert.equal((await lab.assembly()).history.list('appc:example.com/a:1').length, 1);
  });

  test('that an id names is never fetched again while it is here, not with cached: false, nor under another request', async () => {
    const c = aciOf('c');
    const a = aciOf('a', [], { dependencies: [{ imageName: c.name, imageID: c.id, labels: c.labels }] });
    lab.publish(a, c);
    await lab.get(a);
    for (const aci of [a, c]) await lab.get(aci, { id: aci.id, cached: false });
    assert.deepEqual(lab.counts(a, c), [1, 1]);
    const other = { type: 'appc', name: 'example.com/other', labels: VERSION, id: a.id } as const;
    await assert.rejects(lab.get(other), { code: 'LARDER_MANIFEST_INVALID', message: /its name is example.com\/a/ });
    assert.equal(lab.server.requests.length, 2);
  });

  test('whose record is gone is found by its id in an image that is made of it', async () => {
    const c = aciOf('c');
    const a = aciOf('a', [c]);
    lab.publish(a, c);
    await lab.get(a);
    await lab.prune([imageOf(a)]);
    const metadata = (await lab.assembly()).appcMetadata;
    assert.deepEqual(
      [...metadata.list()].map(({ reference }) => reference),
      ['appc:example.com/a:1'],
    );
    const { layers } = await lab.get(c, { id: c.id });
    assert.deepEqual(layers, (await lab.get(a)).layers.slice(0, 1));
    assert.deepEqual(lab.counts(a, c), [1, 1]);
  });

  test('shows of what it depends on only what its whitelist names, and the list is kept as long as the image', async () => {
    const c = aciOf('c', [], { files: { 'etc/one': '1', 'etc/two': '2' } });
    const a = aciOf('a', [c], { files: { a: 'a', b: 'b' }, pathWhitelist: ['/etc/one', '/a'] });
    lab.publish(a, c);
    const { layers } = await lab.get(a);
    assert.ok(
      layers.every((path) => /\/rootfs@[0-9a-f]{64}$/.test(path)),
      layers.join(),
    );
    assert.match((await lab.get(c)).layers[0] ?? '', /\/rootfs$/);
    await lab.prune([imageOf(a)]);
    const assembly = await lab.assembly();
    await using pulled = await assembly.pulledImage(await (await assembly.appc()).acquire(imageOf(a), 'copy'));
    const names = async (path: string): Promise<string[]> => (await pulled.fs.readdir(path)).map(({ name }) => name);
    assert.deepEqual([await names('/'), await names('/etc')], [['a', 'etc'], ['one']]);
    await lab.get(a);
    assert.deepEqual(lab.counts(a, c), [1, 1]);
  });

  test('tells of each image by its text: the pull, what came, and what was written', async () => {
    const c = aciOf('c');
    const a = aciOf('a', [c]);
    lab.publish(a, c);
    await lab.get(a);
    const told = (type: string): string[] =>
      lab.events.flatMap((event) => (event.type === type && 'layer' in event ? [event.layer] : []));
    const [first, second] = ['appc:example.com/a:1', 'appc:example.com/c:1'];
    assert.deepEqual(told('layer-start'), [first, second]);
    assert.deepEqual(told('layer-done'), [first, second]);
    const resolved = lab.events.filter((event) => event.type === 'resolved').map(({ digest }) => digest);
    assert.deepEqual(
      resolved,
      [a, c].map(({ id }) => id.replace('-', ':')),
    );
    assert.deepEqual(lab.events.at(-1), { type: 'commit', reference: first, imageId: a.id });
  });

  test('that cannot be run is a warning; with docker_ignore_runtime nobody looks', async () => {
    const aci = aciOf('a', [], {
      app: { exec: ['/bin/x'], user: '99999999999', group: '0' },
    });
    lab.publish(aci);
    const { runtime, layers } = await lab.get(aci);
    assert.equal(runtime, undefined);
    assert.equal(layers.length, 1);
    assert.match(lab.warnings().join(), /can be mounted but not run/);
    const good = aciOf('good', [], { app: { exec: ['/bin/x', 'y'], user: '7', group: '8' } });
    lab.publish(good);
    assert.deepEqual((await lab.get(good)).runtime?.cmd, ['y']);
    const ignoring = await (await lab.open({ docker_ignore_runtime: true })).appc();
    assert.equal((await ignoring.get(imageOf(good), 'copy')).runtime, undefined);
  });
});
