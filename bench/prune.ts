/**
 * `npm run bench -- prune [OPTIONS]`: how long a prune keeps the store to itself. The store is rows of the database and
 * empty layer directories; most images go, those that a lease holds stay.
 *
 *     --images N (1000)   --layers N, of all images together (10000)   --leases N (20)   --runs N (3)
 *     --work DIR (/var/tmp/larder-bench)
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Assembly } from '../src/assemble.js';
import { configOf, parseFlags } from '../src/config.js';
import { DERIVED_FORMAT } from '../src/layout.js';
import { type ImageRecord, type LayerRecord, stackOf } from '../src/metadata/records.js';
import { type DiffId, type Digest, hexOf, parseDiffId, parseDigest } from '../src/spec/digest.js';
import { mergedKeyOf } from '../src/tree/merged-key.js';
import { wipe } from './machine.js';
import { formatMs, summarize } from './statistics.js';

interface Figures {
  readonly lockedMs: number;
  readonly blockedMs: number;
  readonly sweepMs: number;
}

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '1000' },
    layers: { type: 'string', default: '10000' },
    leases: { type: 'string', default: '20' },
    runs: { type: 'string', default: '3' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
  },
});
const root = join(values.work, 'prune');
const figures: Figures[] = [];
for (let run = 0; run < Number(values.runs); run++) figures.push(await measure());
wipe(root);
process.stdout.write(`${values.images} images, ${values.layers} layers, ${values.leases} leases\n`);
for (const [name, key] of [
  ['under the lock', 'lockedMs'],
  ['event loop blocked at most', 'blockedMs'],
  ['deleting, after it', 'sweepMs'],
] as const) {
  const { median, min, max } = summarize(figures.map((one) => one[key]));
  process.stdout.write(`${name}: ${formatMs(median)} (${formatMs(min)} to ${formatMs(max)})\n`);
}

async function measure(): Promise<Figures> {
  wipe(root);
  mkdirSync(values.work, { recursive: true });
  const assembly = await Assembly.open(configOf(parseFlags({ root }, 'bench')));
  try {
    const { leases, retention } = await assembly.working();
    const images = imagesOf(Number(values.images), Number(values.layers));
    await fill(assembly, images);
    for (const { config } of images.slice(0, Number(values.leases))) await leases.create({ blobs: [config] });
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const start = performance.now();
    // What the provisioner does while it holds the lock.
    await retention.prune([], new Set(), {});
    const lockedMs = performance.now() - start;
    delay.disable();
    const swept = performance.now();
    await retention.sweep();
    return { lockedMs, blockedMs: delay.max / 1e6, sweepMs: performance.now() - swept };
  } finally {
    await assembly.close();
  }
}

function imagesOf(count: number, layers: number): ImageRecord[] {
  const each = Math.max(1, Math.floor(layers / count));
  return Array.from({ length: count }, (_, i) => ({
    type: 'docker',
    reference: `registry.example/image-${i}:latest`,
    platform: 'linux/amd64',
    digest: digestOf(`manifest ${i}`),
    manifest: digestOf(`manifest ${i}`),
    config: digestOf(`config ${i}`),
    layers: Array.from({ length: each }, (_, j) => ({
      diffId: parseDiffId(digestOf(`layer ${i} ${j}`)),
      digest: digestOf(`blob ${i} ${j}`),
      size: 0,
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
    })),
    createdAtMs: 0,
    lastUsedAtMs: 0,
  }));
}

async function fill({ layout, metadata, layerRecords, derived }: Assembly, images: readonly ImageRecord[]) {
  await layerRecords.put(...images.flatMap(({ layers }) => layers.map(({ diffId }) => layerRecord(diffId))));
  for (const record of images) {
    const diffIds = record.layers.map(({ diffId }) => diffId);
    for (const diffId of diffIds) {
      for (const path of [layout.layer(diffId), layout.derivedLayer(diffId)]) mkdirSync(path, { recursive: true });
    }
    const key = mergedKeyOf(stackOf(record));
    for (const path of [layout.merged(key), layout.blob(record.manifest), layout.blob(record.config)]) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, '');
    }
    await derived.put({ kind: 'merged', key, sha256: hexOf(record.config), size: 0, layers: diffIds });
    await metadata.put(record);
  }
}

function layerRecord(diffId: DiffId): LayerRecord {
  return {
    diffId,
    tarSize: 0,
    entries: 0,
    indexSha256: hexOf(diffId),
    indexSize: 0,
    extraSha256: undefined,
    extraSize: 0,
    derivedFormat: DERIVED_FORMAT,
  };
}

function digestOf(text: string): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(text).digest('hex')}`);
}
