/**
 * `npm run bench -- start [OPTIONS]`: what a command costs that has next to nothing to do, its process from start to end:
 * `larder` in turn with `node -e 0`, which no program in Node can beat, and with podman and ctr where they are installed.
 * Without NODE_EXTRA_CA_CERTS, which makes each start of Node slower, `-e 0` too. Needs root: it mounts.
 *
 *     --images N, in the store that is listed (1000)   --layers N, of each (10)   --runs N (15)
 *     --tools larder,podman,ctr   --work DIR (/var/tmp/larder-bench)   --out DIR (bench/out)
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Assembly } from '../src/assemble.js';
import { configOf, parseFlags } from '../src/config.js';
import type { ImageSource } from '../src/testing/image-source.js';
import { CHECKOUT } from '../test/checkout.js';
import { waitUntilQuiet, wipe } from './machine.js';
import { publishMadeImage } from './made-image.js';
import { imageRecord, layerRecord } from './made-records.js';
import { type Figure, figure, writeResult } from './result.js';
import { formatMs, summarize } from './statistics.js';
import { Containerd } from './tools/containerd.js';
import { ProcessGroup } from './tools/process-group.js';
import { hasPrograms } from './tools/tool.js';

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '1000' },
    layers: { type: 'string', default: '10' },
    runs: { type: 'string', default: '15' },
    tools: { type: 'string', default: 'larder,podman,ctr' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    out: { type: 'string', default: join(CHECKOUT, 'bench', 'out') },
  },
});

/** One row of the table. */
interface Contestant {
  readonly name: string;
  readonly command: readonly string[];
}

const BARE = 'node -e 0';
const ENV = { ...process.env, NODE_EXTRA_CA_CERTS: undefined };

if (process.getuid?.() !== 0) throw new Error('bench start: needs root: it mounts');
await main();

async function main(): Promise<void> {
  const directory = join(values.work, 'start');
  wipe(directory);
  mkdirSync(directory, { recursive: true });
  const registry = await publishMadeImage(1000, 4096);
  const reference = `${registry.reference('made')}:latest`;
  const group = new ProcessGroup('start');
  group.create();
  const stops: (() => Promise<void>)[] = [];
  try {
    const contestants: Contestant[] = [{ name: BARE, command: [process.execPath, '-e', '0'] }];
    for (const tool of values.tools.split(',')) {
      if (tool === 'larder') contestants.push(...(await larder(directory, reference)));
      else if (tool === 'podman' && hasPrograms('podman')) contestants.push(...(await podman(directory, reference)));
      else if (tool === 'ctr' && hasPrograms('containerd', 'ctr')) {
        const daemon = new Containerd(group, join(directory, 'ctr'));
        await daemon.start();
        stops.push(() => daemon.stop());
        contestants.push(...(await ctr(join(directory, 'ctr'), reference)));
      } else process.stderr.write(`${tool}: not installed, or unknown\n`);
    }
    await waitUntilQuiet();
    const times = await measure(contestants);
    report(times, await countRequests(registry, contestants));
  } finally {
    for (const stop of stops) await stop();
    await group.remove();
    await registry.registry.close();
    wipe(directory);
  }
}

async function larder(directory: string, reference: string): Promise<Contestant[]> {
  const [store, full] = [join(directory, 'larder'), join(directory, 'larder-full')];
  const at = (root: string, ...args: string[]): string[] => {
    const bin = join(CHECKOUT, 'bin', 'larder.js');
    return [process.execPath, bin, '--root', root, '--socket', 'none', ...args];
  };
  await fill(full);
  await timed(at(store, 'pull', reference));
  // Its mount stays, as that of an image in use.
  await timed(at(store, 'provision', reference, '--id', 'other'));
  return [
    { name: 'larder --version', command: at(store, '--version') },
    { name: `larder images, ${values.images} of them`, command: at(full, 'images') },
    { name: 'larder pull, nothing new', command: at(store, 'pull', reference) },
    { name: 'larder pull --refresh, nothing new', command: at(store, 'pull', '--refresh', reference) },
    { name: 'larder provision', command: at(store, 'provision', reference, '--id', 'bench') },
    { name: 'larder destroy', command: at(store, 'destroy', 'bench') },
  ];
}

async function podman(directory: string, reference: string): Promise<Contestant[]> {
  const own = ['--root', join(directory, 'podman'), '--runroot', join(directory, 'podman-run')];
  const at = (...args: string[]): string[] => ['podman', ...own, '--storage-driver', 'overlay', ...args];
  const pull = at('pull', '-q', '--tls-verify=false', reference);
  await timed(pull);
  return [
    { name: 'podman --version', command: at('--version') },
    { name: 'podman images, 1 of them', command: at('images') },
    { name: 'podman pull, nothing new', command: pull },
  ];
}

async function ctr(directory: string, reference: string): Promise<Contestant[]> {
  const at = (...args: string[]): string[] => ['ctr', '-a', join(directory, 'c.sock'), ...args];
  const pull = at('images', 'pull', '--plain-http', '--snapshotter', 'overlayfs', reference);
  await timed(pull);
  return [
    { name: 'ctr --version', command: at('--version') },
    { name: 'ctr images ls, 1 of them', command: at('images', 'ls') },
    { name: 'ctr images pull, nothing new', command: pull },
  ];
}

/** All in turn, in each round; the first round is not counted. */
async function measure(contestants: readonly Contestant[]): Promise<Map<string, number[]>> {
  const times = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round <= Number(values.runs); round++) {
    for (const { name, command } of contestants) {
      const ms = await timed(command);
      if (round > 0) times.get(name)?.push(ms);
    }
  }
  return times;
}

/** What the registry is asked when each pull finds nothing new, once more. */
async function countRequests({ registry }: ImageSource, contestants: readonly Contestant[]): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { name, command } of contestants.filter((one) => one.name.includes(' pull'))) {
    const before = registry.requests.length;
    await timed(command);
    const methods = registry.requests.slice(before).map(({ method }) => method);
    figures.push(figure(`${name}: ${methods.join(', ') || 'no'} requests`, 'requests', methods.length));
  }
  return figures;
}

function report(times: ReadonlyMap<string, readonly number[]>, requests: readonly Figure[]): void {
  const bare = summarize(times.get(BARE) ?? []).median;
  const width = Math.max(...[...times.keys()].map((name) => name.length));
  for (const [name, values] of times) {
    const { median, min, max } = summarize(values);
    const more = name === BARE ? '' : `, ${formatMs(median - bare)} more than ${BARE}`;
    process.stdout.write(`${name.padEnd(width)}  ${formatMs(median)} (${formatMs(min)} to ${formatMs(max)})${more}\n`);
  }
  const figures = [...times].map(([name, ms]) =>
    figure(name, 'ms', ms, name === BARE || !name.startsWith('larder') ? {} : { reference: BARE }),
  );
  for (const { name, median } of requests) process.stdout.write(`${name}: ${median}\n`);
  const all = [...figures, ...requests];
  process.stdout.write(`${writeResult({ bench: 'start', out: values.out, work: values.work, figures: all })}\n`);
}

/** Wall time of a process, in ms. */
async function timed([program = '', ...args]: readonly string[]): Promise<number> {
  const start = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: ENV });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [status] = await once(child, 'exit');
  const ms = performance.now() - start;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: status ${status}: ${said}`);
  return ms;
}

/** Rows of the database: a list reads no more. */
async function fill(root: string): Promise<void> {
  const assembly = await Assembly.open(configOf(parseFlags({ root }, 'bench')));
  try {
    for (let i = 0; i < Number(values.images); i++) {
      const record = imageRecord(i, Number(values.layers));
      await assembly.layerRecords.put(...record.layers.map(({ diffId }) => layerRecord(diffId, 1_000_000)));
      await assembly.metadata.put(record);
    }
  } finally {
    await assembly.close();
  }
}
