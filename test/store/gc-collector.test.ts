import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mock, test } from 'node:test';
import { parseImageGcConfig } from '../../src/config-documents.js';
import { Larder } from '../../src/larder.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';
import { faultsOf, layerOf, openStore, type PruneStore, removedBy, withStore } from './prune-store.js';

const MB = 1_000_000;
const config = (json: object) => parseImageGcConfig(json, 'test');

/** Images of about a megabyte each, the first one used least lately. */
async function pullInOrder(
  { source, larder, assembly }: Omit<PruneStore, 'root' | 'directory'>,
  names: readonly string[],
) {
  const hourAgo = Date.now() - 3_600_000;
  for (const [i, name] of names.entries()) {
    source.publish(name, [layerOf(name, MB)]);
    await (await larder.pull(source.reference(name)))[Symbol.asyncDispose]();
    const [record = assert.fail()] = assembly.metadata.find(`${source.reference(name)}:latest`);
    await assembly.metadata.put({ ...record, createdAtMs: hourAgo, lastUsedAtMs: hourAgo + i * 60_000 });
  }
}

const left = (larder: Larder): string =>
  larder
    .images()
    .map(({ reference }) => /\/(\w+):/.exec(reference)?.[1])
    .sort()
    .join('');

test('above its own limit a store loses the images used least lately, and not those in use, pinned, held, excluded', () =>
  withStore(async (store) => {
    const { larder, source, assembly } = store;
    await pullInOrder(store, ['a', 'b', 'c', 'd', 'e', 'f', 'g']);
    await larder.pin(source.reference('a'));
    await using _held = await larder.open(source.reference('b'));
    await larder.provision(source.reference('c'), { id: 'c', backend: 'copy' });
    const gc = config({ store_max_bytes: 5 * MB, excluded_images: [source.reference('d')] });
    const before = (await larder.df()).storeBytes;
    const planned = await larder.collectGarbage({ config: gc, dryRun: true });
    assert.equal(left(larder), 'abcdefg');
    const report = await larder.collectGarbage({ config: gc });
    assert.equal(left(larder), 'abcd');
    assert.match(report.due ?? '', /the store has \d+ bytes, the limit is 5000000/);
    assert.deepEqual(
      report.images.map(({ name, why }) => [/\/(\w+):/.exec(name)?.[1], why]),
      [
        ['e', 'not used for 0.9 hours'],
        ['f', 'not used for 0.9 hours'],
        ['g', 'not used for 0.9 hours'],
      ],
    );
    assert.deepEqual(
      planned.images.map(({ name }) => name),
      report.images.map(({ name }) => name),
    );
    assert.equal(report.freedBytes, before - (await larder.df()).storeBytes);
    assert.equal(report.short, false);
    await larder.destroy('c');
    assert.deepEqual(await faultsOf(assembly), []);
  }));

test('what nothing holds goes before what can be made again, and that before images', () =>
  withStore(async (store) => {
    const { larder, assembly } = store;
    await pullInOrder(store, ['a', 'b']);
    const orphan = await removedBy(async () => {
      await assembly.metadata.remove(`${store.source.reference('a')}:latest`);
    });
    assert.deepEqual(orphan.removed, []);
    const { storeBytes } = await larder.df();
    const first = await larder.collectGarbage({ config: config({ store_max_bytes: storeBytes - 1 }) });
    assert.deepEqual(first.images, []);
    assert.ok(first.removed.some(({ what, bytes }) => what === 'layer' && bytes > MB));
    const { derivedBytes, storeBytes: now } = await larder.df();
    const merged = assembly.derived.list('merged').length;
    const second = await larder.collectGarbage({ config: config({ store_max_bytes: now - 1 }) });
    if (merged > 0) {
      assert.deepEqual([second.images, second.removed.map(({ what }) => what)], [[], ['derived']]);
      assert.ok((await larder.df()).derivedBytes < derivedBytes);
    }
    const third = await larder.collectGarbage({ config: config({ store_max_bytes: 1 }) });
    assert.equal(third.images.length, 1);
    assert.equal(left(larder), '');
    assert.equal(third.short, false);
    assert.deepEqual(await findingsOf(assembly), []);
  }));

test('where there is room nothing is done, and without settings it is refused', () =>
  withStore(async (store) => {
    await pullInOrder(store, ['a']);
    const report = await store.larder.collectGarbage({ config: config({ store_max_bytes: 100 * MB }) });
    assert.deepEqual([report.due, report.images, report.removed], [undefined, [], []]);
    await assert.rejects(store.larder.collectGarbage(), { code: 'LARDER_FLAGS_INVALID' });
  }));

test('an image that was used before the clock was set back by ten years grows old from now on', () =>
  withStore(async (store) => {
    const { larder, assembly } = store;
    await pullInOrder(store, ['a', 'b']);
    const [record = assert.fail()] = assembly.metadata.find(`${store.source.reference('a')}:latest`);
    await assembly.metadata.put({ ...record, lastUsedAtMs: Date.now() + 10 * 365 * 86_400_000 });
    const gc = config({ store_max_bytes: 1, minimum_age: '1hrs' });
    assert.equal((await larder.collectGarbage({ config: gc, dryRun: true })).short, true);
    const [planned = assert.fail()] = assembly.metadata.find(record.reference);
    assert.ok(planned.lastUsedAtMs > Date.now());
    assert.equal((await larder.collectGarbage({ config: gc })).short, true);
    const [settled = assert.fail()] = assembly.metadata.find(record.reference);
    assert.ok(settled.lastUsedAtMs <= Date.now());
    assert.equal(left(larder), 'ab');
  }));

test('a clock that is behind for one collection makes no image older than it is', () =>
  withStore(async (store) => {
    const { larder, assembly } = store;
    await pullInOrder(store, ['a', 'b']);
    const times = () => [...assembly.metadata.list()].map(({ lastUsedAtMs }) => lastUsedAtMs);
    const before = times();
    const now = Date.now();
    mock.method(Date, 'now', () => now - 10 * 365 * 86_400_000);
    try {
      const report = await larder.collectGarbage({ config: config({ store_max_bytes: 1, minimum_age: '1hrs' }) });
      assert.equal(report.short, true);
    } finally {
      mock.restoreAll();
    }
    assert.deepEqual(times(), before);
    assert.equal(left(larder), 'ab');
  }));

test('what cannot be enough is told', () =>
  withStore(async (store) => {
    await pullInOrder(store, ['a', 'b']);
    await store.larder.pin(store.source.reference('b'));
    const report = await store.larder.collectGarbage({ config: config({ store_max_bytes: 1 }) });
    assert.equal(report.short, true);
    assert.equal(left(store.larder), 'b');
  }));

test('a file system that is too full is emptied down to the low mark, as far as images can', {
  skip: needsRoot,
}, async (t) => {
  const directory = makeDirectory();
  const [image, disk] = [join(directory, 'disk.img'), join(directory, 'disk')];
  writeFileSync(image, '');
  truncateSync(image, 48 * MB);
  mkdirSync(disk);
  const made = spawnSync('mkfs.ext4', ['-q', '-F', image]);
  const mounted = made.status === 0 && spawnSync('mount', ['-o', 'loop', image, disk]).status === 0;
  if (!mounted) {
    removeDirectory(directory);
    t.skip('no loop device with ext4 here');
    return;
  }
  const source = await ImageSource.start();
  const used = (): number => {
    const { blocks, bfree } = statfsSync(disk);
    return (blocks - bfree) / blocks;
  };
  try {
    const assembly = await openStore(join(disk, 'store'));
    await using larder = new Larder(assembly);
    await pullInOrder({ source, larder, assembly }, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']);
    const usage = used();
    assert.equal(
      (await larder.collectGarbage({ config: config({ image_disk_headroom: 0.99 - usage }) })).due,
      undefined,
    );
    const low = usage - 0.1;
    const gc = config({ high_watermark: usage - 0.01, low_watermark: low });
    const report = await larder.collectGarbage({ config: gc });
    assert.ok(used() <= low, `${used()} of the disk is used, was ${usage}`);
    assert.equal(report.short, false);
    assert.ok(left(larder).endsWith('hij') && !left(larder).includes('a'), left(larder));
    assert.ok(report.disk.usedAfter < report.disk.usedBefore);
    assert.deepEqual(await faultsOf(assembly), []);
  } finally {
    await source[Symbol.asyncDispose]();
    spawnSync('umount', [disk]);
    removeDirectory(directory);
  }
});
