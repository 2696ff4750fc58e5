/**
 * Many processes on one store, each doing random things, killed and started again at random; then the history is
 * checked, and the store: no fault, nothing left, no mount.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openLarder } from '../../src/index.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { checkHistory, type Summary } from './history.js';
import { type Line, MARKER, monotonicMs, NOISE, randomOf, type WorkerOptions } from './words.js';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));

export interface NemesisOptions {
  readonly processes: number;
  readonly seconds: number;
  readonly seed: number;
  /** Milliseconds between two kills, on average. */
  readonly killEveryMs: number;
}

export interface NemesisResult extends Summary {
  readonly kills: number;
  readonly lines: number;
}

const IMAGES = 6;
const BASES = 3;
/** For a machine with more processes than cores, with every write synced. */
const MAX_OPERATION_MS = 60_000;

export async function runNemesis(options: NemesisOptions): Promise<NemesisResult> {
  const directory = makeDirectory();
  const source = await ImageSource.start();
  try {
    const world = new World(source, options.seed);
    const root = join(directory, 'store');
    const untilMs = monotonicMs() + options.seconds * 1000;
    const worker = (i: number, life: number): WorkerOptions => ({
      root,
      worker: `w${i}`,
      life,
      seed: options.seed * 1000 + i * 100 + life,
      references: world.references,
      history: join(directory, `history-${i}`),
      untilMs,
    });
    const kills = await runWorkers(options, worker, world, untilMs);
    const lines = Array.from({ length: options.processes }, (_, i) => linesOf(join(directory, `history-${i}`))).flat();
    const summary = checkHistory(lines, {
      published: world.published,
      maxOperationMs: MAX_OPERATION_MS,
      endMs: untilMs,
    });
    const left = await whatIsLeft(root, options.processes);
    return { ...summary, violations: [...summary.violations, ...left], kills, lines: lines.length };
  } finally {
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  }
}

/** The images that there are to pull; their tags move. */
class World {
  readonly references: readonly string[];
  readonly published = new Set<string>();
  readonly #source: ImageSource;
  readonly #random: (below: number) => number;
  #version = 0;

  constructor(source: ImageSource, seed: number) {
    this.#source = source;
    this.#random = randomOf(seed);
    this.references = Array.from({ length: IMAGES }, (_, i) => `${source.reference(`image${i}`)}:latest`);
    for (let i = 0; i < IMAGES; i++) this.publish(i);
  }

  /** Layers are shared with other images, and the same again for every second version. */
  publish(i: number = this.#random(IMAGES)): void {
    const version = this.#version++ % 40;
    const marker = Buffer.from(`image ${i} version ${version}\n`);
    const noise = createHash('sha512').update(marker).digest();
    const bytes = Buffer.concat(Array.from({ length: 1000 }, () => noise));
    const top = tar([dir('.'), file(MARKER, marker), file(NOISE, bytes)]);
    this.#source.publish(`image${i}`, [sampleLayer(`base${i % BASES}`, 150_000), top]);
    this.published.add(createHash('sha256').update(marker).update(bytes).digest('hex'));
  }
}

async function runWorkers(
  { processes, seed, killEveryMs }: NemesisOptions,
  optionsOf: (worker: number, life: number) => WorkerOptions,
  world: World,
  untilMs: number,
): Promise<number> {
  const random = randomOf(seed + 1);
  const lives = Array.from({ length: processes }, () => 0);
  const running = new Map<number, ChildProcess>();
  const failures: string[] = [];
  let kills = 0;
  const start = (i: number): void => {
    const life = lives[i] ?? 0;
    lives[i] = life + 1;
    const child = spawn(process.execPath, [WORKER, JSON.stringify(optionsOf(i, life))], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    running.set(i, child);
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('close', (code, signal) => {
      running.delete(i);
      if (signal === 'SIGKILL' && monotonicMs() < untilMs) start(i);
      else if (code !== 0 && signal !== 'SIGKILL') failures.push(`worker ${i} ended with ${code ?? signal}: ${stderr}`);
    });
  };
  for (let i = 0; i < processes; i++) start(i);
  while (monotonicMs() < untilMs) {
    await sleep(killEveryMs / 2 + random(killEveryMs));
    world.publish();
    const victims = [...running.values()];
    if (victims[random(Math.max(1, victims.length))]?.kill('SIGKILL') === true) kills++;
  }
  // Who hangs now hangs forever.
  const giveUpMs = untilMs + MAX_OPERATION_MS;
  while (running.size > 0 && monotonicMs() < giveUpMs) await sleep(50);
  for (const [i, child] of running) {
    failures.push(`worker ${i} did not end`);
    child.kill('SIGKILL');
  }
  if (failures.length > 0) throw new Error(failures.join('\n'));
  return kills;
}

/** Recovers for every owner, then looks: no container, no fault at all after reading every byte, and nothing after a prune. */
async function whatIsLeft(root: string, processes: number): Promise<string[]> {
  for (let i = 0; i < processes; i++) {
    await using owner = await openLarder({ root, owner: `w${i}` });
    await owner.recover([]);
  }
  await using larder = await openLarder({ root });
  const left = larder.containers().map(({ container }) => `container ${container} is left`);
  for await (const { kind, subject, message } of larder.check({ deep: true })) {
    if (kind === 'fault') left.push(`${subject}: ${message}`);
  }
  await larder.prune();
  if (larder.images().length > 0) left.push('images are left after a prune of all');
  for (const part of ['layers/sha256', 'staging', 'gc', 'containers', 'blobs/sha256']) {
    const names = readdirSync(join(root, part)).filter((name) => !/^(?:\.|lock$)/.test(name));
    if (names.length > 0) left.push(`${part}: ${names.slice(0, 5).join(', ')} left after a prune of all`);
  }
  for (const { mountPoint } of mountsUnder(root)) left.push(`${mountPoint} is still mounted`);
  return left;
}

function linesOf(path: string): Line[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line) as Line);
}
