/**
 * Counterparts of Mesos's own tests of its backends (src/tests/containerizer/provisioner_backend_tests.cpp and
 * provisioner_docker_tests.cpp), by their names. There is no AUFS here (SCOPE.md): its cases run over `erofs`, which took
 * its place.
 */
import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { dir, file, opaque, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { KINDS, type Kind, makeBackend, makeStore, needsRoot } from './store-fixture.js';

interface Made {
  readonly rootfs: string;
  /** Anything that changes when a stored layer does. */
  layers(): unknown;
  destroy(): Promise<boolean>;
}

async function withRootfs(kind: Kind, tars: readonly Uint8Array[], body: (made: Made) => Promise<void>): Promise<void> {
  const store = makeStore();
  try {
    const backend = makeBackend(kind, store.layers.layout, store.layers);
    const paths = tars.map((one) => store.layers.add(one));
    const backendDir = join(store.directory, 'c');
    mkdirSync(backendDir, { mode: 0o700 });
    const rootfs = join(backendDir, 'rootfs');
    await backend.provision(paths, rootfs, backendDir);
    await body({
      rootfs,
      layers: () => store.layers.digests(),
      destroy: () => backend.destroy(rootfs, backendDir),
    });
  } finally {
    store.dispose();
  }
}

const writable = [
  ['OverlayBackendTest.ROOT_OVERLAYFS_OverlayFSBackend', 'overlay'],
  ['AufsBackendTest.ROOT_AUFS_AufsBackend', 'erofs'],
  ['CopyBackendTest.ROOT_CopyBackend', 'copy'],
] as const;

for (const [name, kind] of writable) {
  test(`${name}: two layers are one tree that can be written, and stay as they are`, { skip: needsRoot }, async () => {
    const layers = [
      tar([dir('dir1'), file('dir1/1', 'overwritten'), file('file1', 'test1')]),
      tar([dir('dir2'), file('dir1/1', '1'), file('file2', 'test2')]),
    ];
    await withRootfs(kind, layers, async ({ rootfs, layers: state, destroy }) => {
      assert.deepEqual(readdirSync(rootfs).sort(), ['dir1', 'dir2', 'file1', 'file2']);
      assert.equal(readFileSync(join(rootfs, 'dir1/1'), 'utf8'), '1');
      const before = state();
      writeFileSync(join(rootfs, 'file1'), 'test3');
      assert.equal(readFileSync(join(rootfs, 'file1'), 'utf8'), 'test3');
      assert.deepEqual(state(), before);
      assert.equal(await destroy(), true);
      assert.ok(!existsSync(rootfs));
      assert.deepEqual(mountsUnder(rootfs), []);
    });
  });
}

for (const [name, kind] of [
  ['OverlayBackendTest.ROOT_OVERLAYFS_OverlayFSBackendWithManyLayers (MESOS-6000)', 'overlay'],
  ['AufsBackendTest.ROOT_AUFS_AufsBackendWithManyLayers (MESOS-6001)', 'erofs'],
] as const) {
  test(`${name}: 64 layers whose paths fill more than a page`, { skip: needsRoot }, async () => {
    const layers = Array.from({ length: 64 }, (_, i) => tar([file(`file${i}`, String(i)), file('top', String(i))]));
    await withRootfs(kind, layers, async ({ rootfs, destroy }) => {
      assert.equal(readdirSync(rootfs).length, 65);
      assert.equal(readFileSync(join(rootfs, 'top'), 'utf8'), '63');
      assert.equal(await destroy(), true);
    });
  });
}

test('BindBackendTest.ROOT_BindBackend: one layer, read-only; here also several', { skip: needsRoot }, async () => {
  const all = [tar([dir('dir'), file('dir/file', 'test')]), tar([file('second', '2')])];
  for (const kind of ['bind', 'bind-directories'] as const) {
    for (const layers of [all.slice(0, 1), all]) {
      await withRootfs(kind, layers, async ({ rootfs, destroy }) => {
        assert.equal(readFileSync(join(rootfs, 'dir/file'), 'utf8'), 'test');
        assert.equal(existsSync(join(rootfs, 'second')), layers.length === 2);
        assert.throws(() => writeFileSync(join(rootfs, 'dir/file'), 'x'), { code: 'EROFS' });
        assert.equal(await destroy(), true);
        assert.ok(!existsSync(rootfs));
      });
    }
  }
});

for (const kind of KINDS) {
  test(`ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_Whiteout (${kind}): whiteouts hide, what is beside an opaque mark stays`, {
    skip: needsRoot,
  }, async () => {
    const layers = [
      tar([dir('dir1'), file('dir1/file1', '1'), dir('dir2'), file('dir2/file2', '2'), file('file3', '3')]),
      tar([whiteout('file3'), opaque('dir1'), file('dir1/new', 'n'), whiteout('dir2/file2')]),
    ];
    await withRootfs(kind, layers, async ({ rootfs }) => {
      assert.deepEqual(readdirSync(rootfs).sort(), ['dir1', 'dir2']);
      assert.deepEqual(readdirSync(join(rootfs, 'dir1')), ['new']);
      assert.deepEqual(readdirSync(join(rootfs, 'dir2')), []);
    });
  });

  test(`ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_Overwrite (${kind}): types replace each other, and no link leads to the host`, {
    skip: needsRoot,
  }, async () => {
    const host = makeStore();
    try {
      const precious = join(host.directory, 'precious');
      writeFileSync(precious, 'host');
      const layers = [
        tar([
          dir('a'),
          file('a/x', 'x'),
          file('b', 'b'),
          symlink('c', 'a'),
          symlink('escape', precious),
          symlink('up', '../../../etc'),
        ]),
        tar([file('a', 'now a file'), dir('b'), file('b/y', 'y'), dir('c'), file('c/z', 'z'), file('escape', 'image')]),
      ];
      await withRootfs(kind, layers, async ({ rootfs }) => {
        assert.equal(readFileSync(join(rootfs, 'a'), 'utf8'), 'now a file');
        assert.deepEqual(readdirSync(join(rootfs, 'b')), ['y']);
        assert.deepEqual(readdirSync(join(rootfs, 'c')), ['z']);
        assert.ok(lstatSync(join(rootfs, 'escape')).isFile());
        assert.equal(readFileSync(join(rootfs, 'escape'), 'utf8'), 'image');
        assert.equal(readFileSync(precious, 'utf8'), 'host');
      });
    } finally {
      host.dispose();
    }
  });
}
