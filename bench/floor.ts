/**
 * `npm run bench -- floor [OPTIONS]`: what no pull can beat on this machine: every layer downloaded, both SHA-256
 * taken, inflated, written to one file and synced; layers in parallel threads, nothing parsed and nothing kept.
 *
 *     --registry HOST:PORT (127.0.0.1:5000)   --images A,B,…   --runs N (5)   --work DIR   --threads N (cores)
 *     --decoder isa-l|zlib|libzstd|…          (the best that is here)
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { get } from 'node:http';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { layerCompressionOf } from '../src/spec/media-types.js';
import { type DecoderName, openInflater } from '../src/tar/compression.js';
import { dropCaches, waitUntilQuiet, wipe } from './machine.js';
import { type RemoteImage, type RemoteLayer, readImage, warmRegistry } from './registry.js';
import { formatMs, summarize } from './statistics.js';

interface Task {
  readonly layer: RemoteLayer;
  readonly path: string;
  readonly decoder: string | undefined;
}

if (isMainThread) await main();
else parentPort?.postMessage(await pullLayer(workerData as Task));

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
  const times = new Map<RemoteImage, number[]>(images.map((image) => [image, []]));
  for (let run = 0; run < Number(values.runs); run++) {
    for (const image of images) {
      wipe(directory);
      mkdirSync(directory, { recursive: true });
      dropCaches();
      await warmRegistry(image);
      await waitUntilQuiet();
      times.get(image)?.push(await pullImage(image, directory, Number(values.threads), values.decoder));
    }
  }
  wipe(directory);
  process.stdout.write('| image | floor: median (min to max) | MB/s compressed |\n|---|---|---|\n');
  for (const [image, values] of times) {
    const { median, min, max } = summarize(values);
    process.stdout.write(
      `| ${image.name} | ${formatMs(median)} (${formatMs(min)} to ${formatMs(max)}) | ${Math.round(image.size / 1e3 / median)} |\n`,
    );
  }
}

/** Wall time in ms, the threads' start included. */
async function pullImage(
  image: RemoteImage,
  directory: string,
  threads: number,
  decoder: string | undefined,
): Promise<number> {
  const start = performance.now();
  const waiting = image.layers.map((layer, i): Task => ({ layer, path: join(directory, String(i)), decoder }));
  const lane = async () => {
    for (let task = waiting.shift(); task !== undefined; task = waiting.shift()) await inThread(task);
  };
  await Promise.all(Array.from({ length: threads }, lane));
  return performance.now() - start;
}

function inThread(task: Task): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: task });
    worker.once('message', () => resolve());
    worker.once('error', reject);
  });
}

/** Answers the DiffID. */
async function pullLayer({ layer, path, decoder }: Task): Promise<string> {
  const compression = layerCompressionOf(layer.mediaType, 'floor');
  const inflater = await openInflater(compression, decoder === undefined ? {} : { prefer: decoder as DecoderName });
  const [compressed, tar] = [createHash('sha256'), createHash('sha256')];
  const file = openSync(path, 'wx');
  const out = (bytes: Uint8Array) => {
    tar.update(bytes);
    writeSync(file, bytes);
  };
  for await (const chunk of body(layer.url)) {
    compressed.update(chunk);
    await inflater.write(chunk, out);
  }
  await inflater.end(out);
  inflater.close();
  fsyncSync(file);
  closeSync(file);
  if (`sha256:${compressed.digest('hex')}` !== layer.digest) throw new Error(`${layer.url}: not what it should be`);
  return tar.digest('hex');
}

async function* body(url: string): AsyncGenerator<Buffer> {
  const response = await new Promise<AsyncIterable<Buffer>>((resolve, reject) => {
    get(url, { highWaterMark: 1 << 20 } as object, resolve).once('error', reject);
  });
  yield* response;
}
