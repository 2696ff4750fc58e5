/**
 * Many processes on one store, each doing random things, each with a clock of its own that jumps, some with mounts and
 * process ids of their own, killed or told to end and started again at random; then the history is checked, and the
 * store: no fault, nothing left, no mount, no lease.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openLarder } from '../../src/index.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { Database } from '../../src/metadata/database.js';
import { leaseHandles } from '../../src/metadata/leases.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { Clocks } from './clocks.js';
import { Fleet, type FleetResult } from './fleet.js';
import { checkHistory, linesOf, type Summary } from './history.js';
import { MemoryDisk } from './memory-disk.js';
import { monotonicMs } from './words.js';
import { World } from './world.js';

export interface NemesisOptions {
  readonly processes: number;
  /** How many operations have to come to an end; fewer is a violation. */
  readonly operations: number;
  /** It ends then, whatever came to an end. */
  readonly maxSeconds: number;
  readonly seed: number;
  /** Operations of all processes between two deaths, on average. */
  readonly killEvery: number;
  /** The store lies on a disk in memory: what is synced is not waited for. */
  readonly inMemory?: boolean;
  readonly onProgress?: (operations: number) => void;
  /** Ends it early: what was done by then is checked. */
  readonly signal?: AbortSignal;
}

export interface NemesisResult extends Summary, Omit<FleetResult, 'violations'> {
  readonly lines: number;
  readonly seconds: number;
}

/** For a machine with more processes than cores; a deadlock is forever. */
const MAX_OPERATION_MS = 120_000;

export async function runNemesis(options: NemesisOptions): Promise<NemesisResult> {
  const directory = makeDirectory();
  const source = await ImageSource.start();
  const disk = options.inMemory === true ? MemoryDisk.mount(join(directory, 'disk')) : undefined;
  const clocks = new Clocks(directory);
  const startMs = monotonicMs();
  try {
    const root = join(disk?.path ?? directory, 'store');
    const fleet = new Fleet({
      ...options,
      root,
      directory,
      world: new World(source, join(directory, 'sources'), options.seed),
      clocks,
      maxOperationMs: MAX_OPERATION_MS,
    });
    const { violations: deaths, ...rest } = await fleet.run();
    const seconds = Math.round((monotonicMs() - startMs) / 1000);
    const lines = fleet.histories().flatMap((path) => linesOf(readFileSync(path, 'utf8')));
    const summary = checkHistory(lines, { published: fleet.published, maxOperationMs: MAX_OPERATION_MS });
    const { operations } = summary;
    const few =
      operations < options.operations ? [`${operations} operations, ${options.operations} were asked for`] : [];
    const violations = [...summary.violations, ...deaths, ...few, ...(await whatIsLeft(root, options.processes))];
    return { ...summary, ...rest, violations, lines: lines.length, seconds };
  } finally {
    await source[Symbol.asyncDispose]();
    disk?.remove();
    clocks.tidy();
    removeDirectory(directory);
  }
}

/** Recovers for every owner, then looks: no container, no fault at all after reading every byte, and nothing after a prune. */
async function whatIsLeft(root: string, processes: number): Promise<string[]> {
  for (let i = 0; i < processes; i++) {
    await using owner = await openLarder({ root, owner: `w${i}` });
    await owner.recover([]);
  }
  const larder = await openLarder({ root });
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
    const names = namesIn(join(root, part)).filter((name) => !/^(?:\.|lock$)/.test(name));
    if (names.length > 0) left.push(`${part}: ${names.slice(0, 5).join(', ')} left after a prune of all`);
  }
  await larder.close();
  for (const part of ['handles', 'pulls']) {
    const names = namesIn(join(root, part));
    if (names.length > 0) left.push(`${part}: ${names.slice(0, 5).join(', ')} left, and nobody is there any more`);
  }
  await using database = await Database.open(join(root, 'metadata', 'larder.db'), { readOnly: true });
  const leases = leaseHandles(database);
  if (leases.length > 0) left.push(`leases of ${leases.join(', ')} are stuck`);
  for (const { mountPoint } of mountsUnder(root)) left.push(`${mountPoint} is still mounted`);
  return left;
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}
