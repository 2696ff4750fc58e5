/** Plans: what they say before the first byte of a layer, and that the pull then does just that. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type Larder, openLarder } from '../../src/index.js';
import { diskNeed, fits, type LayerToFetch } from '../../src/store/docker/disk-need.js';
import { likelyLength } from '../../src/store/docker/gzip-trailer.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { buildSchema1Image } from '../../src/testing/schema1-builder.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

describe('a plan', () => {
  let source: ImageSource;
  let directory: string;
  let larder: Larder;

  beforeEach(async () => {
    source = await ImageSource.start();
    directory = makeDirectory();
    larder = await openLarder({ root: join(directory, 'store') });
  });
  afterEach(async () => {
    assert.deepEqual(await findingsOf(larder), []);
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  const pull = async (name: string): Promise<void> =>
    (await larder.pull(source.reference(name)))[Symbol.asyncDispose]();

  test('says what of each layer is here, and fetches no layer', async () => {
    const base = sampleLayer('base', 5000);
    source.publish('a', [base]);
    await pull('a');
    const { layers } = source.publish('b', [
      base,
      { tar: sampleLayer('plain', 3000), compression: 'none' },
      sampleLayer('packed', 9000),
    ]);
    const before = source.requests('layer').length;
    const plan = await larder.plan(source.reference('b'));
    assert.equal(source.requests('layer').length, before);
    assert.deepEqual(
      plan.layers.map(({ digest, state, fetchBytes, tarBytesAre }) => [digest, state, fetchBytes, tarBytesAre]),
      [
        [layers[0]?.digest, 'have', 0, 'exact'],
        [layers[1]?.digest, 'fetch', layers[1]?.blob.length, 'exact'],
        [layers[2]?.digest, 'fetch', layers[2]?.blob.length, 'estimated'],
      ],
    );
    assert.equal(plan.layers[0]?.tarBytes, base.length);
    assert.equal(plan.layers[1]?.tarBytes, layers[1]?.tarSize);
    assert.deepEqual(plan.from, [source.registry.host]);
    assert.equal(plan.networkBytes, (layers[1]?.blob.length ?? 0) + (layers[2]?.blob.length ?? 0));
    assert.equal(plan.isHere, false);
    assert.ok(plan.disk.fits);
    let received = 0;
    await using image = await larder.pull(source.reference('b'), {
      onEvent: (event) => {
        if (event.type === 'layer-done') received += event.received;
      },
    });
    assert.equal(received, plan.networkBytes);
    assert.equal(image.imageId, plan.imageId);
    assert.equal((await larder.plan(source.reference('b'))).isHere, true);
  });

  test('knows how long the tar of a large gzip layer is by its last bytes', async () => {
    const layer = half('half', 1_200_000);
    const { layers } = source.publish('a', [layer]);
    const [{ digest: wanted = '', blob = Buffer.alloc(0) } = {}] = layers;
    const plan = await larder.plan(source.reference('a'));
    assert.deepEqual([plan.layers[0]?.tarBytes, plan.layers[0]?.tarBytesAre], [layer.length, 'told']);
    assert.ok(plan.disk.atLeastBytes >= layer.length);
    assert.deepEqual(source.requests('layer'), [{ kind: 'layer', wanted, offset: blob.length - 4 }]);
    assert.equal(plan.networkBytes, blob.length);
    assert.equal(plan.disk.isExact, false, 'whoever made the layer may have lied');
  });

  test('guesses how long a tar is where its last bytes are not to be had, or are those of a last small member', async () => {
    const layer = half('half', 1_200_000);
    const { layers } = source.publish('a', [layer]);
    const guessed = { tarBytes: Math.round((layers[0]?.blob.length ?? 0) * 2.5), tarBytesAre: 'estimated' };
    const faults = [{ kind: 'ignore-range' }, { kind: 'wrong-range' }, { kind: 'status', status: 404 }] as const;
    for (const fault of faults) {
      source.setFault(({ kind }) => (kind === 'layer' ? fault : undefined));
      const [{ tarBytes, tarBytesAre } = {}] = (await larder.plan(source.reference('a'))).layers;
      assert.deepEqual({ tarBytes, tarBytesAre }, guessed, fault.kind);
    }
    assert.equal(likelyLength(0, 1000, 2500), undefined);
    assert.equal(likelyLength(2500, 1000, 2000), 2500);
  });

  test('knows that 32 bits hold no more than 4 GiB', () => {
    const gib = 2 ** 30;
    assert.equal(likelyLength(0.5 * gib, 2 * gib, 5 * gib), 4.5 * gib);
    assert.equal(likelyLength(3.5 * gib, 2 * gib, 5 * gib), 3.5 * gib);
  });

  test('names the mirrors, which are asked first', async () => {
    await using mirror = await ImageSource.start();
    source.publish('a', [sampleLayer('one')]);
    mirror.publish('a', [sampleLayer('one')]);
    const conf = join(directory, 'registries.conf');
    const lines = ['[[registry]]', `location = "${source.registry.host}"`, '[[registry.mirror]]'];
    writeFileSync(conf, [...lines, `location = "${mirror.registry.host}"`].join('\n'));
    await using other = await openLarder({ root: join(directory, 'other'), registries_conf: conf });
    const plan = await other.plan(source.reference('a'));
    assert.deepEqual(plan.from, [mirror.registry.host, source.registry.host]);
    assert.deepEqual(source.requests('manifest'), []);
  });

  test('of an image that is here asks nobody, unless it is to', async () => {
    source.publish('a', [sampleLayer('one')]);
    await pull('a');
    const before = source.registry.requests.length;
    const plan = await larder.plan(source.reference('a'));
    assert.equal(source.registry.requests.length, before);
    assert.deepEqual([plan.isHere, plan.networkBytes, plan.from], [true, 0, []]);
    const moved = source.publish('a', [sampleLayer('two')]);
    const fresh = await larder.plan(source.reference('a'), { cached: false });
    assert.equal(fresh.digest, moved.digest);
    assert.equal((await larder.find(source.reference('a'))).digest, plan.digest, 'nothing has changed');
  });

  test('counts what is left of a download that was broken off', async () => {
    const { layers } = source.publish('a', [sampleLayer('big', 3_000_000)]);
    const size = layers[0]?.blob.length ?? 0;
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 1_500_000 } : undefined));
    const stop = new AbortController();
    const pulling = assert.rejects(larder.pull(source.reference('a'), { signal: stop.signal }), {
      code: 'LARDER_ABORTED',
    });
    await until(async () => (await larder.df()).downloadBytes > 1_000_000, 'a part of it is on disk');
    stop.abort();
    await pulling;
    source.setFault();
    const plan = await larder.plan(source.reference('a'));
    const [layer] = plan.layers;
    assert.equal(layer?.state, 'partly');
    assert.ok((layer?.hereBytes ?? 0) >= 1_000_000, `${layer?.hereBytes}`);
    assert.equal(plan.networkBytes, size - (layer?.hereBytes ?? 0));
    await pull('a');
  });

  test('says which platform, why, and what else there would be', async () => {
    const images = ['linux/arm/v6', 'linux/arm/v7', 'linux/amd64'].map((platform) =>
      buildImage({ platform, layers: [{ tar: sampleLayer(platform.replaceAll('/', '-')) }] }),
    );
    source.publishIndex('a', images);
    const { platform, imageId } = await larder.plan(source.reference('a'), { platform: 'linux/arm/v8' });
    assert.deepEqual(platform, {
      wanted: 'linux/arm/v8',
      wantedBy: 'request',
      chosen: 'linux/arm/v7',
      match: 'compatible',
      offered: ['linux/arm/v6', 'linux/arm/v7', 'linux/amd64'],
    });
    assert.equal(imageId, images[1]?.configDigest);
    await using other = await openLarder({ root: larder.root, platform: 'linux/arm/v6' });
    const set = (await other.plan(source.reference('a'))).platform;
    assert.deepEqual([set.wantedBy, set.chosen, set.match], ['setting', 'linux/arm/v6', 'exact']);
    await assert.rejects(larder.plan(source.reference('a'), { platform: 'linux/riscv64' }), {
      code: 'LARDER_PLATFORM_NOT_FOUND',
    });
  });

  test('of an archive has no bytes from the network', async () => {
    source.publish('a', [sampleLayer('one', 4000)]);
    const path = join(directory, 'a.tar');
    await larder.export(source.reference('a'), `docker-archive:${path}`);
    await using other = await openLarder({ root: join(directory, 'other') });
    const plan = await other.plan(`docker-archive:${path}`);
    assert.equal(plan.networkBytes, 0);
    assert.deepEqual(plan.from, [path]);
    assert.equal(plan.layers[0]?.state, 'fetch');
    assert.ok(plan.disk.isExact);
  });

  test('of an Appc image cannot be made', async () => {
    await assert.rejects(larder.plan('appc:example.com/a'), { code: 'LARDER_IMAGE_TYPE_UNSUPPORTED' });
  });

  test('that cannot fit is told so, and the pull is refused before its first byte', async () => {
    source.publish('a', [sampleLayer('one', 4000)]);
    await using full = await openLarder({ root: larder.root, reserved_disk_bytes: Number.MAX_SAFE_INTEGER });
    const { disk } = await full.plan(source.reference('a'));
    assert.equal(disk.fits, false);
    assert.equal(disk.reservedBytes, Number.MAX_SAFE_INTEGER);
    await assert.rejects(full.pull(source.reference('a')), (error: Error & { code: string; details: object }) => {
      assert.equal(error.code, 'LARDER_NO_SPACE');
      assert.match(error.message, new RegExp(`takes at least ${disk.atLeastBytes} bytes`));
      assert.deepEqual(Object.keys(error.details), ['needed', 'free', 'reserved']);
      return true;
    });
    assert.deepEqual(source.requests('layer'), []);
    await larder.prune();
  });

  test('of a schema 1 image asks for the sizes, and refuses what cannot fit as well', async () => {
    const built = buildSchema1Image({ layers: [{ tar: sampleLayer('old', 4000) }] });
    source.registry.addImage({ name: 'old', ...built });
    const plan = await larder.plan(source.reference('old'));
    assert.equal(plan.imageId, undefined);
    assert.equal(plan.networkBytes, built.blobs[0]?.length);
    await using full = await openLarder({ root: larder.root, reserved_disk_bytes: Number.MAX_SAFE_INTEGER });
    await assert.rejects(full.pull(source.reference('old')), { code: 'LARDER_NO_SPACE' });
  });

  test('is compared with what the file system really has', { skip: needsRoot }, async () => {
    const small = join(directory, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', small]);
    try {
      await using tiny = await openLarder({ root: join(small, 'store') });
      source.publish('big', [sampleLayer('big', 12_000_000)]);
      await assert.rejects(tiny.pull(source.reference('big')), { code: 'LARDER_NO_SPACE' });
      assert.deepEqual(source.requests('layer'), []);
      source.publish('half', [half('half', 2_000_000, 9_000_000)]);
      await assert.rejects(tiny.pull(source.reference('half')), { code: 'LARDER_NO_SPACE' });
      const offsets = source.requests('layer').map(({ offset }) => offset > 0);
      assert.deepEqual(offsets, [true], 'the compressed layer would fit: only how long its tar is was asked');
      source.publish('small', [sampleLayer('small', 1_000_000)]);
      await (await tiny.pull(source.reference('small')))[Symbol.asyncDispose]();
    } finally {
      execFileSync('umount', ['-l', small]);
    }
  });
});

/** A layer of so many bytes that no compression makes smaller, and so many zeros. */
function half(name: string, bytes: number, zeros = bytes): Buffer {
  const noise = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(Buffer.alloc(bytes));
  return tar([dir('.'), file(name, Buffer.concat([noise, Buffer.alloc(zeros)]))]);
}

describe('what fetching layers takes of the disk', () => {
  const layer = (size: number, more: Partial<LayerToFetch> = {}): LayerToFetch => ({
    size,
    here: 0,
    downloads: true,
    tarBytes: 3 * size,
    leastTarBytes: 0.9 * size,
    isExact: false,
    ...more,
  });

  test('is at least the tars, and at its peak the downloads that run at once, too', () => {
    const need = diskNeed([layer(100), layer(200), layer(300)], 2);
    assert.equal(need.atLeastBytes, 570);
    assert.equal(need.peakBytes, 1800 + 500 + 54);
    assert.equal(need.finalBytes, 1800 + 54);
    assert.equal(need.isExact, false);
  });

  test('is at least the tar and the download of any one of them', () => {
    const need = diskNeed([layer(1000, { tarBytes: 1000, leastTarBytes: 1000, isExact: true })], 1);
    assert.equal(need.atLeastBytes, 2000);
    assert.equal(need.isExact, true);
  });

  test('gives back what was downloaded before', () => {
    const need = diskNeed([layer(100, { here: 40 })], 1);
    assert.deepEqual([need.atLeastBytes, need.peakBytes, need.finalBytes], [150, 300 + 60 + 9, 300 + 9 - 40]);
  });

  test('is the tar alone where it is read in an archive', () => {
    assert.equal(
      diskNeed([layer(100, { downloads: false, tarBytes: 100, leastTarBytes: 100, isExact: true })], 1).atLeastBytes,
      100,
    );
  });

  test('fits while what is reserved stays free, and nothing always fits', () => {
    const space = { freeBytes: 100, reservedBytes: 50 };
    assert.ok(
      fits(diskNeed([layer(50, { downloads: false, tarBytes: 50, leastTarBytes: 50, isExact: true })], 1), space),
    );
    assert.ok(
      !fits(diskNeed([layer(51, { downloads: false, tarBytes: 51, leastTarBytes: 51, isExact: true })], 1), space),
    );
    assert.ok(fits(diskNeed([], 1), { freeBytes: 0, reservedBytes: 50 }));
  });
});
