import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ErofsBackend } from '../../src/backends/erofs.js';
import type { LayerAccess, MergedImage } from '../../src/backends/layer-access.js';
import { runHere } from '../../src/backends/tasks.js';
import { bindMount } from '../../src/linux/mount.js';
import { findMount, listMounts } from '../../src/linux/mountinfo.js';
import { dir, file, sparse, tar } from '../../src/testing/tar-builder.js';
import { makeStore, needsRoot, type StoreFixture } from './store-fixture.js';

describe('the shared mounts of images', { skip: needsRoot }, () => {
  let store: StoreFixture;
  let layers: readonly string[];
  let key: string;

  beforeEach(() => {
    store = makeStore();
    layers = [
      store.layers.add(tar([dir('d'), file('d/a', 'first'), sparse('s', 5000, [{ offset: 77, data: 'x' }])])),
      store.layers.add(tar([file('d/b', 'second')])),
    ];
    key = store.layers.mergedKeyOf(layers);
  });

  afterEach(() => store.dispose());

  const backend = (access: LayerAccess = store.layers): ErofsBackend =>
    new ErofsBackend({
      access,
      run: runHere,
      mounts: store.layers.layout.mounts,
      scratch: store.layers.layout.staging,
    });

  const provision = async (name: string, access: LayerAccess = store.layers): Promise<string> => {
    const backendDir = join(store.directory, name);
    mkdirSync(backendDir, { mode: 0o700 });
    await backend(access).provision(layers, join(backendDir, 'rootfs'), backendDir);
    return join(backendDir, 'rootfs');
  };

  const destroy = (name: string): Promise<boolean> =>
    backend().destroy(join(store.directory, name, 'rootfs'), join(store.directory, name));

  const mountsOf = (type: string): number =>
    listMounts().filter((mount) => mount.type === type && mount.mountPoint.startsWith(store.root)).length;

  it('are one for all containers of an image', async () => {
    await Promise.all(['one', 'two', 'three'].map((name) => provision(name)));
    assert.deepEqual([mountsOf('erofs'), mountsOf('overlay')], [1, 3]);
  });

  it('stay while a claim names them, and go with the last', async () => {
    await provision('one');
    store.layers.users.set(key, 1);
    await destroy('one');
    await backend().release(layers);
    assert.equal(mountsOf('erofs'), 1);
    store.layers.users.set(key, 0);
    await backend().release(layers);
    assert.equal(mountsOf('erofs'), 0);
    assert.deepEqual(readdirSync(store.layers.layout.mounts), []);
  });

  it('are swept when no claim names them, also a mount point that was never used', async () => {
    await provision('one');
    await destroy('one');
    mkdirSync(join(store.layers.layout.mounts, 'f'.repeat(64)));
    await backend().sweep();
    assert.deepEqual(readdirSync(store.layers.layout.mounts), []);
  });

  it('that are claimed survive a sweep', async () => {
    const rootfs = await provision('one');
    store.layers.users.set(key, 1);
    await backend().sweep();
    assert.equal(mountsOf('erofs'), 1);
    assert.equal(readFileSync(join(rootfs, 'd/a'), 'utf8'), 'first');
  });

  it('are made in each mount namespace for itself', async () => {
    await provision('one');
    const script = `umount -l ${store.layers.layout.mount(key)} && exit 7`;
    assert.equal(spawnSync('unshare', ['-m', 'sh', '-c', script]).status, 7);
    assert.equal(mountsOf('erofs'), 1);
  });

  it('are refused when something else is mounted in their place', async () => {
    const place = store.layers.layout.mount(key);
    mkdirSync(place, { recursive: true });
    bindMount({ source: store.directory, target: place });
    await assert.rejects(provision('one'), { code: 'LARDER_STORE_UNSAFE' });
  });

  it('are refused when another image is mounted in their place', async () => {
    await provision('one');
    const other = layers.slice(0, 1);
    const otherPlace = store.layers.layout.mount(store.layers.mergedKeyOf(other));
    mkdirSync(otherPlace);
    bindMount({ source: store.layers.layout.mount(key), target: otherPlace });
    const backendDir = join(store.directory, 'other');
    mkdirSync(backendDir);
    const refused = backend().provision(other, join(backendDir, 'rootfs'), backendDir);
    await assert.rejects(refused, { code: 'LARDER_STORE_UNSAFE' });
  });

  it('are not seen by the containers: their flags do not pass on', async () => {
    const rootfs = await provision('one');
    assert.match(findMount(store.layers.layout.mount(key))?.options ?? '', /nosuid,nodev,noexec/);
    assert.doesNotMatch(findMount(rootfs)?.options ?? '', /nosuid|nodev|noexec/);
  });

  it('read through the page cache, never around it', async () => {
    await provision('one');
    const { superOptions = '' } = findMount(store.layers.layout.mount(key)) ?? {};
    assert.match(superOptions, /^ro\b/);
    assert.doesNotMatch(superOptions, /direct/);
  });

  const damage = (path: string, change: () => void): void => {
    chmodSync(path, 0o600);
    change();
  };
  const tarOf = (i: number): string => join(layers[i] ?? '', 'layer.tar');
  const nothingMounted = (): void => assert.deepEqual([mountsOf('erofs'), mountsOf('overlay')], [0, 0]);

  it('a tar that is shorter than recorded is refused before mounting', async () => {
    damage(tarOf(0), () => truncateSync(tarOf(0), 512));
    await assert.rejects(provision('one'), { code: 'LARDER_LAYER_CORRUPT' });
    nothingMounted();
  });

  it('a tar that is longer than recorded is refused before mounting', async () => {
    damage(tarOf(1), () => appendFileSync(tarOf(1), Buffer.alloc(512)));
    await assert.rejects(provision('one'), { code: 'LARDER_LAYER_CORRUPT' });
    nothingMounted();
  });

  it('tars that changed places are refused before mounting', async () => {
    renameSync(tarOf(0), join(store.root, 'swap'));
    renameSync(tarOf(1), tarOf(0));
    renameSync(join(store.root, 'swap'), tarOf(1));
    await assert.rejects(provision('one'), { code: 'LARDER_LAYER_CORRUPT' });
    nothingMounted();
  });

  it('a missing tar, and a symbolic link in its place, are refused before mounting', async () => {
    renameSync(tarOf(0), join(store.root, 'aside'));
    await assert.rejects(provision('one'), { code: 'LARDER_LAYER_CORRUPT' });
    spawnSync('ln', ['-s', join(store.root, 'aside'), tarOf(0)]);
    await assert.rejects(provision('two'), { code: 'LARDER_LAYER_CORRUPT' });
    nothingMounted();
  });

  it('a damaged image is made again', async () => {
    const { path } = await store.layers.mergedImage(layers);
    const good = readFileSync(path);
    const bytes = Buffer.from(good);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    damage(path, () => writeFileSync(path, bytes));
    const rootfs = await provision('one');
    assert.ok(readFileSync(path).equals(good), 'nobody reads the byte, and it is noticed all the same');
    assert.equal(readFileSync(join(rootfs, 'd/b'), 'utf8'), 'second');
  });

  it('an image that is damaged again after it was made again is refused before mounting', async () => {
    const spoiling: LayerAccess = {
      layerFiles: (path) => store.layers.layerFiles(path),
      mergedKeyOf: (paths) => store.layers.mergedKeyOf(paths),
      recordChain: (record) => store.layers.recordChain(record),
      isUsed: (of) => store.layers.isUsed(of),
      mergedImage: async (paths, options): Promise<MergedImage> => {
        const image = await store.layers.mergedImage(paths, options);
        damage(image.path, () => truncateSync(image.path, image.size - 1));
        return image;
      },
    };
    await assert.rejects(provision('one', spoiling), { code: 'LARDER_LAYER_CORRUPT' });
    nothingMounted();
  });

  it('an image of other layers is refused', async () => {
    const wrong = await store.layers.mergedImage(layers.slice(0, 1));
    const access: LayerAccess = {
      layerFiles: (path) => store.layers.layerFiles(path),
      mergedKeyOf: (paths) => store.layers.mergedKeyOf(paths),
      recordChain: (record) => store.layers.recordChain(record),
      isUsed: (of) => store.layers.isUsed(of),
      mergedImage: async () => ({ ...wrong, key }),
    };
    await assert.rejects(provision('one', access), { code: 'LARDER_STORE_UNSAFE' });
  });

  it('leave no descriptor open', async () => {
    const before = readdirSync('/proc/self/fd').length;
    await provision('one');
    damage(tarOf(0), () => {});
    await destroy('one');
    await backend().release(layers);
    truncateSync(tarOf(1), 0);
    await assert.rejects(provision('two'));
    assert.equal(readdirSync('/proc/self/fd').length, before);
    assert.ok(!existsSync(join(store.directory, 'two/rootfs')));
  });
});
