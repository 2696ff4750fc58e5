/** What a tag meant, and the way back. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type Larder, openLarder } from '../../src/index.js';
import { parseMoment } from '../../src/store/docker/moment.js';
import { dockerArchive } from '../../src/testing/archive-builder.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { tar } from '../../src/testing/tar-builder.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('a tag that has moved', () => {
  let source: ImageSource;
  let directory: string;
  let larder: Larder;
  let reference: string;
  let digests: { old: string; new: string };

  beforeEach(async () => {
    source = await ImageSource.start();
    directory = makeDirectory();
    larder = await openLarder({ root: join(directory, 'store') });
    reference = source.reference('a');
    const old = source.publish('a', [sampleLayer('base'), sampleLayer('old')]);
    await pull();
    const moved = source.publish('a', [sampleLayer('base'), sampleLayer('new')]);
    await pull({ cached: false });
    digests = { old: old.digest, new: moved.digest };
  });
  afterEach(async () => {
    assert.deepEqual(
      (await findingsOf(larder)).filter(({ kind }) => kind === 'fault'),
      [],
    );
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  async function pull(request: Parameters<Larder['pull']>[1] = {}): Promise<string> {
    await using image = await larder.pull(reference, request);
    return image.record.digest;
  }

  async function rollback(to?: string): Promise<string> {
    await using image = await larder.rollback(reference, to === undefined ? {} : { to });
    return image.record.digest;
  }

  const states = async (): Promise<readonly (readonly string[])[]> =>
    (await larder.history(reference)).map(({ digest, state, how }) => [digest, state, how]);

  test('is listed with what it meant and what of that is left', async () => {
    assert.deepEqual(await states(), [
      [digests.new, 'current', 'resolved'],
      [digests.old, 'here', 'resolved'],
    ]);
    await larder.prune({ exclude: [reference] });
    assert.deepEqual(
      (await states()).map(([, state]) => state),
      ['current', 'gone'],
    );
  });

  test('is taken back without a request, and stays there until it is asked for anew', async () => {
    const before = source.registry.requests.length;
    assert.equal(await rollback(), digests.old);
    await using image = await larder.pull(reference);
    assert.equal((await image.fs.readFile('/old')).toString(), 'this is old\n');
    assert.equal(source.registry.requests.length, before);
    assert.deepEqual(await states(), [
      [digests.old, 'current', 'taken-back'],
      [digests.new, 'here', 'resolved'],
      [digests.old, 'current', 'resolved'],
    ]);
    assert.equal(await pull({ cached: false }), digests.new);
  });

  test('taken back twice is where it was', async () => {
    assert.equal(await rollback(), digests.old);
    assert.equal(await rollback(), digests.new);
  });

  test('is taken back by a time, a digest or the beginning of one', async () => {
    const [, first] = await larder.history(reference);
    assert.ok(first);
    assert.equal(await pull({ asOf: new Date(first.atMs).toISOString() }), digests.old);
    assert.equal(await pull({ asOf: digests.new }), digests.new);
    assert.equal(await rollback(digests.old.slice(7, 20)), digests.old);
    assert.equal(await pull({ asOf: digests.new.slice(0, 20) }), digests.new);
    assert.equal(await pull({ asOf: '0s' }), digests.new);
    await assert.rejects(pull({ asOf: '7days' }), { code: 'LARDER_IMAGE_NOT_FOUND', hint: /what is known begins at/ });
    await assert.rejects(pull({ asOf: '0000000' }), { code: 'LARDER_IMAGE_NOT_FOUND' });
    await assert.rejects(pull({ asOf: 'yesterday' }), { code: 'LARDER_REQUEST_INVALID' });
  });

  test('is fetched by digest where the store has lost what it meant', async () => {
    await larder.prune({ exclude: [reference] });
    const before = source.requests('layer').length;
    assert.equal(await rollback(), digests.old);
    assert.equal(source.requests('layer').length, before + 1, 'the base layer is here');
  });

  test('cannot be taken back when neither the store nor the registry has it any more', async () => {
    await larder.prune({ exclude: [reference] });
    source.setFault(({ wanted }) => (wanted === digests.old ? { kind: 'status', status: 404 } : undefined));
    await assert.rejects(rollback(), { code: 'LARDER_IMAGE_NOT_FOUND', hint: /larder pin/ });
    assert.equal(await pull(), digests.new);
  });

  test('is kept under its digest when that is pulled and pinned', async () => {
    const kept = `${reference}@${digests.old}`;
    await (await larder.pull(kept))[Symbol.asyncDispose]();
    await larder.pin(kept);
    await larder.prune();
    assert.deepEqual(
      (await states()).map(([, state]) => state),
      ['gone', 'kept'],
    );
    const before = source.requests('layer').length;
    assert.equal(await rollback(digests.old), digests.old);
    assert.equal(source.requests('layer').length, before);
  });

  test('offline is taken back as long as all of it is there', async () => {
    await using offline = await openLarder({ root: larder.root, offline: true });
    {
      await using image = await offline.rollback(reference);
      assert.equal(image.record.digest, digests.old);
    }
    await larder.prune({ exclude: [reference] });
    await assert.rejects(offline.rollback(reference), { code: 'LARDER_OFFLINE' });
  });

  test('never forgets what was not its own: a name with a digest cannot be taken back', async () => {
    await assert.rejects(larder.rollback(`${reference}@${digests.old}`, { to: digests.new }), {
      code: 'LARDER_REQUEST_INVALID',
    });
    await assert.rejects(larder.rollback(source.reference('other')), { code: 'LARDER_IMAGE_NOT_FOUND' });
    await assert.rejects(larder.rollback('appc:example.com/a', { to: '7days' }), {
      code: 'LARDER_IMAGE_TYPE_UNSUPPORTED',
    });
  });

  test('is not taken back to what no registry says belongs to its name, but asks for it there', async () => {
    const other = source.publish('other', [sampleLayer('other')]);
    await (await larder.pull(source.reference('other')))[Symbol.asyncDispose]();
    await assert.rejects(rollback(other.digest), { code: 'LARDER_IMAGE_NOT_FOUND' });
  });

  test('in an archive that was replaced is taken back from the store', async () => {
    const path = join(directory, 'a.tar');
    const write = (layer: string) => {
      const image = buildImage({ layers: [{ tar: sampleLayer(layer), compression: 'none' }] });
      writeFileSync(path, tar(dockerArchive([{ image, tags: ['demo:1'] }])));
      return image.configDigest;
    };
    const name = `docker-archive:${path}`;
    const first = write('first');
    await (await larder.pull(name))[Symbol.asyncDispose]();
    write('second');
    await (await larder.pull(name))[Symbol.asyncDispose]();
    await using image = await larder.rollback(name);
    assert.equal(image.imageId, first);
  });
});

test('moments are digests, times, and times ago', () => {
  const now = Date.parse('2026-11-22T12:00:00Z');
  assert.deepEqual(parseMoment('2hrs', now), { kind: 'time', text: '2hrs', atMs: now - 7_200_000 });
  assert.deepEqual(parseMoment('2026-11-22T11:00Z', now), {
    kind: 'time',
    text: '2026-11-22T11:00Z',
    atMs: now - 3_600_000,
  });
  assert.deepEqual(parseMoment('abcdef', now), { kind: 'digest', text: 'abcdef', digest: 'sha256:abcdef' });
  for (const text of ['2 hours ago', '2h', '120 minutes', '120m'])
    assert.deepEqual(parseMoment(text, now), { kind: 'time', text, atMs: now - 7_200_000 });
  for (const text of ['', 'x', '2026-13-45', '12/31/2026', 'abc', 'sha256:xyz', '5 moons', '5 minutes hence']) {
    assert.throws(() => parseMoment(text, now), { code: 'LARDER_REQUEST_INVALID' }, text);
  }
});
