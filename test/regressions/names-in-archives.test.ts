import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LarderError } from '../../src/errors.js';
import { digestOf, hexOf } from '../../src/spec/digest.js';
import { file } from '../../src/testing/tar-builder.js';
import { plainImage, withArchives } from '../helpers/archives.js';

const IMAGE = plainImage('one');
const LAYER = file('l/layer.tar', IMAGE.layers[0]?.blob ?? Buffer.alloc(0));

function manifest(images: readonly { readonly tags: readonly string[] }[]): Buffer {
  const list = images.map(({ tags }) => ({ Config: 'c.json', RepoTags: tags, Layers: ['l/layer.tar'] }));
  return file('manifest.json', JSON.stringify(list));
}

test('a large config that one name has a thousand times is read once', async () => {
  const padding = Array.from({ length: 500_000 }, () => 1);
  const large = JSON.stringify({ ...JSON.parse(Buffer.from(IMAGE.config).toString()), padding });
  const all = Array.from({ length: 1000 }, () => ({ tags: ['a:1'] }));
  await withArchives(async ({ pull, write }) => {
    const path = write('a.tar', [file('c.json', large), LAYER, manifest(all)]);
    const sinceMs = performance.now();
    const { record } = await pull(`docker-archive:${path}`);
    assert.equal(record.config, digestOf(Buffer.from(large)));
    assert.ok(performance.now() - sinceMs < 20_000);
  });
});

test('names without number of an archive are refused', async () => {
  const tags = Array.from({ length: 10_001 }, () => 'A');
  await withArchives(async ({ pull, write }) => {
    const path = write('a.tar', [file('c.json', IMAGE.config), LAYER, manifest([{ tags }])]);
    await assert.rejects(pull(`docker-archive:${path}`), {
      code: 'LARDER_ARCHIVE_INVALID',
      message: /more than 10000 names/,
    });
  });
});

test('tags without number of an old archive are refused', async () => {
  const a = Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [`t${i}`, hexOf(digestOf(Buffer.from([i])))]));
  await withArchives(async ({ pull, write }) => {
    const path = write('a.tar', [file('repositories', JSON.stringify({ a }))]);
    await assert.rejects(pull(`docker-archive:${path}`), {
      code: 'LARDER_ARCHIVE_INVALID',
      message: /more than 10000 names/,
    });
  });
});

test('the names of what an archive holds fit on a page', async () => {
  const images = [0, 1].map((n) => ({ tags: Array.from({ length: 4000 }, (_, i) => `a:${n}-${i}`) }));
  await withArchives(async ({ pull, write }) => {
    const path = write('a.tar', [file('c.json', IMAGE.config), LAYER, manifest(images)]);
    await assert.rejects(
      pull(`docker-archive:${path}`),
      (error) =>
        error instanceof LarderError && (error.hint ?? '').includes('a:0-0') && (error.hint ?? '').length < 2000,
    );
  });
});

test('large documents of many layers in an old archive are refused before all are in memory', async () => {
  const ids = Array.from({ length: 8 }, (_, i) => `${i}`.repeat(64));
  const comment = 'x'.repeat(3 << 20);
  const documents = ids.map((id, i) =>
    file(`${id}/json`, JSON.stringify({ id, comment, ...(i === 0 ? {} : { parent: ids[i - 1] }) })),
  );
  await withArchives(async ({ pull, write }) => {
    const path = write('a.tar', [...documents, file('repositories', JSON.stringify({ a: { 1: ids.at(-1) } }))]);
    await assert.rejects(pull(`docker-archive:${path}`), {
      code: 'LARDER_ARCHIVE_INVALID',
      message: /the documents of its layers have more than/,
    });
  });
});
