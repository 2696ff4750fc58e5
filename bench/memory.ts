/**
 * `npm run bench -- memory [OPTIONS]`: the most memory that a pull of a large image takes, of the command and of a process
 * that has the store open (what it takes beyond the same process at rest is the figure that has a limit), and what of it
 * is memory of its own (anonymous) and what pages of files. The layers are made while they are served and lie nowhere but
 * in the store: LAYERS × MB of disk.
 *
 *     --layers N (20)   --mb N, of each as a tar (500)   --file-kib N, mean (64)   --parallel A,B,… layers at once (2,6)
 *     --work DIR (/var/tmp/larder-bench)   --out DIR (bench/out)
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CHECKOUT } from '../test/checkout.js';
import { wipe } from './machine.js';
import { type Figure, figure, writeResult } from './result.js';
import { formatBytes, formatMs } from './statistics.js';
import type { Answer, Question } from './tools/larder-library-host.js';

const { values } = parseArgs({
  options: {
    layers: { type: 'string', default: '20' },
    mb: { type: 'string', default: '500' },
    'file-kib': { type: 'string', default: '64' },
    parallel: { type: 'string', default: '2,6' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    out: { type: 'string', default: join(CHECKOUT, 'bench', 'out') },
  },
});

interface Memory {
  /** The kernel's own high-water mark. */
  readonly peak: number;
  /** Looked at every 10 ms. */
  readonly anonymous: number;
  readonly files: number;
}

const ENV = { PATH: process.env['PATH'], HOME: process.env['HOME'] };
const directory = join(values.work, 'memory');
const root = join(directory, 'store');
await main();

async function main(): Promise<void> {
  wipe(directory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const server = spawn(process.execPath, serverArguments(), { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const [line] = (await once(server.stdout, 'data')) as [Buffer];
    const reference = `${line.toString().trim()}/large:latest`;
    const figures: Figure[] = [];
    for (const parallel of values.parallel.split(',')) {
      figures.push(...(await library(reference, parallel)), ...(await command(reference, parallel)));
    }
    process.stdout.write(`${writeResult({ bench: 'memory', out: values.out, work: values.work, figures })}\n`);
  } finally {
    server.kill();
    wipe(directory);
  }
}

function serverArguments(): string[] {
  const program = fileURLToPath(new URL('./large-image.js', import.meta.url));
  return [program, values.layers, String(Number(values.mb) * 1e6), String(Number(values['file-kib']) * 1024)];
}

async function library(reference: string, parallel: string): Promise<Figure[]> {
  const program = fileURLToPath(new URL('./tools/larder-library-host.js', import.meta.url));
  const host = fork(program, [root, JSON.stringify({ max_parallel_layers: Number(parallel) })], { env: ENV });
  try {
    const idle = await watch(host, () => ask(host, { method: 'images' }));
    const { ms, ...pull } = await watch(host, () => ask(host, { method: 'pull', reference }));
    const name = `pull by the library, ${parallel} layers at once`;
    report(name, pull, ms);
    return [
      figure(`process at rest (${parallel})`, 'bytes', idle.peak),
      ...figuresOf(name, pull),
      figure(`${name}: more than at rest`, 'bytes', pull.peak - idle.peak),
    ];
  } finally {
    host.kill();
    await once(host, 'exit');
    wipe(root);
  }
}

async function command(reference: string, parallel: string): Promise<Figure[]> {
  const bin = join(CHECKOUT, 'bin', 'larder.js');
  const args = ['--root', root, '--socket', 'none', '--max-parallel-layers', parallel, 'pull', reference];
  const child = spawn(process.execPath, [bin, ...args], { env: ENV, stdio: ['ignore', 'ignore', 'inherit'] });
  const { ms, ...memory } = await watch(child, async () => {
    const [status] = await once(child, 'exit');
    if (status !== 0) throw new Error(`larder pull: status ${status}`);
  });
  wipe(root);
  const name = `larder pull, ${parallel} layers at once`;
  report(name, memory, ms);
  return figuresOf(name, memory);
}

function figuresOf(name: string, { peak, anonymous, files }: Memory): Figure[] {
  return [
    figure(name, 'bytes', peak),
    figure(`${name}: its own memory`, 'bytes', anonymous),
    figure(`${name}: pages of files`, 'bytes', files),
  ];
}

function report(name: string, { peak, anonymous, files }: Memory, ms: number): void {
  const parts = `${formatBytes(anonymous)} its own, ${formatBytes(files)} of files`;
  process.stdout.write(`${name}: ${formatBytes(peak)} (${parts}) in ${formatMs(ms)}\n`);
}

async function ask(host: ChildProcess, question: Question): Promise<void> {
  host.send(question);
  const [answer] = (await once(host, 'message')) as [Answer];
  if (answer.failed !== undefined) throw new Error(`${question.method}: ${answer.failed}`);
}

/** What a process has resident while `work` runs; its mark begins anew. */
async function watch({ pid }: ChildProcess, work: () => Promise<void>): Promise<Memory & { readonly ms: number }> {
  const most = { peak: 0, anonymous: 0, files: 0 };
  const look = (): void => {
    const status = statusOf(pid);
    most.peak = Math.max(most.peak, bytesOf(status, 'VmHWM'));
    most.anonymous = Math.max(most.anonymous, bytesOf(status, 'RssAnon'));
    most.files = Math.max(most.files, bytesOf(status, 'RssFile'));
  };
  const start = performance.now();
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  const timer = setInterval(look, 10);
  try {
    await work();
    look();
  } finally {
    clearInterval(timer);
  }
  return { ...most, ms: performance.now() - start };
}

/** Nothing when the process has ended. */
function statusOf(pid: number | undefined): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}

function bytesOf(status: string, key: string): number {
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1024;
}
