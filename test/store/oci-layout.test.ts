/** Images out of OCI layouts, directories and tars of them. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { dockerArchive, ociArchive } from '../../src/testing/archive-builder.js';
import {
  type BuiltImage,
  type BuiltIndex,
  buildImage,
  buildIndex,
  writeOciLayout,
} from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { tar } from '../../src/testing/tar-builder.js';
import { type ArchiveLab, diffIdsOf, plainImage, withArchives } from '../helpers/archives.js';

type Images = Readonly<Record<string, BuiltImage | BuiltIndex>>;

/** Both ways to have a layout; each answers the name without what is inside. */
const ways: Readonly<Record<string, (lab: ArchiveLab, images: Images) => string>> = {
  'a layout in a directory': ({ directory }, images) => {
    const path = join(directory, 'layout');
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path);
    writeOciLayout(path, images);
    return `oci:${path}`;
  },
  'a tar of a layout': ({ write }, images) => `oci-archive:${write('layout.tar', ociArchive(images))}`,
  'a compressed tar of a layout': ({ write }, images) =>
    `oci-archive:${write('layout.tar.gz', gzipSync(tar(ociArchive(images))))}`,
};

function compressed(...names: readonly string[]): BuiltImage {
  return buildImage({ layers: names.map((name) => ({ tar: sampleLayer(name) })) });
}

for (const [way, make] of Object.entries(ways)) {
  describe(way, () => {
    test('gives the one image that it has without a name, with its own manifest', async () => {
      await withArchives(async (lab) => {
        const image = compressed('base', 'top');
        const { record, diffIds } = await lab.pull(make(lab, { latest: image }));
        assert.equal(record.digest, image.digest);
        assert.equal(record.config, image.configDigest);
        assert.deepEqual(diffIds, diffIdsOf(image));
      });
    });

    test('gives each of several images by its name or number, and says which there are', async () => {
      await withArchives(async (lab) => {
        const [one, two] = [compressed('base', 'one'), compressed('base', 'two')];
        const name = make(lab, { one, 'docker.io/library/two:latest': two });
        assert.deepEqual((await lab.pull(`${name}:one`)).diffIds, diffIdsOf(one));
        assert.deepEqual((await lab.pull(`${name}:docker.io/library/two:latest`)).diffIds, diffIdsOf(two));
        assert.deepEqual((await lab.pull(`${name}:@1`)).diffIds, diffIdsOf(two));
        await assert.rejects(lab.pull(name), {
          code: 'LARDER_REFERENCE_INVALID',
          hint: /one, docker\.io\/library\/two/,
        });
        await assert.rejects(lab.pull(`${name}:three`), { code: 'LARDER_IMAGE_NOT_FOUND', hint: /one/ });
      });
    });

    test('gives the platform that was asked for, out of a nested image index, too', async () => {
      await withArchives(async (lab) => {
        const images = ['linux/amd64', 'linux/s390x', 'linux/arm/v7'].map((platform) =>
          buildImage({ platform, layers: [{ tar: sampleLayer(platform.replaceAll('/', '-')) }] }),
        );
        const [amd64 = assert.fail(), ...others] = images;
        const name = make(lab, { multi: buildIndex([amd64, buildIndex(others)]) });
        for (const image of images) {
          assert.deepEqual((await lab.pull(name, { platform: image.platform })).diffIds, diffIdsOf(image));
        }
        await assert.rejects(lab.pull(name, { platform: 'linux/riscv64' }), { code: 'LARDER_PLATFORM_NOT_FOUND' });
      });
    });

    test('is followed when its name moves, and stands when it is gone', async () => {
      await withArchives(async (lab) => {
        const [old, fresh] = [compressed('base', 'old'), compressed('base', 'new')];
        const name = make(lab, { latest: old });
        await lab.pull(name);
        lab.fetched();
        await lab.pull(name);
        assert.deepEqual(lab.fetched(), []);
        make(lab, { latest: fresh });
        assert.deepEqual((await lab.pull(name)).diffIds, diffIdsOf(fresh));
        assert.deepEqual(lab.fetched(), diffIdsOf(fresh).slice(1));
        rmSync(name.slice(name.indexOf(':') + 1), { recursive: true });
        assert.deepEqual((await lab.pull(name)).diffIds, diffIdsOf(fresh));
      });
    });
  });
}

describe('a layout that is not right', () => {
  async function withLayout(work: (lab: ArchiveLab, path: string, image: BuiltImage) => Promise<void>): Promise<void> {
    await withArchives(async (lab) => {
      const image = compressed('base', 'top');
      const name = (ways['a layout in a directory'] ?? assert.fail())(lab, { latest: image });
      await work(lab, name.slice('oci:'.length), image);
      assert.deepEqual(lab.larder.images(), []);
      await lab.larder.prune();
    });
  }
  const blob = (path: string, digest: string) => join(path, 'blobs', digest.replace(':', '/'));

  test('each of its blobs, when a byte of it is flipped, is noticed', async () => {
    await withLayout(async ({ pull, larder }, path, image) => {
      const all = [image.digest, image.configDigest, ...image.layers.map(({ digest }) => digest)];
      const bytes = [image.manifest, image.config, ...image.layers.map((layer) => layer.blob)];
      for (const [i, digest] of all.entries()) {
        const good = bytes[i] ?? assert.fail();
        const bad = Uint8Array.from(good);
        bad[20] = (bad[20] ?? 0) ^ 1;
        writeFileSync(blob(path, digest), bad);
        await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_DIGEST_MISMATCH' }, digest);
        writeFileSync(blob(path, digest), good);
        // A layer that was adopted before the other one failed would not be read again.
        await larder.prune();
      }
    });
  });

  test('A12: a blob that is missing, or of another size, is refused before anything is visible', async () => {
    await withLayout(async ({ pull }, path, image) => {
      const layer = image.layers[1] ?? assert.fail();
      writeFileSync(blob(path, layer.digest), 'short');
      await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_SIZE_MISMATCH' });
      rmSync(blob(path, layer.digest));
      await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_BLOB_NOT_FOUND' });
    });
  });

  test('A08: blobs, and folders of blobs, that are symbolic links are refused', async () => {
    await withLayout(async ({ pull, directory }, path, image) => {
      const layer = image.layers[0] ?? assert.fail();
      const place = blob(path, layer.digest);
      renameSync(place, join(directory, 'elsewhere'));
      symlinkSync(join(directory, 'elsewhere'), place);
      await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_ARCHIVE_INVALID', message: /symbolic link/ });
      rmSync(place);
      copyFileSync(join(directory, 'elsewhere'), place);
      renameSync(join(path, 'blobs'), join(directory, 'blobs'));
      symlinkSync(join(directory, 'blobs'), join(path, 'blobs'));
      await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_ARCHIVE_INVALID', message: /symbolic link/ });
    });
  });

  test('A09: an index.json that is a FIFO, a directory, or huge is refused at once', async () => {
    const { execFileSync } = await import('node:child_process');
    await withLayout(async ({ pull }, path) => {
      const index = join(path, 'index.json');
      rmSync(index);
      execFileSync('mkfifo', [index]);
      await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_ARCHIVE_INVALID' });
      rmSync(index);
      mkdirSync(index);
      await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_ARCHIVE_INVALID' });
      rmSync(index, { recursive: true });
      writeFileSync(index, Buffer.alloc(5 << 20, ' '));
      await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_ARCHIVE_INVALID', message: /limit/ });
    });
  });

  test('an index.json that is no JSON, that repeats a key, or whose digests are none, is refused', async () => {
    await withLayout(async ({ pull }, path, image) => {
      const entry = { mediaType: image.mediaType, size: image.manifest.length };
      for (const text of [
        '{',
        '[]',
        '{"schemaVersion":2,"manifests":[],"manifests":[]}',
        JSON.stringify({ manifests: [{ ...entry, digest: 'sha256:../../../../etc/passwd' }] }),
        JSON.stringify({ manifests: [{ ...entry, digest: `md5:${'0'.repeat(32)}` }] }),
        JSON.stringify({ manifests: [{ ...entry, digest: image.digest, size: -1 }] }),
        JSON.stringify({ manifests: Array.from({ length: 10_001 }, () => ({ ...entry, digest: image.digest })) }),
      ]) {
        writeFileSync(join(path, 'index.json'), text);
        await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_ARCHIVE_INVALID' }, text.slice(0, 60));
      }
      writeFileSync(join(path, 'index.json'), '{"manifests":[]}');
      await assert.rejects(pull(`oci:${path}`), { code: 'LARDER_IMAGE_NOT_FOUND' });
    });
  });

  test('what is something else is refused with what to write instead', async () => {
    await withArchives(async ({ pull, write, directory }) => {
      const image = plainImage('one');
      const docker = write('d.tar', dockerArchive([{ image }]));
      const oci = write('o.tar', ociArchive({ a: image }));
      const wrong: readonly (readonly [string, string])[] = [
        [`oci-archive:${docker}`, `docker-archive:${docker}`],
        [`docker-archive:${oci}`, `oci-archive:${oci}`],
        [`oci:${oci}`, `oci-archive:${oci}`],
        [`docker-archive:${directory}`, `oci:${directory}`],
      ];
      for (const [name, instead] of wrong) {
        await assert.rejects(pull(name), (error: { code: string; hint: string }) => {
          assert.equal(error.code, 'LARDER_ARCHIVE_INVALID');
          assert.ok(error.hint.includes(instead), error.hint);
          return true;
        });
      }
      await assert.rejects(pull(`oci:${directory}/none`), { code: 'LARDER_IMAGE_NOT_FOUND' });
    });
  });
});
