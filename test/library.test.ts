/** The library as a program has it: in one breath, without privileges, and without native code. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventsOf, type LarderEvent, openLarder, Store } from '../src/index.js';
import { ImageSource, sampleLayer } from '../src/testing/image-source.js';
import { char, dir, file, tar } from '../src/testing/tar-builder.js';
import { type Ended, start } from './helpers/child.js';
import { findingsOf } from './helpers/docker-store.js';
import { openToOthers } from './helpers/open-checkout.js';
import { makeDirectory, needsRoot, removeDirectory } from './helpers/temporary.js';

const NOBODY = 65_534;
const CHILD = fileURLToPath(new URL('./helpers/library-child.js', import.meta.url));
const NO_KOFFI = fileURLToPath(new URL('./helpers/without-koffi.js', import.meta.url));

describe('the library', () => {
  let source: ImageSource;
  let directory: string;
  let root: string;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('demo');
    const base = tar([
      dir('.'),
      dir('etc'),
      file('etc/os-release', 'ID=demo\n'),
      file('owned', 'x', { uid: 1, gid: 2 }),
      char('null', 1, 3),
    ]);
    source.publish('demo', [base, { tar: sampleLayer('zstd', 5000), compression: 'zstd' }]);
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(() => {
    directory = makeDirectory();
    root = join(directory, 'store');
  });
  afterEach(() => removeDirectory(directory));

  async function clean(): Promise<void> {
    await using larder = await openLarder({ root });
    assert.deepEqual(
      (await findingsOf(larder)).filter(({ kind }) => kind === 'fault'),
      [],
    );
    await larder.prune();
    assert.deepEqual(await findingsOf(larder), []);
  }

  test('pulls, reads, provisions and destroys in one breath', async () => {
    {
      await using larder = await openLarder({ root });
      await using image = await larder.pull(reference);
      assert.equal((await image.fs.readFile('/etc/os-release')).toString(), 'ID=demo\n');
      const { rootfs } = await larder.provision(reference, { id: 'c1', backend: 'copy' });
      assert.equal(readFileSync(join(rootfs, 'etc/os-release'), 'utf8'), 'ID=demo\n');
      assert.equal(await larder.destroy('c1'), true);
    }
    await clean();
  });

  test('what was pulled is held until its handle is disposed, also against remove', async () => {
    {
      await using larder = await openLarder({ root });
      const image = await larder.pull(reference);
      await larder.prune();
      assert.equal((await image.fs.readFile('/etc/os-release')).toString(), 'ID=demo\n');
      await assert.rejects(larder.remove(reference), { code: 'LARDER_IMAGE_IN_USE' });
      await image[Symbol.asyncDispose]();
      await larder.remove(reference);
      await assert.rejects(larder.open(reference), { code: 'LARDER_IMAGE_NOT_FOUND' });
    }
    await clean();
  });

  test('its events come as an iterable, too, and the failure at its end', async () => {
    {
      await using larder = await openLarder({ root });
      const types: string[] = [];
      const pull = async (onEvent: (event: LarderEvent) => void): Promise<void> => {
        await using _image = await larder.pull(reference, { onEvent });
      };
      for await (const { type } of eventsOf(pull)) if (type !== 'layer-progress') types.push(type);
      assert.equal(types[0], 'resolve');
      for (const type of ['resolved', 'plan', 'layer-start', 'layer-done', 'commit'])
        assert.ok(types.includes(type), type);
      const failing = eventsOf((onEvent) => larder.pull(source.reference('nowhere'), { onEvent }));
      await assert.rejects(
        async () => {
          for await (const _ of failing);
        },
        { code: 'LARDER_IMAGE_NOT_FOUND' },
      );
    }
    await clean();
  });

  test('two objects over one root see the same images and containers', async () => {
    {
      await using one = await openLarder({ root });
      await using two = await openLarder({ root });
      await Promise.all([one, two].map(async (larder) => (await larder.pull(reference))[Symbol.asyncDispose]()));
      assert.deepEqual(one.images(), two.images());
      assert.equal(one.images().length, 1);
      await one.provision(reference, { id: 'c', backend: 'copy' });
      await assert.rejects(two.provision(reference, { id: 'c', backend: 'copy' }), { code: 'LARDER_CONTAINER_EXISTS' });
      assert.equal(await two.destroy('c'), true);
      assert.deepEqual(one.containers(), []);
    }
    await clean();
  });

  test('Store.create answers a store for docker images', async () => {
    const stores = await Store.create({ root });
    const docker = stores.get('docker') ?? assert.fail('no docker store');
    const { layers } = await docker.get({ type: 'docker', name: reference }, 'copy');
    assert.equal(layers.length, 2);
    await clean();
  });

  test('unknown settings are refused with the nearest name', async () => {
    const open = openLarder({ root, onwer: 'x' } as { root: string });
    await assert.rejects(open, { code: 'LARDER_FLAGS_INVALID', hint: 'did you mean owner?' });
  });

  test('an image is read where native code cannot be loaded, gzip and zstd', async () => {
    const { status, stdout, stderr } = await start(process.execPath, [
      '--import',
      NO_KOFFI,
      CHILD,
      root,
      reference,
      'read',
    ]).ended;
    assert.equal(status, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), { release: 'ID=demo\n', zstd: 'this is zstd\n', koffi: false });
    await clean();
  });

  describe('for a user without privileges', { skip: needsRoot }, () => {
    async function asNobody(...args: readonly string[]): Promise<Ended> {
      chmodSync(directory, 0o755);
      mkdirSync(join(directory, 'own'), { recursive: true });
      chownSync(join(directory, 'own'), NOBODY, NOBODY);
      const options = {
        uid: NOBODY,
        gid: NOBODY,
        cwd: '/',
        env: { PATH: process.env['PATH'], HOME: join(directory, 'own') },
      };
      return start(
        openToOthers(process.execPath),
        [openToOthers(CHILD), join(directory, 'own', 'store'), reference, ...args],
        options,
      ).ended;
    }

    test('pulling, listing and reading work', async () => {
      const { status, stdout, stderr } = await asNobody('read');
      assert.equal(status, 0, stderr);
      assert.equal(JSON.parse(stdout).release, 'ID=demo\n');
    });

    test('copies are the user’s own files, with a word on what could not be kept', async () => {
      const { status, stdout, stderr } = await asNobody('provision', 'copy');
      assert.equal(status, 0, stderr);
      const { owner, warnings } = JSON.parse(stdout);
      assert.equal(owner, NOBODY);
      assert.match(warnings.join('\n'), /owner/);
      assert.match(warnings.join('\n'), /device/);
    });

    for (const backend of ['erofs', 'overlay', 'bind']) {
      test(`${backend} says that it needs root, and what to do`, async () => {
        const { status, stdout, stderr } = await asNobody('provision', backend);
        assert.equal(status, 0, stderr);
        const { code, message, hint } = JSON.parse(stdout);
        assert.equal(code, 'LARDER_PERMISSION');
        assert.match(message, /needs root/);
        assert.match(hint, /copy/);
      });
    }
  });
});

describe('a root that is no store of ours', () => {
  let root: string;

  beforeEach(() => {
    root = makeDirectory();
  });
  afterEach(() => removeDirectory(root));

  async function refuses(code: string): Promise<void> {
    await assert.rejects(openLarder({ root }), (error: { code: string; message: string }) => {
      assert.equal(error.code, code);
      assert.match(error.message, new RegExp(root));
      return true;
    });
  }

  test('is refused when something else is in it, which stays', async () => {
    writeFileSync(join(root, 'thesis.tex'), 'years of work');
    await refuses('LARDER_STORE_UNSAFE');
    assert.equal(readFileSync(join(root, 'thesis.tex'), 'utf8'), 'years of work');
  });

  test('is refused when a newer larder made it', async () => {
    await (await openLarder({ root })).close();
    rmSync(join(root, 'format'));
    writeFileSync(join(root, 'format'), '99\n');
    await refuses('LARDER_FORMAT_VERSION');
  });

  test('is refused when others can write it, and taken when it is empty and ours', async () => {
    chmodSync(root, 0o777);
    await (await openLarder({ root })).close();
    chmodSync(root, 0o770);
    await refuses('LARDER_STORE_UNSAFE');
  });

  test('is refused when it belongs to somebody else', { skip: needsRoot }, async () => {
    await (await openLarder({ root })).close();
    chownSync(root, NOBODY, NOBODY);
    await refuses('LARDER_STORE_UNSAFE');
  });
});
