/**
 * `npm run bench -- containers [OPTIONS]`: many containers of one image by one process that keeps the store open. What
 * each takes, whether it takes longer when there are many, what they take of the page cache when all read the same
 * files, and how long it takes to destroy them. Needs root.
 *
 *     --count N (1000)       --parallel N, in flight at once (1)
 *     --registry HOST:PORT   --image NAME; default: an image made here, of --files N (4000) files of 8 KiB
 *     --read N (20)          containers in which all files are read
 *     --work DIR (/var/tmp/larder-bench)   --out DIR (bench/out)
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { type Larder, openLarder } from '../src/index.js';
import { dropCaches, wipe } from './machine.js';
import { publishMadeImage } from './made-image.js';
import { figure, writeResult } from './result.js';
import { formatMs, summarize } from './statistics.js';

const EDGE = 100;
const BYTES_OF_A_FILE = 8192;

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000' },
    parallel: { type: 'string', default: '1' },
    registry: { type: 'string' },
    image: { type: 'string', default: 'debian-slim' },
    files: { type: 'string', default: '4000' },
    read: { type: 'string', default: '20' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    out: { type: 'string' },
  },
});

interface Series {
  readonly totalMs: number;
  /** Of the processor, by this process. */
  readonly cpuMs: number;
  /** Of each, in the order in which they began. */
  readonly each: readonly number[];
}

if (process.getuid?.() !== 0) throw new Error('bench containers: needs root: it mounts, and drops caches');
await main();

async function main(): Promise<void> {
  const root = join(values.work, 'containers');
  wipe(root);
  mkdirSync(values.work, { recursive: true });
  const made =
    values.registry === undefined ? await publishMadeImage(Number(values.files), BYTES_OF_A_FILE) : undefined;
  const reference = made?.reference('made') ?? `${values.registry}/${values.image}`;
  const larder = await openLarder({ root });
  try {
    await (await larder.pull(reference))[Symbol.asyncDispose]();
    await made?.[Symbol.asyncDispose]();
    const ids = Array.from({ length: Number(values.count) }, (_, i) => `bench-${i}`);
    const rootfsOf = new Map<string, string>();
    const provision = await series(ids, async (id) => {
      rootfsOf.set(id, (await larder.provision(reference, { id })).rootfs);
    });
    const mounts = countMounts(root);
    const cache = measureCache(ids.slice(0, Number(values.read)).map((id) => rootfsOf.get(id) ?? ''));
    const destroy = await series(ids, async (id) => {
      await larder.destroy(id);
    });
    report({ reference, provision, mounts, cache, destroy, findings: await check(larder), left: countMounts(root) });
  } finally {
    await larder.close();
    wipe(root);
  }
}

/** `parallel` at once. */
async function series(ids: readonly string[], work: (id: string) => Promise<void>): Promise<Series> {
  const each: number[] = [];
  const waiting = ids.entries();
  const start = performance.now();
  const cpu = process.cpuUsage();
  const lane = async (): Promise<void> => {
    for (const [i, id] of waiting) {
      const from = performance.now();
      await work(id);
      each[i] = performance.now() - from;
    }
  };
  await Promise.all(Array.from({ length: Number(values.parallel) }, lane));
  const { user, system } = process.cpuUsage(cpu);
  return { totalMs: performance.now() - start, cpuMs: (user + system) / 1000, each };
}

interface Mounts {
  readonly erofs: number;
  readonly overlay: number;
}

function countMounts(root: string): Mounts {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[4]?.startsWith(`${root}/`));
  const count = (type: string): number => lines.filter((line) => line.includes(` - ${type} `)).length;
  return { erofs: count('erofs'), overlay: count('overlay') };
}

/** KiB of page cache that the first container's files take, and that the same files in all others add. */
function measureCache(trees: readonly string[]): { readonly firstKiB: number; readonly othersKiB: number } {
  dropCaches();
  const [first, ...others] = trees;
  const before = cachedKiB();
  if (first !== undefined) readAll(first);
  const after = cachedKiB();
  for (const tree of others) readAll(tree);
  return { firstKiB: after - before, othersKiB: cachedKiB() - after };
}

function readAll(tree: string): void {
  execFileSync('sh', ['-c', 'find "$0" -xdev -type f -exec cat {} + > /dev/null', tree]);
}

function cachedKiB(): number {
  return Number(/^Cached:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
}

async function check(larder: Larder): Promise<number> {
  let findings = 0;
  for await (const { message } of larder.check()) {
    process.stderr.write(`check: ${message}\n`);
    findings++;
  }
  return findings;
}

interface Result {
  readonly reference: string;
  readonly provision: Series;
  readonly destroy: Series;
  readonly mounts: Mounts;
  readonly left: Mounts;
  readonly cache: { readonly firstKiB: number; readonly othersKiB: number };
  readonly findings: number;
}

function report({ provision, destroy, mounts, cache, findings, left, reference }: Result): void {
  const lines = [
    `${values.count} containers of ${reference}, ${values.parallel} in flight`,
    ...[describeSeries('provision', provision), describeSeries('destroy', destroy)],
    `mounted: ${mounts.erofs} erofs, ${mounts.overlay} overlay; afterwards ${left.erofs} and ${left.overlay}`,
    `page cache: ${mib(cache.firstKiB)} for all files in one container, ${mib(cache.othersKiB)} more in ${Number(values.read) - 1} others`,
    `check: ${findings} findings`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  const ref = reference.split('/').at(-1) ?? reference;
  const edge = (part: readonly number[], name: string) => figure(`provision-${name}-${EDGE}/${ref}`, 'ms', part);
  const path = writeResult({
    bench: 'containers',
    work: values.work,
    ...(values.out === undefined ? {} : { out: values.out }),
    figures: [
      figure(`provision/${ref}`, 'ms', provision.each),
      edge(provision.each.slice(1, EDGE + 1), 'first'),
      edge(provision.each.slice(-EDGE), 'last'),
      figure(`destroy/${ref}`, 'ms', destroy.each),
      ...[provision, destroy].flatMap(({ totalMs, cpuMs }, i) => {
        const name = i === 0 ? 'provision' : 'destroy';
        return [figure(`all-${name}/${ref}`, 'ms', totalMs), figure(`processor-of-all-${name}/${ref}`, 'ms', cpuMs)];
      }),
      figure(`page-cache-first/${ref}`, 'KiB', cache.firstKiB),
      figure(`page-cache-others/${ref}`, 'KiB', cache.othersKiB),
    ],
    ...{ options: values, mounts, left, findings },
  });
  process.stdout.write(`${path}\n`);
}

function describeSeries(name: string, { totalMs, cpuMs, each }: Series): string {
  const { median, max } = summarize(each);
  const p99 = [...each].sort((a, b) => a - b)[Math.floor(each.length * 0.99)] ?? Number.NaN;
  const [first, last] = [each.slice(1, EDGE + 1), each.slice(-EDGE)].map((part) => summarize(part).median);
  const edges = `first ${EDGE} ${formatMs(first ?? Number.NaN)}, last ${EDGE} ${formatMs(last ?? Number.NaN)}`;
  const shown = `median ${formatMs(median)}, p99 ${formatMs(p99)}, longest ${formatMs(max)}`;
  return `${name}: ${formatMs(totalMs)} in all, ${formatMs(cpuMs)} of the processor; ${shown}; the very first ${formatMs(each[0] ?? Number.NaN)}; ${edges}`;
}

function mib(kib: number): string {
  return `${(kib / 1024).toFixed(1)} MiB`;
}
