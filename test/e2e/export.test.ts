/** Exports in the hands of real programs: skopeo, podman, umoci and containerd's reader of archives. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type BuiltImage, buildImage, writeOciLayout } from '../../src/testing/image-builder.js';
import { dir, file, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { TestStore } from './larder.js';
import { needs, needsRoot } from './tools.js';

const BASE = tar([dir('.'), dir('etc'), file('etc/motd', 'from below\n'), file('etc/gone', 'x'), dir('bin')]);
const TOP = tar([
  dir('etc'),
  file('etc/motd', 'from above\n'),
  whiteout('etc/gone'),
  symlink('bin/motd', '../etc/motd'),
]);

describe('an export', () => {
  let store: TestStore;
  let image: BuiltImage;
  let source: string;

  before(async () => {
    store = new TestStore();
    // A layer that comes twice is in the archive once.
    image = buildImage({ layers: [BASE, TOP, BASE, TOP].map((bytes) => ({ tar: bytes })), config: { Env: ['A=b'] } });
    const layout = join(store.directory, 'layout');
    mkdirSync(layout);
    writeOciLayout(layout, { demo: image });
    source = `oci:${layout}:demo`;
    await store.ok('pull', source);
  });
  after(() => store.dispose());

  const run = (program: string, ...args: readonly string[]): string =>
    execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

  function podman(...args: readonly string[]): string {
    const state = join(store.directory, 'podman');
    const where = ['--root', join(state, 'root'), '--runroot', join(state, 'run'), '--storage-driver=vfs'];
    return run('podman', ...where, ...args);
  }

  for (const transport of ['docker-archive', 'oci-archive']) {
    test(`to ${transport} is inspected and copied by skopeo`, { skip: needs('skopeo') }, async () => {
      const path = join(store.directory, `${transport}.tar`);
      const said = await store.ok('export', source, `${transport}:${path}:localhost/demo:1`);
      assert.equal(/uncompressed under a new manifest, sha256:/.test(said), transport === 'oci-archive', said);
      const { Layers, Env } = JSON.parse(run('skopeo', 'inspect', `${transport}:${path}`));
      assert.deepEqual(
        Layers,
        image.layers.map(({ diffId }) => diffId),
      );
      assert.deepEqual(Env, ['A=b']);
      // Not to another kind: skopeo would write the config anew.
      const copy = `${transport}:${join(store.directory, `${transport}-copy.tar`)}`;
      run('skopeo', 'copy', '-q', `${transport}:${path}`, `${copy}:localhost/demo:2`);
      const { imageId } = JSON.parse(await store.ok('--json', 'pull', copy));
      assert.equal(imageId, image.configDigest);
    });

    test(`to ${transport} is loaded by podman with the same ID`, { skip: needsRoot('podman') }, async () => {
      const path = join(store.directory, `${transport}-podman.tar`);
      await store.ok('export', source, `${transport}:${path}:localhost/${transport}:1`);
      podman('load', '-q', '-i', path);
      const ids = podman('images', '--no-trunc', '--format', '{{.ID}}', `localhost/${transport}`);
      assert.deepEqual([...new Set(ids.trim().split('\n'))], [image.configDigest]);
    });
  }

  test('to oci-archive is unpacked by umoci', { skip: needsRoot('umoci', 'tar') }, async () => {
    const path = join(store.directory, 'umoci.tar');
    await store.ok('export', source, `oci-archive:${path}:demo`);
    const [layout, bundle] = [join(store.directory, 'umoci'), join(store.directory, 'bundle')];
    mkdirSync(layout);
    run('tar', '-C', layout, '-xf', path);
    run('umoci', 'unpack', '--image', `${layout}:demo`, bundle);
    assert.equal(readFileSync(join(bundle, 'rootfs/bin/motd'), 'utf8'), 'from above\n');
    assert.ok(!existsSync(join(bundle, 'rootfs/new')));
  });

  test('to standard output is the same as to a file', async () => {
    const path = join(store.directory, 'file.tar');
    await store.ok('export', source, `docker-archive:${path}:localhost/demo:1`);
    const streamed = await store.run(['export', source, 'docker-archive:-:localhost/demo:1']);
    assert.equal(streamed.status, 0, streamed.stderr);
    assert.equal(streamed.stdout, readFileSync(path, 'utf8'));
    assert.equal(streamed.stderr, '');
  });

  test('of a store that is checked afterwards leaves it clean', async () => {
    await store.ok('check', '--deep');
    assert.deepEqual(store.list('staging'), []);
  });
});
