/** Bad input and bad luck: one clear sentence, the right exit status, and nothing half-made in the store. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type BuiltImage, buildImage, buildIndex, type LayerSource } from '../../src/testing/image-builder.js';
import { char, dir, file, tar } from '../../src/testing/tar-builder.js';
import { DockerRegistry, freePort } from './docker-registry.js';
import { type Outcome, type RunOptions, TestStore } from './larder.js';
import { needsRoot } from './tools.js';

const NOBODY = 65_534;
/** Three megabytes that do not compress; others for each seed, for a registry keeps one blob for all that are alike. */
const noise = (seed: string) =>
  file('noise', createHash('shake256', { outputLength: 3_000_000 }).update(seed).digest());

describe('what goes wrong ends in one sentence and leaves nothing behind', {
  skip: needsRoot('docker-registry'),
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'larder-faults-'));
  const stores: TestStore[] = [];
  let registry: DockerRegistry;

  before(async () => {
    registry = await DockerRegistry.start(directory);
  });

  after(async () => {
    for (const store of stores) store.dispose();
    await registry?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  function newStore(at?: string): TestStore {
    const store = new TestStore(at);
    stores.push(store);
    return store;
  }

  /** Pushes a small image whose layers nobody else has. */
  async function push(
    name: string,
    ...layers: readonly LayerSource[]
  ): Promise<{ readonly reference: string; readonly image: BuiltImage }> {
    const image = buildImage({ layers: [{ tar: tar([dir('.'), file('name', name)]) }, ...layers] });
    await registry.push(`${name}:latest`, image);
    return { reference: `${registry.host}/${name}:latest`, image };
  }

  async function fails(
    store: TestStore,
    status: number,
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<Outcome> {
    const outcome = await store.run(args, options);
    assert.equal(outcome.status, status, outcome.stderr);
    const said = outcome.stderr.trimEnd();
    assert.match(said, /\S+ \S+ \S+/, 'says what is wrong');
    assert.doesNotMatch(said, /\n\s+at |undefined|\[object|node:internal/, 'says it as a person would');
    return outcome;
  }

  async function clean(store: TestStore, options: RunOptions = {}): Promise<void> {
    const { status, stdout, stderr } = await store.run(['check'], options);
    assert.equal(status, 0, stdout + stderr);
    assert.deepEqual(store.list('staging'), []);
    assert.deepEqual(store.mounts(), []);
  }

  async function pullFails(status: number, reference: string, expected: RegExp): Promise<TestStore> {
    const store = newStore();
    const { stderr } = await fails(store, status, ['pull', reference]);
    assert.match(stderr, expected);
    await clean(store);
    assert.doesNotMatch(await store.ok('images'), new RegExp(reference));
    // The image's good layers may wait for a better pull; nothing but them, and not for ever.
    await store.ok('check', '--deep');
    await store.ok('prune');
    assert.deepEqual(store.list('layers', 'sha256'), []);
    return store;
  }

  test('a registry that nobody runs', async () => {
    const host = `127.0.0.1:${await freePort()}`;
    await pullFails(8, `${host}/a:b`, new RegExp(host));
  });

  test('a repository and a tag that are not there', async () => {
    await push('here');
    await pullFails(3, `${registry.host}/here:gone`, /gone/);
    await pullFails(3, `${registry.host}/nowhere:latest`, /nowhere/);
  });

  test('a reference that is none', async () => {
    const store = newStore();
    await fails(store, 2, ['pull', 'UPPER CASE']);
    await clean(store);
  });

  test('a digest that the registry does not have', async () => {
    await push('digest');
    await pullFails(3, `${registry.host}/digest@sha256:${'0'.repeat(64)}`, /0000/);
  });

  test('a platform that the image does not have', async () => {
    const foreign = buildImage({ platform: 'linux/s390x', layers: [{ tar: tar([file('x', 'x')]) }] });
    await registry.push('foreign:latest', buildIndex([foreign]));
    await pullFails(3, `${registry.host}/foreign:latest`, /s390x/);
  });

  test('a manifest whose bytes changed in the registry', async () => {
    const { image } = await push('manifest');
    const stored = registry.blobFile(image.digest);
    writeFileSync(stored, Buffer.concat([readFileSync(stored), Buffer.from(' ')]));
    const store = newStore();
    const outcome = await store.run(['pull', `${registry.host}/manifest@${image.digest}`]);
    // The registry itself may notice first and answer 404 or 500.
    assert.ok([3, 8, 9].includes(outcome.status), outcome.stderr);
    await clean(store);
  });

  test('a layer with one wrong byte', async () => {
    const { reference, image } = await push('flipped', { tar: tar([noise('flipped')]), compression: 'none' });
    const stored = registry.blobFile(image.layers[1]?.digest ?? assert.fail());
    const bytes = readFileSync(stored);
    bytes.writeUInt8(bytes.readUInt8(1_000_000) ^ 1, 1_000_000);
    writeFileSync(stored, bytes);
    await pullFails(9, reference, /digest|hash/i);
  });

  test('a compressed layer with one wrong byte', async () => {
    const { reference, image } = await push('flipped-gzip', { tar: tar([noise('flipped-gzip')]) });
    const stored = registry.blobFile(image.layers[1]?.digest ?? assert.fail());
    const bytes = readFileSync(stored);
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    writeFileSync(stored, bytes);
    const store = newStore();
    // The decompressor or the digest finds it, whichever comes first.
    const { status, stderr } = await store.run(['pull', reference]);
    assert.ok(status === 9 || status === 2, stderr);
    await clean(store);
  });

  test('a layer that ends too early', async () => {
    const { reference, image } = await push('truncated', { tar: tar([noise('truncated')]) });
    truncateSync(registry.blobFile(image.layers[1]?.digest ?? assert.fail()), 1000);
    const store = newStore();
    const { status, stderr } = await store.run(['pull', reference]);
    assert.ok(status === 9 || status === 8, stderr);
    assert.match(stderr, /1000|size|short|bytes/i);
    await clean(store);
  });

  test('a manifest that lies about a size', async () => {
    const { reference } = await push('size', { tar: tar([noise('size')]), claimedSize: 10 });
    await pullFails(9, reference, /size|bytes/i);
  });

  test('a config that lies about a DiffID', async () => {
    const { reference } = await push('diff-id', {
      tar: tar([file('x', 'diff')]),
      claimedDiffId: `sha256:${'1'.repeat(64)}`,
    });
    await pullFails(9, reference, /DiffID|1111/i);
  });

  test('a tar that lies about a length', async () => {
    const lying = Buffer.concat([file('a', 'short', { size: 100_000 }), Buffer.alloc(1024)]);
    const { reference } = await push('length', { tar: lying });
    await pullFails(2, reference, /tar|layer/i);
  });

  test('a tar with a wrong checksum', async () => {
    const { reference } = await push('checksum', {
      tar: tar([file('good', 'x'), file('bad', 'x', { checksum: 'bad' })]),
    });
    await pullFails(2, reference, /tar|layer/i);
  });

  test('a layer that is no tar, and one that is no gzip', async () => {
    await pullFails(2, (await push('no-tar', { tar: noise('no-tar').subarray(512, 4608) })).reference, /tar|layer/i);
    const blob = Buffer.from('this is not gzip');
    const store = newStore();
    const { status, stderr } = await store.run(['pull', (await push('no-gzip', { tar: tar([]), blob })).reference]);
    assert.ok(status === 2 || status === 9, stderr);
    await clean(store);
  });

  test('names that climb out', async () => {
    const { reference } = await push('climb', { tar: tar([file('../../escaped', 'x')]) });
    const store = newStore();
    const { status } = await store.run(['provision', reference, '--id', 'climber', '--backend', 'copy']);
    assert.ok(status === 2 || status === 10 || status === 0);
    if (status === 0) await store.ok('destroy', 'climber');
    assert.ok(
      !readdirSync(store.directory, { recursive: true, encoding: 'utf8' }).some((path) =>
        /^(?!.*rootfs).*escaped/.test(path),
      ),
    );
    await clean(store);
  });

  test('a full disk', async () => {
    const mount = mkdtempSync(join(tmpdir(), 'larder-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m,mode=0755', 'larder-test', mount]);
    try {
      const store = newStore(mount);
      const { reference } = await push('large', { tar: tar([noise('large')]), compression: 'none' });
      await fails(store, 7, ['pull', reference]);
      await clean(store);
      execFileSync('mount', ['-o', 'remount,size=64m', mount]);
      await store.ok('pull', reference);
      await clean(store);
    } finally {
      execFileSync('umount', ['-l', mount]);
    }
  });

  test('a store that the user may not write', async () => {
    const store = newStore();
    chmodSync(store.directory, 0o755);
    await fails(store, 5, ['pull', (await push('unwritable')).reference], { uid: NOBODY });
  });

  test('a store that others may write', async () => {
    const store = newStore();
    const { reference } = await push('unsafe');
    await store.ok('pull', reference);
    chmodSync(store.root, 0o777);
    for (const args of [['pull', reference], ['images'], ['provision', reference, '--id', 'x']])
      await fails(store, 6, args);
  });

  test('a user who may not mount pulls and reads, is told so for a mount, and may copy', async () => {
    const store = newStore();
    chownSync(store.directory, NOBODY, NOBODY);
    const as = { uid: NOBODY };
    const { reference } = await push('rootless', {
      tar: tar([file('owned', 'x', { uid: 1, gid: 2 }), char('null', 1, 3)]),
    });
    assert.equal((await store.run(['pull', reference], as)).status, 0);
    assert.equal((await store.run(['cat', reference, '/name'], as)).stdout, 'rootless');
    for (const backend of ['erofs', 'overlay']) {
      const { stderr } = await fails(store, 5, ['provision', reference, '--id', 'denied', '--backend', backend], as);
      assert.match(stderr, /root|copy/);
    }
    const copied = await store.run(['provision', reference, '--id', 'copied', '--backend', 'copy'], as);
    assert.equal(copied.status, 0, copied.stderr);
    assert.equal(readFileSync(join(copied.stdout.trim(), 'name'), 'utf8'), 'rootless');
    assert.equal((await store.run(['destroy', 'copied'], as)).status, 0);
    await clean(store, as);
  });

  test('a container that is not there, a path that is not there', async () => {
    const store = newStore();
    const { reference } = await push('absent');
    await store.ok('pull', reference);
    await fails(store, 3, ['cat', reference, '/no/such/path']);
    await fails(store, 3, ['remove', `${registry.host}/never:pulled`]);
    await fails(store, 2, ['provision', reference, '--id', '../climb']);
    await fails(store, 2, ['no-such-command']);
    await clean(store);
  });

  test('the JSON of an error has its code', async () => {
    const { stderr, stdout } = await fails(newStore(), 3, ['--json', 'pull', `${registry.host}/nowhere:latest`]);
    assert.match(stderr + stdout, /"code": ?"LARDER_[A-Z_]*NOT_FOUND"/);
  });

  test('a pull that was killed is finished by the next one', async () => {
    const { reference } = await push('killed', { tar: tar([noise('killed')]) });
    const store = newStore();
    for (const afterMs of [50, 150, 250, 400]) await store.kill(['pull', reference], afterMs);
    await store.ok('pull', reference);
    assert.equal(await store.ok('cat', reference, '/name'), 'killed');
    await store.ok('prune');
    await clean(store);
  });
});
