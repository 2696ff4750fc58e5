/**
 * Many processes on one store, each doing random things, killed and started again at random; then the history is
 * checked, and the store: no fault, nothing left, no mount.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openLarder } from '../../src/index.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { aciFileName, type BuiltAci, buildAci } from '../../src/testing/aci-builder.js';
import { dockerArchive, ociArchive } from '../../src/testing/archive-builder.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { checkHistory, linesOf, type Summary } from './history.js';
import { MARKER, monotonicMs, NOISE, randomOf, type WorkerOptions } from './words.js';

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
/** Two that are built on one. */
const ACIS = 2;
/** For a machine with more processes than cores, with every write synced. */
const MAX_OPERATION_MS = 60_000;

export async function runNemesis(options: NemesisOptions): Promise<NemesisResult> {
  const directory = makeDirectory();
  const source = await ImageSource.start();
  try {
    const world = new World(source, join(directory, 'sources'), options.seed);
    const root = join(directory, 'store');
    const untilMs = monotonicMs() + options.seconds * 1000;
    const worker = (i: number, life: number): WorkerOptions => ({
      root,
      worker: `w${i}`,
      life,
      seed: options.seed * 1000 + i * 100 + life,
      references: world.references,
      acis: world.acis,
      history: join(directory, `history-${i}`),
      untilMs,
    });
    const kills = await runWorkers(options, worker, world, untilMs);
    const lines = Array.from({ length: options.processes }, (_, i) =>
      linesOf(readFileSync(join(directory, `history-${i}`), 'utf8')),
    ).flat();
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

/** The images that there are to pull; their names move, but for those of archives. */
class World {
  readonly references: readonly string[];
  /** What names of Appc images are sought in. */
  readonly acis: string;
  readonly published = new Set<string>();
  readonly #source: ImageSource;
  readonly #random: (below: number) => number;
  #version = 0;

  constructor(source: ImageSource, directory: string, seed: number) {
    this.#source = source;
    this.#random = randomOf(seed);
    this.acis = `${join(directory, 'acis')}/`;
    this.references = [
      ...Array.from({ length: IMAGES }, (_, i) => `${source.reference(`image${i}`)}:latest`),
      ...Array.from({ length: ACIS }, (_, i) => `appc:${aciName(i)}`),
      ...this.#writeArchives(directory),
    ];
    for (let i = 0; i < IMAGES; i++) this.publish(i);
    this.#writeAci(this.#base);
    for (let i = 0; i < ACIS; i++) this.#publishAci(i);
  }

  /** Layers are shared with other images, and the same again for every second version. */
  publish(i: number = this.#random(IMAGES)): void {
    this.#source.publish(`image${i}`, [base(i), tar([dir('.'), ...this.#next(`image ${i}`)])]);
    if (this.#random(4) === 0) this.#publishAci(this.#random(ACIS));
  }

  /** Each depends on one that lies below it, of which it hides a part. */
  #publishAci(i: number): void {
    const [marker, noise] = this.#content(`aci ${i}`);
    const dependencies = [{ imageName: this.#base.name, ...(i === 0 ? { imageID: this.#base.id } : {}) }];
    const more = i === 0 ? {} : { pathWhitelist: [`/${MARKER}`, `/${NOISE}`] };
    this.#writeAci(buildAci({ name: aciName(i), dependencies, files: { [MARKER]: marker, [NOISE]: noise }, ...more }));
  }

  get #base(): BuiltAci {
    return buildAci({ name: aciName('base'), files: { below: Buffer.alloc(150_000, 'below') } });
  }

  /** Whoever reads one reads it to its end, whatever takes its name meanwhile. */
  #writeAci(aci: BuiltAci): void {
    const path = join(this.acis, aciFileName(aci));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.new`, aci.bytes);
    renameSync(`${path}.new`, path);
  }

  #writeArchives(directory: string): string[] {
    mkdirSync(directory, { recursive: true });
    const image = (name: string): ReturnType<typeof buildImage> =>
      buildImage({
        layers: [base(0), tar([dir('.'), ...this.#next(name)])].map((bytes) => ({ tar: bytes, compression: 'none' })),
      });
    const archives = {
      'docker-archive': dockerArchive([{ image: image('docker archive'), tags: ['nemesis:1'] }]),
      'oci-archive': ociArchive({ nemesis: image('oci archive') }),
    };
    return Object.entries(archives).map(([transport, members]) => {
      const path = join(directory, `${transport}.tar`);
      writeFileSync(path, tar(members));
      return `${transport}:${path}`;
    });
  }

  #next(what: string): Buffer[] {
    const [marker, noise] = this.#content(what);
    return [file(MARKER, marker), file(NOISE, noise)];
  }

  #content(what: string): [Buffer, Buffer] {
    const version = this.#version++ % 40;
    const marker = Buffer.from(`${what} version ${version}\n`);
    const noise = Buffer.concat(Array.from({ length: 1000 }, () => createHash('sha512').update(marker).digest()));
    this.published.add(createHash('sha256').update(marker).update(noise).digest('hex'));
    return [marker, noise];
  }
}

function base(i: number): Buffer {
  return Buffer.from(sampleLayer(`base${i % BASES}`, 150_000));
}

function aciName(which: number | string): string {
  return `example.com/nemesis-${which}`;
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
    // Every third sees mounts of its own, which go when it is killed: to its next life that is a reboot.
    const own = i % 3 === 2 ? ['unshare', '--mount', '--propagation', 'private'] : [];
    const [program = '', ...args] = [...own, process.execPath, WORKER, JSON.stringify(optionsOf(i, life))];
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
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
  await larder.prune({ all: true });
  if (larder.images().length > 0) left.push('images are left after a prune of all');
  for (const part of [
    'layers/sha256',
    'staging',
    'gc',
    'containers',
    'blobs/sha256',
    'ingest',
    'metadata/names',
    'mounts',
  ]) {
    const names = readdirSync(join(root, part)).filter((name) => !/^(?:\.|lock$)/.test(name));
    if (names.length > 0) left.push(`${part}: ${names.slice(0, 5).join(', ')} left after a prune of all`);
  }
  for (const { mountPoint } of mountsUnder(root)) left.push(`${mountPoint} is still mounted`);
  return left;
}
