/**
 * `npm run bench -- files [OPTIONS]`: the backends that make directories, `copy` and `overlay`, against GNU `tar -x` of
 * the same layers into one directory: on one disk, in turns, with the tars in the page cache as a pull leaves them
 * (`--cold`: without), everything synced before the clock stops. The store is made by a pull and stays for the next run.
 *
 *     --registry HOST:PORT (127.0.0.1:5000)   --images A,B,… (debian-slim, python-like, node-like)
 *     --ways A,B,… (tar, copy, overlay)       --runs N (5)
 *     --work DIR (/var/tmp/larder-bench)      --out DIR (bench/out)
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Larder, openLarder } from '../src/index.js';
import { CHECKOUT } from '../test/checkout.js';
import { type Cost, costOf, saveJson } from './cost.js';
import { describeMachine, dropCaches, timeSync, waitUntilQuiet } from './machine.js';
import { formatMs, formatRatio, summarize } from './statistics.js';
import { call } from './tools/tool.js';

const { values } = parseArgs({
  options: {
    registry: { type: 'string', default: '127.0.0.1:5000' },
    images: { type: 'string', default: 'debian-slim,python-like,node-like' },
    ways: { type: 'string', default: 'tar,copy,overlay' },
    runs: { type: 'string', default: '5' },
    cold: { type: 'boolean', default: false },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    out: { type: 'string', default: join(CHECKOUT, 'bench', 'out') },
  },
});

interface Measurement extends Cost {
  readonly way: string;
  readonly image: string;
  readonly run: number;
  readonly load: number;
}

const work = join(values.work, 'files');
const root = join(work, 'store');

if (process.getuid?.() !== 0) throw new Error('bench: needs root: it mounts, and drops caches');
await main();

async function main(): Promise<void> {
  mkdirSync(work, { recursive: true });
  const images = values.images.split(',');
  const ways = values.ways.split(',');
  const measurements: Measurement[] = [];
  for (const image of images) {
    const tars = await pulledTars(`${values.registry}/${image}`);
    for (let run = 0; run < Number(values.runs); run++) {
      for (const way of [...ways.slice(run % ways.length), ...ways.slice(0, run % ways.length)]) {
        measurements.push({ way, image, run, ...(await measure(way, image, tars)) });
      }
    }
  }
  for (const image of images) report(image, ways, measurements);
  const machine = describeMachine(values.work);
  const path = saveJson(values.out, 'files', { machine, cold: values.cold, measurements });
  process.stdout.write(`${path}\n`);
}

/** Paths of the image's layers, base first; the image is pulled when it is not there. */
async function pulledTars(reference: string): Promise<string[]> {
  const larder = await openLarder({ root });
  try {
    await using _image = await larder.pull(reference);
    const { layers } = await larder.find(reference);
    return layers.map(({ diffId }) => join(root, 'layers', 'sha256', diffId.slice('sha256:'.length), 'layer.tar'));
  } finally {
    await larder.close();
  }
}

async function measure(way: string, image: string, tars: readonly string[]): Promise<Cost & { load: number }> {
  dropCaches();
  if (!values.cold) for (const tar of tars) call('sh', ['-c', 'cat "$1" > /dev/null', 'sh', tar]);
  const load = await waitUntilQuiet();
  const cost = way === 'tar' ? await extract(tars) : await provision(way, `${values.registry}/${image}`);
  process.stderr.write(
    `${way.padEnd(8)} ${image.padEnd(12)} ${formatMs(cost.ms)}, processor ${formatMs(cost.cpuMs)}\n`,
  );
  return { ...cost, load };
}

async function extract(tars: readonly string[]): Promise<Cost> {
  const target = join(work, 'extracted');
  mkdirSync(target);
  const cost = await costOf(async () => {
    for (const tar of tars) call('tar', ['--numeric-owner', '-xpf', tar, '-C', target]);
    await timeSync();
  });
  rmSync(target, { recursive: true });
  return cost;
}

async function provision(backend: string, reference: string): Promise<Cost> {
  const larder = await openLarder({ root, image_provisioner_backend: backend });
  try {
    const cost = await costOf(async () => {
      await larder.provision(reference, { id: 'bench' });
      await timeSync();
    });
    await forget(larder);
    return cost;
  } finally {
    await larder.close();
  }
}

/** The container and, so that they are made again, the overlay directories. */
async function forget(larder: Larder): Promise<void> {
  await larder.destroy('bench');
  for (const format of readdirSync(join(root, 'derived'))) {
    rmSync(join(root, 'derived', format, 'chains'), { recursive: true, force: true });
  }
  if (readFileSync('/proc/self/mountinfo', 'utf8').includes(root)) throw new Error(`${root}: something is mounted`);
}

function report(image: string, ways: readonly string[], measurements: readonly Measurement[]): void {
  const of = (way: string) => measurements.filter((one) => one.way === way && one.image === image);
  const tar = summarize(of('tar').map(({ ms }) => ms)).median;
  for (const way of ways) {
    const { median, min, max } = summarize(of(way).map(({ ms }) => ms));
    const cpu = summarize(of(way).map(({ cpuMs }) => cpuMs)).median;
    process.stdout.write(
      `${image}, ${way}: ${formatMs(median)} (${formatMs(min)} to ${formatMs(max)}), processor ${formatMs(cpu)}, ${formatRatio(median, tar)} of tar\n`,
    );
  }
}
