import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Backend, BackendName } from '../../src/backends/backend.js';
import { chooseBackend } from '../../src/backends/choose-backend.js';
import { passing } from '../../src/backends/probe.js';
import { listMounts, mountsUnder } from '../../src/linux/mountinfo.js';
import { check, cString, kernel } from '../../src/linux/syscalls.js';
import { StoredLayers } from '../../src/testing/stored-layers.js';
import { file, tar } from '../../src/testing/tar-builder.js';
import { KINDS, makeBackend, makeStore, needsRoot, type StoreFixture } from './store-fixture.js';

let store: StoreFixture;

beforeEach(() => {
  store = makeStore();
});

afterEach(() => store.dispose());

describe('probing backends', { skip: needsRoot }, () => {
  for (const kind of KINDS) {
    it(`${kind} works here, says so in one sentence and leaves nothing behind`, async () => {
      const { usable, reason } = await makeBackend(kind, store.layers.layout, store.layers).probe();
      assert.equal(usable, true, reason);
      assert.match(reason, /^[^.]+\.$/);
      // Other tests mount at the same time, elsewhere.
      assert.deepEqual(mountsUnder(store.root), []);
      assert.equal(existsSync(store.layers.layout.staging), false);
    });
  }

  it('erofs on a file system that cannot back it goes through loop devices, probed and mounted', async () => {
    const root = join(store.root, 'tmpfs');
    mkdirSync(root);
    check(kernel().mount(cString('none'), cString(root), cString('tmpfs'), 0, null), 'mount', root);
    const layers = new StoredLayers(root);
    const backend = makeBackend('erofs', layers.layout, layers);
    const { usable, reason } = await backend.probe();
    assert.equal(usable, true, reason);
    assert.match(reason, /loop devices/);
    const paths = [layers.add(tar([file('a', 'one')])), layers.add(tar([file('b', 'two')]))];
    await backend.provision(paths, join(root, 'rootfs'), root);
    assert.equal(readFileSync(join(root, 'rootfs/b'), 'utf8'), 'two');
    const { source } = listMounts().find(({ mountPoint }) => mountPoint.startsWith(layers.layout.mounts)) ?? {
      source: '',
    };
    assert.match(source, /^\/dev\/loop/);
    await backend.destroy(join(root, 'rootfs'), root);
    await backend.release?.(paths);
    assert.ok(!isAttached(source), `${source} is free again`);
  });

  it('the fastest that works is chosen', async () => {
    const backends = (['copy', 'overlay', 'erofs'] as const).map((kind) =>
      makeBackend(kind, store.layers.layout, store.layers),
    );
    const { backend, reports } = await chooseBackend(backends);
    assert.equal(backend.name, 'erofs');
    assert.equal(reports.length, 1);
  });
});

describe('choosing a backend', () => {
  const stub = (name: BackendName, usable: boolean): Backend => ({
    name,
    probe: async () => ({ usable, reason: `${name} said ${usable}.` }),
    provision: async () => ({ ephemeral: [], warnings: [] }),
    destroy: async () => false,
  });

  it('goes on to the next one and keeps the reasons', async () => {
    const { backend, reports } = await chooseBackend([
      stub('erofs', false),
      stub('overlay', false),
      stub('copy', true),
    ]);
    assert.equal(backend.name, 'copy');
    assert.deepEqual(
      reports.map(({ reason }) => reason),
      ['erofs said false.', 'overlay said false.', 'copy said true.'],
    );
  });

  it('says when the better one may work the next time', async () => {
    const failing = { ...stub('erofs', false), probe: async () => ({ usable: false, reason: 'EIO.', mayPass: true }) };
    assert.equal((await chooseBackend([failing, stub('copy', true)])).mayPass, true);
    assert.equal((await chooseBackend([stub('erofs', false), stub('copy', true)])).mayPass, false);
  });

  it('may choose a backend the next time when one of the ways to it failed for a moment, whatever the other says', () => {
    const [never, once] = ['ENOTBLK', 'EBUSY'].map((code) => Object.assign(new Error(code), { code }));
    assert.ok(never !== undefined && once !== undefined);
    assert.deepEqual([passing(never, once), passing(once, never)], [{ mayPass: true }, { mayPass: true }]);
    assert.deepEqual(passing(never, never), {});
  });

  it('never chooses read-only root filesystems of itself', async () => {
    await assert.rejects(chooseBackend([stub('bind', true)]), { code: 'LARDER_BACKEND_UNAVAILABLE' });
    assert.equal((await chooseBackend([stub('bind', true)], 'bind')).backend.name, 'bind');
  });

  it('does not replace the one that was asked for', async () => {
    const chosen = chooseBackend([stub('erofs', false), stub('copy', true)], 'erofs');
    await assert.rejects(chosen, { code: 'LARDER_BACKEND_UNAVAILABLE', message: /erofs said false/ });
  });

  it('refuses one that there is not', async () => {
    await assert.rejects(chooseBackend([stub('copy', true)], 'overlay'), { code: 'LARDER_FLAGS_INVALID' });
  });

  it('without root is told that mounting needs it', async () => {
    if (needsRoot === false) process.seteuid?.(65534);
    try {
      const erofs = await makeBackend('erofs', store.layers.layout, store.layers).probe();
      assert.deepEqual([erofs.usable, /needs root/.test(erofs.reason)], [false, true]);
    } finally {
      if (needsRoot === false) process.seteuid?.(0);
    }
  });
});

function isAttached(device: string): boolean {
  try {
    return readFileSync(`/sys/block/${device.slice('/dev/'.length)}/loop/backing_file`, 'utf8') !== '';
  } catch {
    return false;
  }
}
