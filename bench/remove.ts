/**
 * `npm run bench -- remove [OPTIONS]`: an image of many files is pulled and removed again. How long it takes until the
 * call answers, and until the space is free; in turn with containerd's `ctr image rm --sync` where it is installed.
 * Needs root.
 *
 *     --files N (60000)   --bytes N, of each on average (8192)   --layers N (4)   --runs N (5)
 *     --registry HOST:PORT --image NAME   this image instead of one made here
 *     --tools larder,ctr   --work DIR (/var/tmp/larder-bench)   --out DIR (bench/out)
 */
import { mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Larder, openLarder } from '../src/index.js';
import { timeSync, wipe } from './machine.js';
import { publishMadeImage } from './made-image.js';
import { figure, writeResult } from './result.js';
import { formatMs, summarize } from './statistics.js';
import { Containerd } from './tools/containerd.js';
import { ProcessGroup } from './tools/process-group.js';
import { hasPrograms, type Tool } from './tools/tool.js';

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '60000' },
    bytes: { type: 'string', default: '8192' },
    layers: { type: 'string', default: '4' },
    runs: { type: 'string', default: '5' },
    registry: { type: 'string' },
    image: { type: 'string', default: 'node-like' },
    tools: { type: 'string', default: 'larder,ctr' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    out: { type: 'string' },
  },
});

/** What others do to the same disk meanwhile must not count. */
const NEARLY_ALL = 0.95;
const GIVE_UP_MS = 30_000;

interface Removal {
  readonly tool: string;
  readonly answeredMs: number;
  /** Undefined: not within {@link GIVE_UP_MS}. */
  readonly freeMs: number | undefined;
  readonly bytes: number;
}

if (process.getuid?.() !== 0) throw new Error('bench remove: needs root: it mounts');
await main();

async function main(): Promise<void> {
  mkdirSync(values.work, { recursive: true });
  const made =
    values.registry === undefined
      ? await publishMadeImage(Number(values.files), Number(values.bytes), Number(values.layers))
      : undefined;
  const reference = made?.reference('made') ?? `${values.registry}/${values.image}`;
  const tools = values.tools.split(',').flatMap(toolsNamed);
  const removals: Removal[] = [];
  try {
    for (let run = 0; run < Number(values.runs); run++) {
      for (const [name, make] of tools) removals.push({ tool: name, ...(await measure(make, reference)) });
    }
  } finally {
    await made?.[Symbol.asyncDispose]();
    wipe(join(values.work, 'remove'));
  }
  report(reference, removals);
}

type Remover = Pick<Tool, 'start' | 'stop' | 'pull' | 'remove'>;
type MakeTool = (directory: string) => Remover;

function toolsNamed(name: string): [string, MakeTool][] {
  if (name === 'larder') return [[name, larderIn]];
  if (name !== 'ctr') throw new Error(`--tools: ${name}: there is no such tool`);
  if (hasPrograms('containerd', 'ctr')) return [[name, containerdIn]];
  process.stderr.write(`${name}: not installed, left out\n`);
  return [];
}

/** The store is open, as a daemon is. */
function larderIn(directory: string): Remover {
  let larder: Larder | undefined;
  const opened = async (): Promise<Larder> => {
    larder ??= await openLarder({ root: join(directory, 'store') });
    return larder;
  };
  return {
    start: async () => void (await opened()),
    stop: async () => larder?.close(),
    pull: async (reference) => (await (await opened()).pull(reference))[Symbol.asyncDispose](),
    remove: async (reference) => void (await (await opened()).remove(reference)),
  };
}

function containerdIn(directory: string): Remover {
  const group = new ProcessGroup('remove');
  const tool = new Containerd(group, directory);
  return {
    start: async () => {
      group.create();
      await tool.start();
    },
    stop: async () => {
      await tool.stop();
      await group.remove();
    },
    pull: (reference) => tool.pull(reference),
    remove: (reference) => tool.remove(reference),
  };
}

async function measure(make: MakeTool, reference: string): Promise<Omit<Removal, 'tool'>> {
  const directory = join(values.work, 'remove');
  wipe(directory);
  mkdirSync(directory);
  const full = reference.includes(':', reference.lastIndexOf('/')) ? reference : `${reference}:latest`;
  const tool = make(directory);
  await tool.start();
  try {
    await timeSync();
    const before = freeBytes();
    await tool.pull(full);
    // What was not written yet takes no space, and is not freed.
    await timeSync();
    const full_ = freeBytes();
    const bytes = before - full_;
    const start = performance.now();
    const answered = Promise.resolve(tool.remove(full)).then(() => performance.now() - start);
    const freeMs = await untilFree(full_ + bytes * NEARLY_ALL, start);
    return { answeredMs: await answered, freeMs, bytes };
  } finally {
    await tool.stop();
  }
}

async function untilFree(wanted: number, start: number): Promise<number | undefined> {
  while (performance.now() - start < GIVE_UP_MS) {
    if (freeBytes() >= wanted) return performance.now() - start;
    await sleep(1);
  }
  return undefined;
}

function freeBytes(): number {
  const { bfree, bsize } = statfsSync(values.work);
  return bfree * bsize;
}

function report(reference: string, removals: readonly Removal[]): void {
  process.stdout.write(`${values.runs} removals of ${reference}\n`);
  for (const name of new Set(removals.map(({ tool }) => tool))) {
    const own = removals.filter(({ tool }) => tool === name);
    const mib = Math.round(summarize(own.map(({ bytes }) => bytes)).median / 2 ** 20);
    const shown = (values_: readonly number[]): string => {
      const { median, min, max } = summarize(values_);
      return `${formatMs(median)} (${formatMs(min)} to ${formatMs(max)})`;
    };
    const answered = shown(own.map(({ answeredMs }) => answeredMs));
    const free = shown(own.map(({ freeMs }) => freeMs ?? GIVE_UP_MS));
    process.stdout.write(`${name}: answers after ${answered}, ${mib} MiB are free after ${free}\n`);
  }
  const of = (name: string) => removals.filter(({ tool }) => tool === name);
  const path = writeResult({
    bench: 'remove',
    work: values.work,
    ...(values.out === undefined ? {} : { out: values.out }),
    figures: [...new Set(removals.map(({ tool }) => tool))].flatMap((name) => {
      const against = (figureOf: string) =>
        name === 'larder' && of('ctr').length > 0 ? { reference: `${figureOf}/ctr` } : {};
      return [
        figure(
          `answered/${name}`,
          'ms',
          of(name).map(({ answeredMs }) => answeredMs),
          against('answered'),
        ),
        figure(
          `free/${name}`,
          'ms',
          of(name).map(({ freeMs }) => freeMs ?? GIVE_UP_MS),
          against('free'),
        ),
      ];
    }),
    ...{ options: values, removals },
  });
  process.stdout.write(`${path}\n`);
}
