/** Archives of images: what `docker save` and others write. Nothing that is found in one may lie outside of it. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { isLarderError } from '../../../src/errors.js';
import { digestOf, hexOf } from '../../../src/spec/digest.js';
import { parsePlatform } from '../../../src/spec/platform.js';
import { openArchivedImage } from '../../../src/store/archives/archived-image.js';
import type { OpenArchiveParts } from '../../../src/store/archives/open-archive.js';
import {
  dockerArchive,
  dockerLayoutArchive,
  ociArchive,
  oldDockerArchive,
} from '../../../src/testing/archive-builder.js';
import { buildImage, buildIndex } from '../../../src/testing/image-builder.js';
import { dir, fifo, file, hardlink, symlink, tar } from '../../../src/testing/tar-builder.js';
import { WorkerPool } from '../../../src/workers/pool.js';
import { mutateJson } from '../mutate-json.js';
import type { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';
import { mutateArchive } from './tar.js';

const CODES = [
  'LARDER_ARCHIVE_INVALID',
  'LARDER_IMAGE_NOT_FOUND',
  'LARDER_REFERENCE_INVALID',
  'LARDER_PLATFORM_NOT_FOUND',
  'LARDER_MANIFEST_INVALID',
  'LARDER_CONFIG_INVALID',
  'LARDER_MEDIA_TYPE_UNSUPPORTED',
  'LARDER_DIGEST_MISMATCH',
  'LARDER_SIZE_MISMATCH',
  'LARDER_DIFF_ID_MISMATCH',
  'LARDER_LAYER_LIMIT',
  'LARDER_BLOB_NOT_FOUND',
  'LARDER_DIGEST_INVALID',
] as const;

const PLATFORM = 'linux/amd64';
const LAYER = tar([file('etc/os-release', 'ID=demo\n')]);
const IMAGE = buildImage({ layers: [{ tar: LAYER, compression: 'none' }], platform: PLATFORM });
const OTHER = buildImage({ layers: [{ tar: LAYER }], platform: 'linux/arm64', docker: true });
const CONFIG = `${hexOf(IMAGE.configDigest)}.json`;
const MEMBERS: readonly Buffer[][] = [
  dockerArchive([{ image: IMAGE, tags: ['demo:1'] }]),
  dockerArchive([{ image: IMAGE }, { image: OTHER }]),
  dockerLayoutArchive([{ image: IMAGE, tags: ['demo:1'] }]),
  ociArchive({ one: IMAGE }),
  ociArchive({ '': buildIndex([IMAGE, OTHER]) }),
  oldDockerArchive({ a: { latest: 'x1' } }, [
    { id: 'x1', parent: 'x0', tar: LAYER, json: { os: 'linux', architecture: 'amd64' } },
    { id: 'x0', tar: tar([dir('bin')]) },
  ]),
];
const DOCUMENTS: Readonly<Record<string, object>> = {
  'manifest.json': [{ Config: CONFIG, RepoTags: ['demo:1'], Layers: ['layer.tar'] }],
  'index.json': JSON.parse(Buffer.from(buildIndex([IMAGE]).manifest).toString()),
  repositories: { a: { latest: 'x1' } },
  'x1/json': { id: 'x1', parent: 'x0' },
  'oci-layout': { imageLayoutVersion: '1.0.0' },
};
const EXTRA: readonly Buffer[] = [
  file('layer.tar', LAYER),
  file('layer.tar', gzipSync(LAYER)),
  symlink('layer.tar', '../../etc/shadow'),
  symlink('layer.tar', CONFIG),
  hardlink('layer.tar', 'x1/layer.tar'),
  symlink('x1', 'x0'),
  symlink('manifest.json', '/etc/passwd'),
  fifo('index.json'),
  file(`blobs/sha256/${hexOf(digestOf(IMAGE.manifest))}`, 'short'),
];

export function openArchiveTarget(): FuzzTarget {
  const directory = mkdtempSync(join(tmpdir(), 'larder-fuzz-archive-'));
  const path = join(directory, 'archive.tar');
  const stages = join(directory, 'stages');
  mkdirSync(stages);
  const pool = new WorkerPool({ entry: new URL('../../../src/assemble-worker.js', import.meta.url), size: 1 });
  const parts: OpenArchiveParts = { pool, stage: async () => newStage(stages), maxBytes: 1 << 24, maxRatio: 1100 };
  return {
    name: 'archive',
    codes: CODES,
    short: { runs: 100, meets: ['ok', 'LARDER_ARCHIVE_INVALID'] },
    make: makeImageArchive,
    mutate: mutateArchive,
    async run(input) {
      writeFileSync(path, input);
      const docker = await imageIn('docker-archive', path, parts);
      const oci = await imageIn('oci-archive', path, parts);
      assert.deepEqual(readdirSync(stages), [], 'the staging area was not cleared');
      if (docker instanceof Error && oci instanceof Error) throw docker;
      return [docker, oci].map((one) => (one instanceof Error ? one.message : one));
    },
    budgetMs: (input) => 500 + input.length / 50,
    close: async () => {
      await pool[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    },
  };
}

async function imageIn(
  transport: 'docker-archive' | 'oci-archive',
  path: string,
  parts: OpenArchiveParts,
): Promise<unknown> {
  try {
    await using opened = await openArchivedImage({ transport, path }, undefined, {
      parts,
      wanted: parsePlatform(PLATFORM),
    });
    const { facts, places } = opened.image;
    for (const place of places.values()) {
      assert.ok(place.path.startsWith(join(path, '..')), place.path);
      assert.ok(place.offset + place.size <= statSync(place.path).size, 'a layer that ends outside');
    }
    return [facts.digest, facts.manifest, facts.config, facts.layers.map(({ digest }) => digest)];
  } catch (error) {
    if (isLarderError(error, ...CODES)) return withoutStage(error);
    throw error;
  }
}

/** Two runs have two stages. */
function withoutStage(error: Error): Error {
  error.message = error.message.replace(/stages\/[^/]+/g, 'stages/N');
  return error;
}

async function newStage(stages: string) {
  const path = mkdtempSync(join(stages, 's-'));
  return { path, [Symbol.asyncDispose]: async () => rmSync(path, { recursive: true }) };
}

/** Of members with one name the last counts: what is appended replaces what a sound archive has. */
function makeImageArchive(random: Random): Buffer {
  const members = [...random.pick(MEMBERS)];
  for (let n = random.below(3); n > 0; n--) {
    const [name, document] = random.pick(Object.entries(DOCUMENTS));
    let bytes = Buffer.from(JSON.stringify(document));
    for (let changes = random.below(4); changes > 0; changes--) {
      bytes = Buffer.from(mutateJson(bytes, random, ['layer.tar', 'x1', 'x0', CONFIG, '../x', 'blobs/sha256/']));
    }
    members.push(file(name, bytes));
  }
  for (let n = random.below(3); n > 0; n--) members.splice(random.below(members.length + 1), 0, random.pick(EXTRA));
  const archive = tar(members);
  return random.oneIn(6) ? gzipSync(archive, { level: 1 }) : archive;
}
