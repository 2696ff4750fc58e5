/** Archives as real programs write them: skopeo, podman, umoci and gzip. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type BuiltImage, buildImage, writeOciLayout } from '../../src/testing/image-builder.js';
import { dir, file, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { TestStore } from './larder.js';
import { needs, needsRoot } from './tools.js';

const LAYERS = [
  tar([dir('.'), dir('etc'), file('etc/motd', 'from below\n'), file('etc/gone', 'x'), dir('bin')]),
  tar([dir('etc'), file('etc/motd', 'from above\n'), whiteout('etc/gone'), symlink('bin/motd', '../etc/motd')]),
];

describe('an archive that', () => {
  let work: TestStore;
  let image: BuiltImage;
  let layout: string;
  const stores: TestStore[] = [];

  before(() => {
    work = new TestStore();
    image = buildImage({
      layers: LAYERS.map((bytes) => ({ tar: bytes })),
      config: { Env: ['A=b'], Cmd: ['/bin/motd'] },
    });
    layout = join(work.directory, 'layout');
    mkdirSync(layout);
    writeOciLayout(layout, { demo: image });
  });

  after(() => {
    for (const store of [work, ...stores]) store.dispose();
  });

  /** Pulls, reads, lists, removes, and leaves nothing. */
  async function goesAllTheWay(name: string): Promise<{ reference: string; imageId: string }> {
    const store = new TestStore();
    stores.push(store);
    const pulled = JSON.parse(await store.ok('--json', 'pull', name));
    assert.equal(pulled.layers.length, 2);
    assert.deepEqual(
      pulled.layers.map(({ diffId }: { diffId: string }) => diffId),
      image.layers.map(({ diffId }) => diffId),
    );
    assert.equal(await store.ok('cat', name, '/bin/motd'), 'from above');
    assert.equal(await store.ok('ls', name, '/etc'), 'motd');
    assert.ok((await store.ok('images')).includes(pulled.reference));
    assert.match(await store.ok('inspect', name), new RegExp(pulled.imageId.slice(7, 19)));
    await store.ok('check', '--deep');
    await store.ok('remove', name);
    assert.deepEqual(store.list('layers', 'sha256'), []);
    assert.deepEqual(store.list('blobs', 'sha256'), []);
    assert.deepEqual(store.list('staging'), []);
    await store.ok('check');
    return pulled;
  }

  test('skopeo copied from an OCI layout to docker-archive', { skip: needs('skopeo') }, async () => {
    const path = join(work.directory, 'skopeo.tar');
    execFileSync('skopeo', ['copy', '-q', `oci:${layout}:demo`, `docker-archive:${path}:demo:1`]);
    const { reference } = await goesAllTheWay(`docker-archive:${path}`);
    assert.equal(reference, `docker-archive:${path}`);
    const named = await goesAllTheWay(`docker-archive:${path}:demo:1`);
    assert.equal(named.reference, `docker-archive:${path}:docker.io/library/demo:1`);
    // Without `manifest.json` it is what Docker before 1.10 wrote, for which skopeo leaves all that is needed.
    const unpacked = join(work.directory, 'unpacked');
    mkdirSync(unpacked);
    execFileSync('tar', ['-C', unpacked, '-xf', path]);
    execFileSync('tar', ['-C', unpacked, '--exclude=./manifest.json', '-cf', `${path}.old`, '.']);
    await goesAllTheWay(`docker-archive:${path}.old`);
  });

  test('skopeo copied to oci-archive', { skip: needs('skopeo') }, async () => {
    const path = join(work.directory, 'oci.tar');
    execFileSync('skopeo', ['copy', '-q', `oci:${layout}:demo`, `oci-archive:${path}:any-name`]);
    const { imageId } = await goesAllTheWay(`oci-archive:${path}:any-name`);
    assert.equal(imageId, image.configDigest);
    execFileSync('gzip', ['-k', path]);
    await goesAllTheWay(`oci-archive:${path}.gz`);
  });

  test('umoci made a layout of', { skip: needsRoot('umoci') }, async () => {
    const place = join(work.directory, 'umoci');
    execFileSync('cp', ['-a', layout, place]);
    execFileSync('umoci', ['tag', '--image', `${place}:demo`, 'two']);
    execFileSync('umoci', ['config', '--image', `${place}:two`, '--config.env', 'C=d', '--no-history']);
    const two = await goesAllTheWay(`oci:${place}:two`);
    assert.notEqual(two.imageId, image.configDigest);
    const store = new TestStore();
    stores.push(store);
    const { status, stderr } = await store.run(['pull', `oci:${place}`]);
    assert.equal(status, 2, stderr);
    assert.match(stderr, /demo, two/);
  });

  test('podman saved, in each of its formats', { skip: needsRoot('podman', 'skopeo') }, async () => {
    const state = join(work.directory, 'podman');
    const podman = (...args: string[]) =>
      execFileSync(
        'podman',
        ['--root', join(state, 'root'), '--runroot', join(state, 'run'), '--storage-driver=vfs', ...args],
        {
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      );
    const loaded = join(work.directory, 'load.tar');
    execFileSync('skopeo', ['copy', '-q', `oci:${layout}:demo`, `docker-archive:${loaded}:localhost/demo:1`]);
    podman('load', '-q', '-i', loaded);
    for (const format of ['docker-archive', 'oci-archive']) {
      const path = join(work.directory, `podman-${format}.tar`);
      podman('save', '-q', '--format', format, '-o', path, 'localhost/demo:1');
      await goesAllTheWay(`${format}:${path}`);
    }
  });

  test('is compressed becomes a root filesystem, and a relative name is one from where the command runs', {
    skip: needsRoot('skopeo', 'gzip'),
  }, async () => {
    const store = new TestStore();
    stores.push(store);
    const path = join(work.directory, 'c.tar');
    execFileSync('skopeo', ['copy', '-q', `oci:${layout}:demo`, `docker-archive:${path}:demo:1`]);
    execFileSync('gzip', [path]);
    const rootfs = await store.ok('provision', `docker-archive:..${path}.gz`, '--id', 'c');
    assert.equal(readFileSync(join(rootfs, 'etc/motd'), 'utf8'), 'from above\n');
    assert.ok(!existsSync(join(rootfs, 'etc/gone')));
    writeFileSync(join(rootfs, 'new'), 'x');
    assert.match(await store.ok('containers'), /docker-archive:/);
    rmSync(`${path}.gz`);
    assert.equal((await store.run(['remove', `docker-archive:${path}.gz`])).status, 6);
    await store.ok('destroy', 'c');
    await store.ok('remove', `docker-archive:${path}.gz`);
    assert.deepEqual(store.mounts(), []);
    await store.ok('check');
  });

  test('is not there ends with its exit status and says what is missing', async () => {
    const { status, stderr } = await work.run(['pull', 'docker-archive:/no/such.tar']);
    assert.equal(status, 3);
    assert.match(stderr, /read docker-archive \/no\/such\.tar: there is no/);
  });
});
