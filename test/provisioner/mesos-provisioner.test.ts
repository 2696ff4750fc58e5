/**
 * Counterparts of Mesos's own tests of its provisioner (src/tests/containerizer), by their names, and of what is known to
 * be wrong with it. Images are Docker's where the type does not matter to the case; Appc's own cases are with its store.
 */
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { Assembly } from '../../src/assemble.js';
import type { BackendName } from '../../src/backends/backend.js';
import { configOf } from '../../src/config.js';
import type { LarderEvent } from '../../src/events.js';
import type { ProvisionerFixture } from '../../src/testing/conformance/provisioner.js';
import { namesOf, provisionIt, requireNothing } from '../../src/testing/conformance/provisioner-fixture.js';
import { later, soon, until } from '../../src/testing/conformance/store-fixture.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { provisionerFixture } from '../helpers/provisioner.js';
import { needsRoot } from '../helpers/temporary.js';

let fixture: ProvisionerFixture;

const over = (backend: BackendName): void => {
  beforeEach(async () => {
    fixture = await provisionerFixture(backend);
  });
  afterEach(() => fixture.dispose());
};

describe('Mesos, with copies', () => {
  over('copy');

  test('ProvisionerAppcTest.Recover: a new provisioner knows the container, and a second one of the image is another', async () => {
    const first = await provisionIt(fixture, 'a');
    const restarted = { ...fixture, provisioner: await fixture.open() };
    await restarted.provisioner.recover(['a']);
    const second = await provisionIt(restarted, 'b');
    assert.notEqual(first.rootfs, second.rootfs);
    for (const { rootfs } of [first, second]) assert.ok(existsSync(join(rootfs, 'image')));
    for (const id of ['a', 'b']) assert.equal(await restarted.provisioner.destroy(id), true);
    await requireNothing(restarted);
  });

  test('ProvisionerAppcTest.RecoverNestedContainer: both are known, and the child goes before its parent', async () => {
    for (const id of ['parent', 'parent/child']) await provisionIt(fixture, id);
    const restarted = await fixture.open();
    await restarted.recover(['parent', 'parent/child']);
    assert.deepEqual(await namesOf(fixture), ['parent', 'parent/child']);
    assert.equal(await restarted.destroy('parent/child'), true);
    assert.equal(await restarted.destroy('parent'), true);
    await requireNothing(fixture);
  });

  test('ProvisionerAppcTest.RecoverNestedContainerNoParentImage: a parent without an image is one by its child', async () => {
    await provisionIt(fixture, 'parent/child');
    const restarted = await fixture.open();
    await restarted.recover(['parent', 'parent/child']);
    assert.deepEqual(await namesOf(fixture), ['parent/child']);
    assert.equal(await restarted.destroy('parent'), true);
    await requireNothing(fixture);
    // Of its own Mesos remembers a parent; here it is one as long as something is nested in it.
    assert.equal(await restarted.destroy('parent'), false);
  });

  test('MesosContainerizerProvisionerTest.ProvisionFailed: destroy works after a provision that failed', async () => {
    const provision = fixture.provisioner.provision('c', fixture.image('nowhere'), { backend: 'copy' });
    await assert.rejects(provision, { code: 'LARDER_IMAGE_NOT_FOUND' });
    assert.equal(await soon(fixture.provisioner.destroy('c'), 'the destroy'), false);
    const restore = await fixture.breakImage();
    await assert.rejects(provisionIt(fixture, 'c'), { code: 'LARDER_LAYER_CORRUPT' });
    assert.equal(await soon(fixture.provisioner.destroy('c'), 'the destroy'), false);
    await restore();
    await requireNothing(fixture);
  });

  test('MesosContainerizerProvisionerTest.ROOT_INTERNET_CURL_DestroyWhileProvisioning: the provision ends at once, destroy comes after its backend', async () => {
    fixture.publish();
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 10 } : undefined));
    const events: string[] = [];
    const onEvent = ({ type }: LarderEvent): number => events.push(type);
    const provision = later(provisionIt(fixture, 'c', { onEvent }));
    await until(() => fixture.source.requests('layer').length > 0, 'the layer is asked for');
    assert.equal(await soon(fixture.provisioner.destroy('c'), 'the destroy', 1000), true);
    await assert.rejects(soon(provision, 'the provision', 1000), { code: 'LARDER_ABORTED' });
    assert.ok(!events.includes('mounted'));
    await requireNothing(fixture);
  });

  test('MesosContainerizerProvisionerTest.IsolatorCleanupBeforePrepare: what was never made is not taken down', async () => {
    fixture.publish();
    fixture.source.setFault(({ kind }) => (kind === 'manifest' ? { kind: 'stall', after: 0 } : undefined));
    const events: string[] = [];
    const onEvent = ({ type }: LarderEvent): number => events.push(type);
    const provision = later(provisionIt(fixture, 'c', { onEvent }));
    await until(() => fixture.source.requests('manifest').length > 0, 'the manifest is asked for');
    await fixture.provisioner.destroy('c', { onEvent });
    await assert.rejects(provision, { code: 'LARDER_ABORTED' });
    assert.ok(!events.includes('destroyed'));
    await requireNothing(fixture);
  });

  test('flaw 11: a destroy of nested containers and a prune that waits between them do not wait for each other', async () => {
    await provisionIt(fixture, 'holder');
    for (let round = 0; round < 4; round++) {
      for (const id of ['a', 'a/b', 'a/c', 'a/c/d']) await provisionIt(fixture, id);
      const all = [
        fixture.provisioner.destroy('a'),
        fixture.provisioner.pruneImages([]),
        provisionIt(fixture, `r${round}`),
      ];
      await soon(Promise.all(all), 'destroy, prune and provision');
    }
  });

  test('flaw 11: a prune beside a pull that hangs keeps no container waiting', async () => {
    const { rootfs } = await provisionIt(fixture, 'warm');
    fixture.source.publish('slow', [sampleLayer('slow')]);
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 10 } : undefined));
    const cancel = new AbortController();
    const asked = fixture.source.requests('layer').length;
    const slow = later(
      fixture.provisioner.provision('slow', fixture.image('slow'), { signal: cancel.signal, backend: 'copy' }),
    );
    await until(() => fixture.source.requests('layer').length > asked, 'the layer is asked for');
    await soon(fixture.provisioner.pruneImages([]), 'the prune', 5000);
    await soon(provisionIt(fixture, 'other'), 'the provision', 5000);
    assert.equal(await soon(fixture.provisioner.destroy('other'), 'the destroy', 5000), true);
    assert.ok(existsSync(rootfs));
    cancel.abort();
    await assert.rejects(slow, { code: 'LARDER_ABORTED' });
  });

  test('flaw 12: two provisioners over one store never give one name twice, and prune spares what the other one made', async () => {
    fixture.publish();
    const other = await fixture.open('another owner');
    const both = [fixture.provisioner, other].map((each) =>
      each.provision('c', fixture.image('image'), { backend: 'copy' }),
    );
    const outcomes = await Promise.allSettled(both);
    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    await other.provision('theirs', fixture.image('image'), { backend: 'copy' });
    await fixture.provisioner.destroy('c');
    await fixture.provisioner.pruneImages([]);
    const [claim = assert.fail()] = (await fixture.provisioner.list()).flatMap(({ images }) => images);
    assert.equal(readFileSync(join(claim.rootfs, 'image'), 'utf8'), 'this is image\n');
    const info = await other.provision('again', fixture.image('image'), { backend: 'copy' });
    for (const path of [...info.layers.map((layer) => join(layer, 'layer.tar')), info.config ?? '']) {
      assert.ok(existsSync(path), path);
    }
  });

  test('flaw 12: of several images of a container the first is protected like the last, and their configs', async () => {
    fixture.publish();
    const names = ['one', 'two', 'three'];
    for (const name of names) fixture.source.publish(name, [sampleLayer(name)]);
    const volumes = names.map((name) => ({ name, image: fixture.image(name) }));
    const info = await provisionIt(fixture, 'c', { volumes });
    await fixture.provisioner.pruneImages([]);
    for (const { layers, config } of [info, ...info.volumes]) {
      for (const path of [...layers, config ?? '']) assert.ok(existsSync(path), path);
    }
  });

  test('flaw 21: a store that is opened under another spelling of its path protects the same layers', async () => {
    const { rootfs, layers } = await provisionIt(fixture, 'c');
    const root = join(rootfs, '../../..');
    const alias = join(root, '../alias');
    symlinkSync(root, alias);
    for (const spelling of [alias, `${root}/../${root.split('/').at(-1)}//`]) {
      const assembly = await Assembly.open(configOf({ root: spelling, owner: 'suite' }));
      try {
        const provisioner = await assembly.provisioner();
        await provisioner.recover(['c']);
        await provisioner.pruneImages([]);
        for (const layer of layers) assert.ok(existsSync(join(layer, 'layer.tar')), spelling);
      } finally {
        await assembly.close();
      }
    }
  });
});

describe('Mesos, with mounts', { skip: needsRoot }, () => {
  over('erofs');

  for (const id of ['c', 'parent/child']) {
    const name = id === 'c' ? 'ROOT_Provision' : 'ROOT_ProvisionNestedContainer';
    test(`ProvisionerAppcTest.${name}: one read-only root filesystem, and nothing of it after destroy`, async () => {
      const { rootfs, backend } = await provisionIt(fixture, id, { backend: 'bind' });
      assert.equal(backend, 'bind');
      assert.deepEqual(fixture.state().mounts, [rootfs]);
      assert.throws(() => writeFileSync(join(rootfs, 'x'), ''), { code: 'EROFS' });
      assert.equal(await fixture.provisioner.destroy(id), true);
      await requireNothing(fixture);
    });
  }

  for (const backend of ['erofs', 'overlay', 'copy'] as const) {
    test(`ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_RootfsCleanup (${backend}, MESOS-9196): a file held open keeps nothing`, async () => {
      const { rootfs } = await provisionIt(fixture, 'c', { backend });
      const held = openSync(join(rootfs, 'image'), 'r');
      try {
        assert.equal(await fixture.provisioner.destroy('c'), true);
        assert.ok(!existsSync(rootfs));
        await requireNothing(fixture);
      } finally {
        closeSync(held);
      }
    });
  }

  test('ProvisionerDockerTest.ROOT_RecoverNestedOnReboot: an unknown nested container leaves nothing of its parent either', async () => {
    const { rootfs } = await provisionIt(fixture, 'parent/child');
    fixture.reboot?.();
    await (await fixture.open()).recover([]);
    assert.deepEqual(readdirSync(join(rootfs, '../..')), []);
    await requireNothing(fixture);
  });

  test('VolumeImageIsolatorTest.ROOT_ImageInVolumeWithoutRootFilesystem: volumes alone', async () => {
    fixture.publish();
    const volumes = [{ name: 'rootfs', image: fixture.image('image'), readOnly: false }];
    const info = (await fixture.provisioner.provisionVolumes?.('c', { volumes })) ?? assert.fail();
    const [volume = assert.fail()] = info.volumes;
    assert.equal(readFileSync(join(volume.rootfs, 'image'), 'utf8'), 'this is image\n');
    writeFileSync(join(volume.rootfs, 'file'), 'x');
    assert.equal(await fixture.provisioner.destroy('c'), true);
    await requireNothing(fixture);
  });

  test('VolumeImageIsolatorTest.ROOT_ImageInVolumeWithRootFilesystem: a volume beside a root filesystem, nested and not', async () => {
    fixture.source.publish('volume', [sampleLayer('volume')]);
    for (const id of ['parent', 'parent/child']) {
      const info = await provisionIt(fixture, id, { volumes: [{ name: 'v', image: fixture.image('volume') }] });
      assert.ok(existsSync(join(info.rootfs, 'image')));
      assert.ok(existsSync(join(info.volumes[0]?.rootfs ?? '', 'volume')));
    }
    assert.equal(await fixture.provisioner.destroy('parent'), true);
    await requireNothing(fixture);
  });

  test('VolumeImageIsolatorTest.ROOT_ReadOnlyVolumeWithoutRootFilesystem: writing fails, whatever the backend', async () => {
    fixture.publish();
    const image = fixture.image('image');
    const volumes = [
      { name: 'default', image },
      ...(['erofs', 'overlay', 'copy', 'bind'] as const).map((backend) => ({ name: backend, image, backend })),
    ];
    const info = (await fixture.provisioner.provisionVolumes?.('c', { volumes })) ?? assert.fail();
    for (const { name, rootfs } of info.volumes) {
      assert.throws(() => writeFileSync(join(rootfs, 'file'), 'x'), { code: 'EROFS' }, name);
    }
    assert.deepEqual(info.ephemeralVolumes, []);
  });

  test('6.11: what all writable root filesystems take is reported, also of nested containers, and nothing else', async () => {
    fixture.publish();
    const image = fixture.image('image');
    const volumes = [
      { name: 'rw', image, readOnly: false },
      { name: 'ro', image },
    ];
    const info = await provisionIt(fixture, 'parent/child', { volumes });
    const directory = join(info.rootfs, '..');
    const upper = [directory, join(directory, 'volumes/rw')].flatMap((path) =>
      ['upper', 'work'].map((name) => join(path, name)),
    );
    assert.deepEqual(info.ephemeralVolumes, upper);
    writeFileSync(join(info.rootfs, 'written'), 'x');
    assert.ok(existsSync(join(upper[0] ?? '', 'written')));
  });

  test('flaw 22: each container may have a backend of its own, on one store', async () => {
    const backends = ['erofs', 'overlay', 'copy', 'bind'] as const;
    for (const backend of backends) await provisionIt(fixture, backend, { backend });
    await fixture.provisioner.recover([...backends]);
    for (const { images } of await fixture.provisioner.list()) {
      for (const { rootfs } of images) assert.equal(readFileSync(join(rootfs, 'image'), 'utf8'), 'this is image\n');
    }
    for (const backend of backends) assert.equal(await fixture.provisioner.destroy(backend), true);
    await requireNothing(fixture);
  });
});
