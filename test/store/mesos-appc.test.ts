/** The cases of Mesos's Appc tests, by their names there (src/tests/containerizer/provisioner_appc_tests.cpp). */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Provisioner } from '../../src/provisioner.js';
import { parseAppcManifest } from '../../src/spec/appc-manifest.js';
import { aciFileName, buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { file } from '../../src/testing/tar-builder.js';
import { belowRootfs } from '../helpers/aci-source.js';
import { AppcLab, imageOf } from '../helpers/appc-store.js';
import { CommandHome } from '../helpers/command.js';
import { needsRoot } from '../helpers/temporary.js';
import { programs, RUN_NEEDS } from '../mesos/programs.js';

const ACI = buildAci({ name: 'example.com/image', labels: { version: 'latest' }, files: { 'tmp/test': 'test\n' } });
const IMAGE = imageOf(ACI);

describe('Mesos, Appc', () => {
  let lab: AppcLab;

  beforeEach(async () => {
    lab = await AppcLab.start();
    lab.publish(ACI);
  });
  afterEach(async () => {
    try {
      const provisioner = await provisionerOf(lab);
      for (const { container } of provisioner.list()) await provisioner.destroy(container);
      assert.deepEqual(await lab.findings(true), []);
    } finally {
      await lab[Symbol.asyncDispose]();
    }
  });

  test('AppcStoreTest.Recover: a store that is opened again answers the layer, by its real path, and asks nobody', async () => {
    const { layers } = await lab.get(ACI);
    const again = await (await lab.open()).appc();
    await again.recover();
    assert.deepEqual((await again.get(IMAGE, 'copy')).layers, layers);
    const [layer = assert.fail()] = layers;
    assert.equal(realpathSync(dirname(layer)), dirname(layer));
    assert.deepEqual(lab.counts(ACI), [1]);
  });

  test('ProvisionerAppcTest.ROOT_Provision: one root filesystem, read-only with bind, and nothing after destroy', {
    skip: needsRoot,
  }, async () => {
    const provisioner = await provisionerOf(lab);
    const { rootfs } = await provisioner.provision('c', IMAGE, { backend: 'bind' });
    assert.equal(readFileSync(join(rootfs, 'tmp/test'), 'utf8'), 'test\n');
    assert.equal(provisioner.claimOf('c').images.length, 1);
    assert.equal(await provisioner.destroy('c'), true);
    assert.ok(!existsSync(dirname(rootfs)));
    assert.equal(await provisioner.destroy('c'), false);
  });

  test('ProvisionerAppcTest.ROOT_ProvisionNestedContainer: the same for a container in a container', {
    skip: needsRoot,
  }, async () => {
    const provisioner = await provisionerOf(lab);
    const { rootfs } = await provisioner.provision('parent/child', IMAGE, { backend: 'bind' });
    assert.equal(readFileSync(join(rootfs, 'tmp/test'), 'utf8'), 'test\n');
    assert.equal(await provisioner.destroy('parent/child'), true);
    assert.ok(!existsSync(rootfs));
  });

  test('ProvisionerAppcTest.Recover: a new provisioner keeps a known container, makes a second, and destroys both', async () => {
    const { rootfs } = await (await provisionerOf(lab)).provision('c', IMAGE, { backend: 'copy' });
    const again = await (await lab.open()).provisioner();
    await again.recover(['c']);
    assert.ok(existsSync(join(rootfs, 'tmp/test')));
    const second = await again.provision('d', IMAGE, { backend: 'copy' });
    assert.notEqual(second.rootfs, rootfs);
    for (const id of ['c', 'd']) assert.equal(await again.destroy(id), true);
    assert.ok(!existsSync(rootfs) && !existsSync(second.rootfs));
    assert.deepEqual(again.list(), []);
  });

  test('ProvisionerAppcTest.RecoverNestedContainer: parent and child are kept, the child goes first', async () => {
    const provisioner = await provisionerOf(lab);
    for (const id of ['parent', 'parent/child']) await provisioner.provision(id, IMAGE, { backend: 'copy' });
    const again = await (await lab.open()).provisioner();
    await again.recover(['parent', 'parent/child']);
    assert.deepEqual(
      again.list().map(({ container }) => container),
      ['parent', 'parent/child'],
    );
    for (const id of ['parent/child', 'parent']) assert.equal(await again.destroy(id), true);
  });

  test('ProvisionerAppcTest.RecoverNestedContainerNoParentImage: a child with an image in a parent without one', async () => {
    await (await provisionerOf(lab)).provision('parent/child', IMAGE, { backend: 'copy' });
    const again = await (await lab.open()).provisioner();
    await again.recover(['parent', 'parent/child']);
    assert.deepEqual(
      again.list().map(({ container }) => container),
      ['parent/child'],
    );
    assert.equal(await again.destroy('parent'), true);
    assert.deepEqual(again.list(), []);
  });

  test('AppcImageFetcherTest.CURL_SimpleHttpFetch: an ACI over HTTP ends as one image with its file', async () => {
    await lab.get(ACI);
    await expectFile();
    assert.deepEqual(lab.counts(ACI), [1]);
  });

  test('AppcImageFetcherTest.SimpleFileFetch: the same from a directory, by its path or file:// (Mesos refused that)', async () => {
    const directory = join(lab.directory, 'acis');
    writeAciDirectory(directory, [ACI]);
    for (const appc_simple_discovery_uri_prefix of [`${directory}/`, `file://${directory}/`]) {
      const assembly = await lab.open({ appc_simple_discovery_uri_prefix });
      await (await assembly.appc()).get({ ...IMAGE, cached: false }, 'copy');
    }
    await expectFile();
    assert.deepEqual(lab.counts(ACI), [0]);
    assert.deepEqual(readdirSync(dirname(join(directory, ACI.name))), ['image-latest-linux-amd64.aci']);
  });

  async function expectFile(): Promise<void> {
    const assembly = await lab.assembly();
    await using pulled = await assembly.pulledImage(await (await assembly.appc()).acquire(IMAGE, 'copy'));
    assert.equal(Buffer.from(await pulled.fs.readFile('/tmp/test')).toString(), 'test\n');
    assert.deepEqual(readdirSync(assembly.layout.staging), []);
  }

  test('AppcProvisionerIntegrationTest.ROOT_SimpleLinuxImageTest: a command runs in a fetched ACI', {
    skip: RUN_NEEDS,
  }, async () => {
    const linux = buildAci({
      name: 'example.com/linux',
      labels: { version: 'latest', os: 'linux', arch: 'amd64' },
      entries: [belowRootfs(programs('/bin/sh', '/bin/cat'))],
      files: { hello: 'from the ACI\n' },
      app: {
        exec: ['/bin/sh', '-c', 'cat /hello'],
        user: '0',
        group: '0',
        environment: [{ name: 'PATH', value: '/bin' }],
      },
    });
    const home = new CommandHome();
    try {
      writeAciDirectory(join(home.directory, 'acis'), [linux]);
      assert.ok(existsSync(join(home.directory, 'acis', aciFileName(linux))));
      const prefix = ['--appc-simple-discovery-uri-prefix', `${join(home.directory, 'acis')}/`];
      const env = { env: { LARDER_LOG: 'error' } };
      const { stdout, stderr, status } = await home.run([...prefix, 'run', 'appc:example.com/linux'], env);
      assert.deepEqual([status, stdout], [0, 'from the ACI\n'], stderr);
      assert.equal((await home.run([...prefix, 'run', 'appc:example.com/linux', '--', '-c', 'exit 7'], env)).status, 7);
      await home.ok('prune');
      assert.equal(await home.ok('check', '--deep'), 'clean');
    } finally {
      home.dispose();
    }
  });
});

async function provisionerOf(lab: AppcLab): Promise<Provisioner> {
  return (await lab.assembly()).provisioner();
}

test('AppcSpecTest.ValidateImageManifest: app, environment, exec and annotations are read; a pod is refused', () => {
  const { manifest } = buildAci({
    name: 'example.com/app',
    app: { exec: ['/bin/sh', '-c'], user: '0', group: '0', environment: [{ name: 'A', value: 'b' }] },
    annotations: { authors: 'somebody' },
  });
  const { app, annotations } = parseAppcManifest(manifest);
  assert.deepEqual([app?.exec, app?.environment], [['/bin/sh', '-c'], [{ name: 'A', value: 'b' }]]);
  assert.deepEqual(annotations, [{ name: 'authors', value: 'somebody' }]);
  const pod = buildAci({ name: 'example.com/app', manifest: { acKind: 'PodManifest' } });
  assert.throws(() => parseAppcManifest(pod.manifest), { code: 'LARDER_MANIFEST_INVALID' });
});

test('AppcSpecTest.ValidateImageManifestWithNullExec: it is empty, and what nobody knows is ignored', () => {
  const { manifest } = buildAci({ name: 'example.com/app', app: { exec: null, user: '0', group: '0', unknown: [1] } });
  assert.deepEqual(parseAppcManifest(manifest).app?.exec, []);
});

test('AppcSpecTest.ValidateLayout: without rootfs an error, with it none', async () => {
  const lab = await AppcLab.start();
  try {
    const lacking = buildAci({ name: 'example.com/image', archive: (manifest) => [file('manifest', manifest)] });
    lab.route({ ...lacking, labels: ACI.labels }, lacking.bytes);
    await assert.rejects(lab.get(ACI), { code: 'LARDER_LAYER_INVALID', message: /no directory "rootfs"/ });
    lab.publish(ACI);
    await lab.get(ACI);
    assert.deepEqual(await lab.findings(true), []);
  } finally {
    await lab[Symbol.asyncDispose]();
  }
});
