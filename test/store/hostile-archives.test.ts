/** What archives must not get away with. The numbers are those of the corpus of hostile archives. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { dockerArchive, oldDockerArchive } from '../../src/testing/archive-builder.js';
import { dir, file, hardlink, sparse, symlink, tar } from '../../src/testing/tar-builder.js';
import { config, IMAGE, LAYER, layer, manifest, refusedArchives } from '../corpus/docker-archives.js';
import { diffIdsOf, plainImage, withArchives } from '../helpers/archives.js';

for (const [what, members] of Object.entries(refusedArchives)) {
  test(`${what} is refused, and nothing is left of it`, async () => {
    await withArchives(async ({ write, pull, larder }) => {
      await assert.rejects(pull(`docker-archive:${write('x.tar', members)}`), { code: 'LARDER_ARCHIVE_INVALID' });
      assert.deepEqual(larder.images(), []);
    });
  });
}

test('A19: a zip archive is refused by name', async () => {
  await withArchives(async ({ write, pull }) => {
    const zip = write('x.tar', Buffer.from(`PK\u0003\u0004${'\0'.repeat(1000)}`));
    await assert.rejects(pull(`docker-archive:${zip}`), { code: 'LARDER_MEDIA_TYPE_UNSUPPORTED', message: /zip/ });
  });
});

test('an archive without an image is refused', async () => {
  await withArchives(async ({ write, pull }) => {
    const members = [file('manifest.json', '[]')];
    await assert.rejects(pull(`docker-archive:${write('x.tar', members)}`), { code: 'LARDER_IMAGE_NOT_FOUND' });
  });
});

test('a layer that is a sparse file is refused', async () => {
  await withArchives(async ({ write, pull }) => {
    const holes = sparse('l/layer.tar', 1 << 20, [{ offset: 0, data: LAYER.subarray(0, 512) }]);
    const path = write('x.tar', [config, holes, manifest()]);
    await assert.rejects(pull(`docker-archive:${path}`), { code: 'LARDER_ARCHIVE_INVALID' });
  });
});

test('A03: layers that are links to each other’s folders are read, as Docker itself writes them', async () => {
  await withArchives(async ({ write, pull }) => {
    const members = [config, symlink('l/layer.tar', '../m/layer.tar'), file('m/layer.tar', LAYER), manifest()];
    assert.deepEqual((await pull(`docker-archive:${write('x.tar', members)}`)).diffIds, diffIdsOf(IMAGE));
    const hard = [config, file('m/layer.tar', LAYER), hardlink('l/layer.tar', 'm/layer.tar'), manifest()];
    assert.deepEqual((await pull(`docker-archive:${write('y.tar', hard)}`)).diffIds, diffIdsOf(IMAGE));
  });
});

test('A04: of members with one name the last counts, as when Docker unpacks the archive', async () => {
  await withArchives(async ({ write, pull }) => {
    const other = plainImage('other');
    const members = [...dockerArchive([{ image: other, tags: ['x'] }]), config, layer, manifest({ RepoTags: ['x'] })];
    assert.deepEqual((await pull(`docker-archive:${write('x.tar', members)}:x`)).diffIds, diffIdsOf(IMAGE));
  });
});

test('an archive of more names than memory has room for is refused', async () => {
  await withArchives(async ({ write, pull }) => {
    const name = `${'n'.repeat(200)}/`.repeat(19);
    const members = Array.from({ length: 9000 }, (_, i) => dir(`${name}${i}`));
    const path = write('x.tar', members);
    await assert.rejects(pull(`docker-archive:${path}`), { code: 'LARDER_ARCHIVE_INVALID', message: /names/ });
  });
});

test('a compressed layer that is a bomb is refused before it is hashed to its end', async () => {
  const { gzipSync } = await import('node:zlib');
  const bomb = gzipSync(tar([file('x', Buffer.alloc(64 << 20))]));
  await withArchives(
    async ({ write, pull }) => {
      const old = write('old.tar', oldDockerArchive({ a: { latest: '1' } }, [{ id: '1', tar: bomb }]));
      await assert.rejects(pull(`docker-archive:${old}`), { code: 'LARDER_LAYER_LIMIT' });
      const path = write('x.tar', [config, file('l/layer.tar', bomb), manifest()]);
      await assert.rejects(pull(`docker-archive:${path}`), { code: 'LARDER_LAYER_LIMIT' });
    },
    () => ({ max_layer_bytes: 1 << 20 }),
  );
});

test('A10: names in an archive are no names in the store', async () => {
  await withArchives(async ({ write, pull, larder }) => {
    const path = write('x.tar', dockerArchive([{ image: IMAGE, tags: ['alpine:latest'] }]));
    await pull(`docker-archive:${path}`);
    await assert.rejects(larder.find('alpine'), { code: 'LARDER_IMAGE_NOT_FOUND' });
  });
});

test('A18: an archive behind a symlink to what is no file is refused, and a FIFO is not waited for', async () => {
  await withArchives(async ({ pull, directory }) => {
    const path = join(directory, 'pipe');
    execFileSync('mkfifo', [path]);
    symlinkSync(path, join(directory, 'link'));
    for (const name of ['pipe', 'link']) {
      await assert.rejects(pull(`docker-archive:${join(directory, name)}`), { code: 'LARDER_ARCHIVE_INVALID' });
    }
    await assert.rejects(pull('docker-archive:/dev/zero'), { code: 'LARDER_ARCHIVE_INVALID' });
  });
});

test('A16: an archive that is a bomb is refused before it is large', async () => {
  const { gzipSync } = await import('node:zlib');
  await withArchives(
    async ({ pull, directory }) => {
      const path = join(directory, 'bomb.tar.gz');
      writeFileSync(path, gzipSync(tar([file('x', Buffer.alloc(64 << 20))])));
      await assert.rejects(pull(`docker-archive:${path}`), { code: 'LARDER_ARCHIVE_INVALID', message: /more than/ });
    },
    () => ({ max_layer_bytes: 1 << 20 }),
  );
});
