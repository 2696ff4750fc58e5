import assert from 'node:assert/strict';
import { chmodSync, chownSync, lstatSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { getXattr } from '../../src/linux/xattr.js';
import { char, dir, fifo, file, hardlink, sparse, symlink, tar } from '../../src/testing/tar-builder.js';
import { makeBackend, makeStore, needsRoot, type StoreFixture } from './store-fixture.js';

const IMAGE = [
  tar([
    dir('closed', { mode: 0o500, uid: 5 }),
    file('closed/mine', 'text', { mode: 0o400, uid: 0, mtime: 5 }),
    char('null', 1, 3),
    char('zero', 1, 5),
    hardlink('zero-too', 'zero'),
    fifo('pipe'),
    symlink('link', 'closed/mine', { uid: 9 }),
    file('a', 'x', { xattrs: { 'user.kept': 'yes', 'trusted.lost': 'no' } }),
    hardlink('b', 'a'),
  ]),
];

describe('copies made by an ordinary user', { skip: needsRoot === false ? false : 'needs root to become one' }, () => {
  let store: StoreFixture;

  // What is loaded at its first use is loaded here: the checkout may be closed to them.
  before(async () => {
    const warm = makeStore();
    const rootfs = join(warm.directory, 'rootfs');
    await makeBackend('copy', warm.layers.layout, warm.layers).provision([], rootfs, warm.directory);
    getXattr(rootfs, 'user.none');
    warm.dispose();
  });

  beforeEach(() => {
    store = makeStore();
  });

  afterEach(() => {
    process.seteuid?.(0);
    process.setegid?.(0);
    store.dispose();
  });

  const provision = async (
    kind: 'copy' | 'erofs',
  ): Promise<{ readonly rootfs: string; readonly warnings: readonly string[] }> => {
    const layers = IMAGE.map((one) => store.layers.add(one));
    giveAway(store.root);
    process.setegid?.(65534);
    process.seteuid?.(65534);
    const rootfs = join(store.directory, 'rootfs');
    const { warnings } = await makeBackend(kind, store.layers.layout, store.layers).provision(
      layers,
      rootfs,
      store.directory,
    );
    return { rootfs, warnings };
  };

  it('belong to them and keep modes, times and contents', async () => {
    const { rootfs } = await provision('copy');
    const stats = lstatSync(join(rootfs, 'closed/mine'));
    assert.deepEqual([stats.uid, stats.mode & 0o777, stats.mtimeMs], [65534, 0o400, 5000]);
    assert.equal(readFileSync(join(rootfs, 'closed/mine'), 'utf8'), 'text');
    assert.equal(lstatSync(join(rootfs, 'a')).ino, lstatSync(join(rootfs, 'b')).ino);
    assert.equal(Buffer.from(getXattr(join(rootfs, 'a'), 'user.kept') ?? []).toString(), 'yes');
  });

  it('say what could not be kept, one sentence each', async () => {
    const { rootfs, warnings } = await provision('copy');
    assert.deepEqual(readdirSync(rootfs).sort(), ['a', 'b', 'closed', 'link', 'pipe']);
    assert.deepEqual(warnings, [
      '6 files belong to you instead of the owner in the image.',
      '2 device nodes were left out: making one needs root.',
      'The extended attribute trusted.lost could not be kept on 1 file.',
    ]);
  });

  it('can be destroyed by them', async () => {
    const { rootfs } = await provision('copy');
    const backend = makeBackend('copy', store.layers.layout, store.layers);
    assert.equal(await backend.destroy(rootfs, store.directory), true);
    assert.deepEqual(readdirSync(store.directory), []);
  });

  it('are what other backends advise without root', async () => {
    await assert.rejects(provision('erofs'), { code: 'LARDER_PERMISSION', hint: /--backend copy/ });
  });
});

describe('copies', { skip: needsRoot }, () => {
  let store: StoreFixture;

  beforeEach(() => {
    store = makeStore();
  });

  afterEach(() => store.dispose());

  const provision = (...tars: readonly Uint8Array[]): Promise<unknown> => {
    const layers = tars.map((one) => store.layers.add(one));
    return provisionLayers(layers);
  };

  const provisionLayers = (layers: readonly string[]): Promise<unknown> =>
    makeBackend('copy', store.layers.layout, store.layers).provision(
      layers,
      join(store.directory, 'rootfs'),
      store.directory,
    );

  it('keep the holes of sparse files', async () => {
    const data = Buffer.alloc(4096, 'x');
    await provision(
      tar([sparse('aligned', 1 << 24, [{ offset: 1 << 20, data }]), sparse('odd', 1 << 24, [{ offset: 999, data }])]),
    );
    assert.ok(lstatSync(join(store.directory, 'rootfs/aligned')).blocks <= 16);
    assert.equal(lstatSync(join(store.directory, 'rootfs/aligned')).size, 1 << 24);
    assert.equal(readFileSync(join(store.directory, 'rootfs/odd')).indexOf('x'), 999);
  });

  it('refuse a layer whose tar was cut', async () => {
    const layer = store.layers.add(tar([file('a', 'x'.repeat(5000))]));
    chmodSync(join(layer, 'layer.tar'), 0o600);
    truncateSync(join(layer, 'layer.tar'), 2048);
    await assert.rejects(provisionLayers([layer]), { code: 'LARDER_LAYER_CORRUPT' });
  });

  it('refuse a layer whose index is not the recorded one', async () => {
    const layer = store.layers.add(tar([file('a', 'x')]));
    const { index } = await store.layers.layerFiles(layer);
    const bytes = readFileSync(index);
    bytes[200] = (bytes[200] ?? 0) ^ 1;
    chmodSync(index, 0o600);
    writeFileSync(index, bytes);
    await assert.rejects(provisionLayers([layer]), { code: 'LARDER_LAYER_CORRUPT' });
  });

  it('say which file could not be written, and that its xattr was too large rather than the disk full', async () => {
    await assert.rejects(provision(tar([file('a/deep/file', 'x', { xattrs: { 'user.big': Buffer.alloc(60_000) } })])), {
      code: 'LARDER_ENTRY_UNSUPPORTED',
      message: /write a root filesystem: \/a\/deep\/file: .*60000 bytes.*user\.big/,
    });
  });
});

function giveAway(directory: string): void {
  chownSync(directory, 65534, 65534);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) giveAway(path);
    else chownSync(path, 65534, 65534);
  }
}

describe('copies made by root', { skip: needsRoot }, () => {
  it('have the owners and modes of the image, whatever a new file gets there without being told', async () => {
    const store = makeStore();
    const umask = process.umask(0o077);
    try {
      chownSync(store.directory, 0, 1234);
      chmodSync(store.directory, 0o2700);
      const image = tar([
        dir('d', { mode: 0o755, uid: 3, gid: 4 }),
        file('d/plain', 'x', { mode: 0o644 }),
        file('d/same-group', 'x', { mode: 0o600, gid: 1234 }),
        file('d/special', 'x', { mode: 0o6755, uid: 7, gid: 8 }),
      ]);
      const rootfs = join(store.directory, 'rootfs');
      const backend = makeBackend('copy', store.layers.layout, store.layers);
      await backend.provision([store.layers.add(image)], rootfs, store.directory);
      const found = ['d', 'd/plain', 'd/same-group', 'd/special'].map((name) => {
        const { uid, gid, mode } = lstatSync(join(rootfs, name));
        return [name, uid, gid, (mode & 0o7777).toString(8)];
      });
      assert.deepEqual(found, [
        ['d', 3, 4, '755'],
        ['d/plain', 0, 0, '644'],
        ['d/same-group', 0, 1234, '600'],
        ['d/special', 7, 8, '6755'],
      ]);
      assert.deepEqual(readdirSync(rootfs), ['d']);
    } finally {
      process.umask(umask);
      store.dispose();
    }
  });
});
