/**
 * `npm run bench -- recover [OPTIONS]`: how long the store needs to find out whether everything that its image records
 * name is on disk. The store is rows of the database, empty layer directories and empty documents.
 *
 *     --images N (100000)   --layers N, of each image (5)   --distinct N, layers of all images together (20000)
 *     --runs N (5)   --work DIR (/var/tmp/larder-bench)
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { ContentStore } from '../src/content/content-store.js';
import { LayerStore } from '../src/layers/layer-store.js';
import { Layout } from '../src/layout.js';
import { Database } from '../src/metadata/database.js';
import { Layers } from '../src/metadata/layers.js';
import { MetadataManager } from '../src/metadata/metadata-manager.js';
import { type DiffId, type Digest, hexOf, parseDiffId, parseDigest } from '../src/spec/digest.js';
import { WorkerPool } from '../src/workers/pool.js';
import { wipe } from './machine.js';
import { formatMs, summarize } from './statistics.js';

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '100000' },
    layers: { type: 'string', default: '5' },
    distinct: { type: 'string', default: '20000' },
    runs: { type: 'string', default: '5' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
  },
});
const [images, each, distinct] = [Number(values.images), Number(values.layers), Number(values.distinct)];
const root = join(values.work, 'recover');
wipe(root);
mkdirSync(root, { recursive: true });
const layout = new Layout(root);
const content = await ContentStore.create(layout);
const database = await Database.open(layout.database);
await fill();
const layerRecords = new Layers(database);
const records = {
  get: layerRecords.get.bind(layerRecords),
  put: async () => {},
  delete: async () => {},
  forget: async () => new Set<DiffId>(),
};
const pool = new WorkerPool({ entry: new URL('../src/assemble-worker.js', import.meta.url), size: 1 });
const layers = new LayerStore({ layout, records, pool, handle: 'bench' });
const metadata = MetadataManager.create({ database, type: 'docker' });
const times: number[] = [];
for (let run = 0; run < Number(values.runs); run++) {
  const start = performance.now();
  const dropped = await metadata.recover({ layers: () => layers.names(), blobs: () => content.names() });
  times.push(performance.now() - start);
  if (dropped.length > 0) throw new Error(`recover dropped ${dropped.length} images`);
}
await pool.close();
database.close();
wipe(root);
const { median, min, max } = summarize(times);
process.stdout.write(`${images} images of ${each} layers, ${Math.min(distinct, images * each)} layers in all\n`);
process.stdout.write(`recover: ${formatMs(median)} (${formatMs(min)} to ${formatMs(max)})\n`);

async function fill(): Promise<void> {
  for (let i = 0; i < Math.min(distinct, images * each); i++) {
    mkdirSync(layout.layer(parseDiffId(named(`layer ${i}`))), { recursive: true });
  }
  await database.transaction((writer) => {
    for (let i = 0; i < images; i++) {
      const [manifest, config] = [named(`manifest ${i}`), named(`config ${i}`)];
      for (const digest of [manifest, config]) writeFileSync(join(layout.blobs, 'sha256', hexOf(digest)), '');
      const image = writer.insert(
        'INSERT INTO images (type, reference, platform, digest, manifest, config, created, last_used) VALUES (?, ?, ?, ?, ?, ?, 0, 0)',
        ...['docker', `registry.example/image-${i}:latest`, 'linux/amd64', manifest, manifest, config],
      );
      for (let position = 0; position < each; position++) {
        const layer = named(`layer ${(i * each + position) % distinct}`);
        writer.run(
          'INSERT INTO image_layers (image, position, diff_id, digest, size, media_type) VALUES (?, ?, ?, ?, 0, ?)',
          ...[image, position, layer, layer, 'application/vnd.oci.image.layer.v1.tar+gzip'],
        );
      }
    }
  });
}

function named(text: string): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(text).digest('hex')}`);
}
