/**
 * `npm run bench -- prune [OPTIONS]`: how long a prune keeps the store to itself, and how long somebody who provisions
 * at the same time waits for it. The store is rows of the database and empty files; most images go, those that a lease
 * holds stay. Then: how long `df` takes, and one collection that takes the images that were used least lately.
 *
 *     --images N (1000)   --layers N, of all images together (10000)   --leases N (20)   --runs N (3)
 *     --work DIR (/var/tmp/larder-bench)
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Assembly } from '../src/assemble.js';
import { configOf, parseFlags } from '../src/config.js';
import { Larder } from '../src/larder.js';
import { Layout } from '../src/layout.js';
import { StoreLock } from '../src/linux/store-lock.js';
import { Claims } from '../src/metadata/claims.js';
import { Database } from '../src/metadata/database.js';
import { type ClaimRecord, type ImageRecord, stackOf } from '../src/metadata/records.js';
import { parseContainerId } from '../src/spec/container-id.js';
import { hexOf } from '../src/spec/digest.js';
import { mergedKeyOf } from '../src/tree/merged-key.js';
import { wipe } from './machine.js';
import { imageRecord, layerRecord } from './made-records.js';
import { formatMs, summarize } from './statistics.js';

const ROWS = {
  longestMs: 'longest single hold of the store lock',
  heldMs: 'all holds together',
  turns: 'holds',
  totalMs: 'the whole prune, with deleting',
  waitMs: 'longest claim of another process meanwhile',
  usualMs: 'median claim of another process meanwhile',
  dfMs: 'df of the full store',
  lruMs: 'choosing and forgetting the 100 oldest of them',
} as const;

type Figures = Record<keyof typeof ROWS, number>;

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '1000' },
    layers: { type: 'string', default: '10000' },
    leases: { type: 'string', default: '20' },
    runs: { type: 'string', default: '3' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    provision: { type: 'string' },
  },
});

if (values.provision !== undefined) await provisionUntilToldToStop(values.provision);
else await run();

async function run(): Promise<void> {
  const root = join(values.work, 'prune');
  const figures: Figures[] = [];
  for (let i = 0; i < Number(values.runs); i++) figures.push(await measure(root));
  wipe(root);
  process.stdout.write(`${values.images} images, ${values.layers} layers, ${values.leases} leases\n`);
  for (const [key, name] of Object.entries(ROWS) as [keyof typeof ROWS, string][]) {
    const { median, min, max } = summarize(figures.map((one) => one[key]));
    const shown = key === 'turns' ? String : formatMs;
    process.stdout.write(`${name}: ${shown(median)} (${shown(min)} to ${shown(max)})\n`);
  }
}

async function measure(root: string): Promise<Figures> {
  wipe(root);
  mkdirSync(values.work, { recursive: true });
  const assembly = await Assembly.open(configOf(parseFlags({ root }, 'bench')));
  const larder = new Larder(assembly);
  try {
    const { leases } = await assembly.working();
    const images = imagesOf(Number(values.images), Number(values.layers));
    await fill(assembly, images);
    for (const { config } of images.slice(0, Number(values.leases))) await leases.create({ blobs: [config] });
    const dfMs = await timed(() => larder.df());
    const lruMs = await timed(async () => {
      const oldest = images.slice(-100).flatMap((image) => assembly.holds.idOf(image) ?? []);
      await assembly.holds.forgetUnused(oldest.map((id) => ({ id, lastUsedAtMs: 0 })));
    });
    const other = spawn(process.execPath, [fileURLToPath(import.meta.url), '--provision', root], { stdio: 'pipe' });
    await once(other.stdout, 'data');
    const holds = watchHolds();
    const totalMs = await timed(() => larder.prune());
    other.stdin.end();
    const [line] = await once(other.stdout, 'data');
    const { waitMs, usualMs } = JSON.parse(String(line)) as Pick<Figures, 'waitMs' | 'usualMs'>;
    const heldMs = holds.reduce((sum, ms) => sum + ms, 0);
    return { longestMs: Math.max(...holds), heldMs, turns: holds.length, totalMs, waitMs, usualMs, dfMs, lruMs };
  } finally {
    await larder.close();
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** How long each exclusive hold of this process lasts, from now on. */
function watchHolds(): number[] {
  const holds: number[] = [];
  const real = StoreLock.prototype.exclusive;
  StoreLock.prototype.exclusive = async function (...args): ReturnType<typeof real> {
    const held = await real.apply(this, args);
    const start = performance.now();
    const release = (): void => {
      held.release();
      holds.push(performance.now() - start);
    };
    return { mode: held.mode, release, [Symbol.dispose]: release };
  };
  return holds;
}

/** What a provision and a destroy do to the store, as often as it goes, in a process of its own. */
async function provisionUntilToldToStop(root: string): Promise<void> {
  const layout = new Layout(root);
  const database = await Database.open(layout.database);
  const claims = new Claims(database);
  const lock = new StoreLock(layout);
  let running = true;
  process.stdin.once('end', () => {
    running = false;
  });
  process.stdin.resume();
  process.stdout.write('ready\n');
  const times: number[] = [];
  for (let i = 0; running; i++) {
    const claim = claimOf(`bench-${i}`);
    times.push(
      await timed(async () => {
        using _shared = await lock.shared();
        await claims.insert(claim);
      }),
    );
    await claims.remove(claim.container);
  }
  const { max, median } = summarize(times);
  process.stdout.write(JSON.stringify({ waitMs: max, usualMs: median }));
  database.close();
}

function claimOf(id: string): ClaimRecord {
  const container = parseContainerId(id);
  const [record] = imagesOf(1, 10);
  const layers = record === undefined ? [] : stackOf(record);
  const names = { type: 'docker', reference: 'registry.example/other:latest', platform: 'linux/amd64' } as const;
  const image = { name: '', ...names, backend: 'copy', rootfs: '/', layers, mergedKey: undefined };
  return { container, owner: 'bench', images: [image], blobs: [], createdAtMs: 0 };
}

function imagesOf(count: number, layers: number): ImageRecord[] {
  const each = Math.max(1, Math.floor(layers / count));
  return Array.from({ length: count }, (_, i) => imageRecord(i, each));
}

async function fill({ layout, metadata, layerRecords, derived }: Assembly, images: readonly ImageRecord[]) {
  await layerRecords.put(...images.flatMap(({ layers }) => layers.map(({ diffId }) => layerRecord(diffId))));
  for (const record of images) {
    const diffIds = record.layers.map(({ diffId }) => diffId);
    for (const diffId of diffIds) {
      for (const path of [layout.layer(diffId), layout.derivedLayer(diffId)]) mkdirSync(path, { recursive: true });
      writeFileSync(layout.layerTar(diffId), '');
      writeFileSync(layout.layerIndex(diffId), '');
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
