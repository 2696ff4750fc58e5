/** A database that is lost or damaged in every way, and what comes back of the store. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Finding } from '../../src/check.js';
import { type Larder, type LarderEvent, openLarder } from '../../src/index.js';
import { openSqlite } from '../../src/metadata/sqlite.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { mountsBelow } from '../e2e/larder.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

describe('a damaged database', () => {
  let source: ImageSource;
  let directory: string;
  let root: string;
  let events: LarderEvent[];

  beforeEach(async () => {
    source = await ImageSource.start();
    source.publish('a', [sampleLayer('base', 20_000), sampleLayer('a')]);
    source.publish('b', [sampleLayer('base', 20_000), sampleLayer('b')]);
    directory = makeDirectory();
    root = join(directory, 'store');
    events = [];
    await using larder = await openLarder({ root });
    for (const name of ['a', 'b']) await (await larder.pull(source.reference(name)))[Symbol.asyncDispose]();
    emptyLog();
  });
  afterEach(async () => {
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  const at = (...path: readonly string[]): string => join(root, ...path);
  const database = (): string => at('metadata', 'larder.db');
  const open = (): Promise<Larder> => openLarder({ root }, { onEvent: (event) => void events.push(event) });
  const warnings = (): string => events.flatMap((event) => (event.type === 'warning' ? event.message : [])).join('\n');
  const asides = (): string[] => readdirSync(at('metadata')).filter((name) => name.startsWith('damaged-'));

  /** All of the database into its one file, so that what is damaged is not mended from the log. */
  function emptyLog(): void {
    const sqlite = openSqlite(database(), false);
    sqlite.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    sqlite.close();
  }

  async function findings(larder: Larder): Promise<Finding[]> {
    const found: Finding[] = [];
    for await (const finding of larder.check({ deep: true })) found.push(finding);
    return found;
  }

  function noise(path: string): void {
    const bytes = readFileSync(path);
    for (let page = 1; page * 4096 < bytes.length; page++) bytes.fill(0xa5, page * 4096, page * 4096 + 200);
    writeFileSync(path, bytes);
  }

  function flip(path: string): void {
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    chmodSync(path, 0o400);
  }

  const damages: Record<string, () => void> = {
    'is empty': () => truncateSync(database(), 0),
    'is noise': () => writeFileSync(database(), Buffer.alloc(50_000, 0x5a)),
    'has a header of noise': () => {
      const bytes = readFileSync(database());
      writeFileSync(database(), bytes.fill(0x5a, 0, 100));
    },
    'lost its end': () => truncateSync(database(), 8192),
    'has pages of noise': () => noise(database()),
    'is gone': () => rmSync(database()),
    'is gone with all of metadata/ but the names': () => {
      for (const name of readdirSync(at('metadata'))) if (name !== 'names') rmSync(at('metadata', name));
    },
    'is something else’s': () => {
      rmSync(database());
      copyFileSync(at('format'), database());
    },
  };
  for (const [what, damage] of Object.entries(damages)) {
    test(`that ${what} comes back with all images, and is kept aside`, async () => {
      const before = await imagesOf();
      damage();
      const bytes = existsSync(database()) ? readFileSync(database()) : undefined;
      // Some damage shows only when it is read; then the next who opens it looks closer.
      await using larder = await reopened();
      assert.deepEqual(larder.images(), before);
      assert.deepEqual(await findings(larder), []);
      assert.match(warnings(), /database is damaged/);
      const [aside] = asides();
      if (bytes !== undefined) assert.ok(readFileSync(at('metadata', aside ?? '', 'larder.db')).equals(bytes));
      source.setFault(() => assert.fail('asked the registry'));
      await using image = await larder.pull(source.reference('a'));
      assert.equal((await image.fs.readFile('/a')).toString(), 'this is a\n');
    });
  }

  async function imagesOf(): Promise<ReturnType<Larder['images']>> {
    await using larder = await openLarder({ root });
    return larder.images();
  }

  async function reopened(): Promise<Larder> {
    const first = await open();
    try {
      first.images();
      return first;
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'LARDER_METADATA_CORRUPT');
      await first.close();
      return open();
    }
  }

  test('is found by repair where no command has stumbled on it yet', async () => {
    noise(database());
    await using larder = await openLarder({ root }, { thorough: true, onEvent: (event) => void events.push(event) });
    assert.equal(larder.images().length, 2);
    assert.match(warnings(), /database is damaged/);
  });

  test('is made again by one of those who open it at once; the others wait for it', async () => {
    truncateSync(database(), 0);
    const opened = await Promise.all(Array.from({ length: 5 }, open));
    try {
      for (const larder of opened) assert.equal(larder.images().length, 2);
      assert.equal(asides().length, 1);
    } finally {
      for (const larder of opened) await larder.close();
    }
  });

  test('is of no use any more to who had it open', async () => {
    await using before = await openLarder({ root });
    assert.equal(before.images().length, 2);
    rmSync(database());
    await using larder = await open();
    assert.throws(() => before.images(), { code: 'LARDER_METADATA_CORRUPT', hint: 'open the store again' });
    await assert.rejects(before.prune(), { code: 'LARDER_METADATA_CORRUPT' });
    assert.equal(larder.images().length, 2);
    assert.deepEqual(await findings(larder), []);
  });

  test('comes back without the image whose layer is not what its name says; the tar stays', async () => {
    await using probe = await openLarder({ root });
    const { layers } = await probe.find(source.reference('a'));
    const tar = at('layers', 'sha256', layers[1]?.diffId.slice(7) ?? '', 'layer.tar');
    await probe.close();
    flip(tar);
    truncateSync(database(), 0);
    await using larder = await open();
    assert.deepEqual(
      larder.images().map(({ reference }) => reference),
      [`${source.reference('b')}:latest`],
    );
    assert.ok(existsSync(tar));
    assert.match(warnings(), /does not hash to its name/);
    assert.match(warnings(), /\/a:latest .* is forgotten: sha256:/);
    await using again = await larder.pull(source.reference('a'));
    assert.equal((await again.fs.readFile('/a')).toString(), 'this is a\n');
    assert.deepEqual(await findings(larder), []);
  });

  test('comes back without the image whose manifest is not what its name says', async () => {
    const images = await imagesOf();
    flip(at('blobs', 'sha256', images[0]?.manifest.slice(7) ?? ''));
    truncateSync(database(), 0);
    await using larder = await open();
    assert.equal(larder.images().length, 1);
  });

  test('that is lost with its names leaves images under names of their own', async () => {
    const before = await imagesOf();
    rmSync(at('metadata'), { recursive: true });
    await using larder = await open();
    assert.deepEqual(
      larder.images().map(({ reference }) => reference),
      before.map(({ config }) => `localhost/recovered:${config.slice(7, 19)}`).sort(),
    );
    assert.deepEqual(
      larder
        .images()
        .map(({ manifest }) => manifest)
        .sort(),
      before.map(({ manifest }) => manifest).sort(),
    );
    assert.deepEqual(await findings(larder), []);
  });

  test('that is killed while it is made again is made again by the next', async () => {
    truncateSync(database(), 0);
    mkdirSync(at('metadata', 'rebuilding-dead'));
    writeFileSync(at('metadata', 'rebuilding-dead', 'larder.db'), '');
    await using larder = await open();
    assert.equal(larder.images().length, 2);
    assert.deepEqual(
      readdirSync(at('metadata')).filter((name) => name.startsWith('rebuilding-')),
      [],
    );
  });

  test('that is killed when it was made again leaves nothing behind', async () => {
    writeFileSync(at('metadata', 'suspect'), '');
    mkdirSync(at('metadata', 'rebuilding-dead'));
    await using larder = await open();
    assert.equal(larder.images().length, 2);
    assert.deepEqual(
      readdirSync(at('metadata')).filter((name) => /^(?:rebuilding|damaged|suspect)/.test(name)),
      [],
    );
  });

  test('does not bring back what was removed', async () => {
    {
      await using larder = await openLarder({ root });
      await larder.remove(source.reference('a'));
    }
    truncateSync(database(), 0);
    await using larder = await open();
    assert.deepEqual(
      larder.images().map(({ reference }) => reference),
      [`${source.reference('b')}:latest`],
    );
  });

  test('does not bring back what was pruned, whatever of it is still here', async () => {
    source.publish('twin', [sampleLayer('base', 20_000), sampleLayer('a')]);
    {
      await using larder = await openLarder({ root });
      await (await larder.pull(source.reference('twin')))[Symbol.asyncDispose]();
      await larder.prune({ exclude: [source.reference('twin')] });
      assert.equal(readdirSync(at('metadata', 'names')).length, 1);
    }
    truncateSync(database(), 0);
    await using larder = await open();
    assert.deepEqual(
      larder.images().map(({ reference }) => reference),
      [`${source.reference('twin')}:latest`],
    );
  });

  test('comes back with pins', async () => {
    {
      await using larder = await openLarder({ root });
      await larder.pin(source.reference('a'));
    }
    truncateSync(database(), 0);
    await using larder = await open();
    assert.deepEqual(
      larder.images().map(({ pinned }) => pinned),
      [true, undefined],
    );
  });

  test('is not seen in a store that is new', async () => {
    root = join(directory, 'new');
    await using larder = await open();
    assert.deepEqual(larder.images(), []);
    assert.deepEqual(events, []);
  });

  for (const backend of ['erofs', 'overlay', 'copy'] as const) {
    test(`leaves a container on ${backend} as it is, and prune its layers`, { skip: needsRoot }, async () => {
      let rootfs: string;
      {
        await using larder = await openLarder({ root });
        ({ rootfs } = await larder.provision(source.reference('a'), { id: 'c', backend }));
        writeFileSync(join(rootfs, 'own'), 'mine');
      }
      truncateSync(database(), 0);
      await using larder = await open();
      assert.equal(readFileSync(join(rootfs, 'a'), 'utf8'), 'this is a\n');
      const [claim] = larder.containers();
      assert.equal(claim?.container, 'c');
      await larder.prune();
      assert.deepEqual(
        larder.images().map(({ reference }) => reference),
        [`${source.reference('a')}:latest`],
      );
      assert.equal(readFileSync(join(rootfs, 'own'), 'utf8'), 'mine');
      assert.deepEqual(await findings(larder), []);
      const second = await larder.provision(source.reference('a'), { id: 'd', backend });
      assert.equal(readFileSync(join(second.rootfs, 'a'), 'utf8'), 'this is a\n');
      for (const id of ['c', 'd']) await larder.destroy(id);
      assert.deepEqual(mountsBelow(root), []);
      await larder.prune();
      assert.deepEqual(await findings(larder), []);
    });
  }

  test('that loses a container’s claim, too, says so, and check shows the container', async () => {
    {
      await using larder = await openLarder({ root });
      await larder.provision(source.reference('a'), { id: 'c', backend: 'copy' });
    }
    writeFileSync(at('containers', 'c', 'claim.json'), '{');
    truncateSync(database(), 0);
    await using larder = await open();
    assert.match(warnings(), /container c: its claim is lost/);
    assert.ok(
      (await findings(larder)).some(({ subject, invariant }) => subject === 'container c' && invariant === 'I4'),
    );
    assert.equal(await larder.destroy('c'), true);
    assert.deepEqual(await findings(larder), []);
  });
});
