/**
 * `npm run bench -- floor [OPTIONS]`: what no pull can beat on this machine: every layer downloaded to a file, both
 * SHA-256 taken, inflated by the best decoder, written to a second file and synced. Layers in parallel threads, the
 * largest first; in each, the decoder and the writes work on libuv's pool beside the hashes. Nothing is parsed. Of
 * larder itself only the decoders take part.
 *
 *     --registry HOST:PORT (127.0.0.1:5000)   --images A,B,…   --runs N (5)   --work DIR   --threads N (cores)
 *     --decoder isa-l|zlib|libzstd|…          (the best that is here)
 */
import { mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { Task } from './floor-layer.js';
import { dropCaches, waitUntilQuiet, wipe } from './machine.js';
import { type RemoteImage, readImage, warmRegistry } from './registry.js';
import { formatMs, summarize } from './statistics.js';

interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
}

await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      registry: { type: 'string', default: '127.0.0.1:5000' },
      images: { type: 'string', default: 'debian-slim,node-like,python-like,big-layer' },
      runs: { type: 'string', default: '5' },
      work: { type: 'string', default: '/var/tmp/larder-bench' },
      threads: { type: 'string', default: String(cpus().length) },
      decoder: { type: 'string' },
    },
  });
  const directory = join(values.work, 'floor');
  const images = await Promise.all(values.images.split(',').map((name) => readImage(values.registry, name)));
  const costs = new Map<RemoteImage, Cost[]>(images.map((image) => [image, []]));
  for (let run = 0; run < Number(values.runs); run++) {
    for (const image of images) {
      wipe(directory);
      mkdirSync(directory, { recursive: true });
      dropCaches();
      await warmRegistry(image);
      await waitUntilQuiet();
      costs.get(image)?.push(await pullImage(image, directory, Number(values.threads), values.decoder));
    }
  }
  wipe(directory);
  process.stdout.write('| image | floor: median (min to max) | CPU seconds | MB/s compressed |\n|---|---|---|---|\n');
  for (const [image, runs] of costs) {
    const { median, min, max } = summarize(runs.map(({ ms }) => ms));
    const cpu = summarize(runs.map(({ cpuMs }) => cpuMs)).median / 1e3;
    process.stdout.write(
      `| ${image.name} | ${formatMs(median)} (${formatMs(min)} to ${formatMs(max)}) | ${cpu.toFixed(2)} | ${Math.round(image.size / 1e3 / median)} |\n`,
    );
  }
}

/** Wall and CPU time, the threads' start included. */
async function pullImage(
  image: RemoteImage,
  directory: string,
  threads: number,
  decoder: string | undefined,
): Promise<Cost> {
  const start = performance.now();
  const before = process.cpuUsage();
  const waiting = [...image.layers]
    .sort((a, b) => b.size - a.size)
    .map((layer, i): Task => ({ layer, path: join(directory, String(i)), decoder }));
  const lane = async () => {
    for (let task = waiting.shift(); task !== undefined; task = waiting.shift()) await inThread(task);
  };
  await Promise.all(Array.from({ length: threads }, lane));
  const { user, system } = process.cpuUsage(before);
  return { ms: performance.now() - start, cpuMs: (user + system) / 1e3 };
}

function inThread(task: Task): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./floor-layer.js', import.meta.url), { workerData: task });
    worker.once('message', () => resolve());
    worker.once('error', reject);
  });
}
