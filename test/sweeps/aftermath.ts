/** What must hold of a store, whatever became of the process that worked on it. */
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Larder } from '../../src/index.js';
import { mountsBelow } from '../e2e/larder.js';
import { monotonicMs } from '../nemesis/words.js';
import { type Names, type Operation, openSwept } from './operations.js';
import type { World } from './world.js';

export interface Aftermath {
  readonly violations: readonly string[];
  /** Opening and `recover`, of which opening does a part. */
  readonly recoverMs: number;
}

export interface AftermathOptions {
  /** The operation is done again here; where it has succeeded already that is not worth its time. */
  readonly again: boolean;
  /** What a killed process wrote outside of the store may be left. */
  readonly killed: boolean;
}

/** Recovers, looks at every byte, does it again, removes everything and looks for what is left. */
export async function aftermathOf(world: World, operation: Operation, how: AftermathOptions): Promise<Aftermath> {
  const violations: string[] = [];
  const { root, names } = world;
  const startMs = monotonicMs();
  let recoverMs = 0;
  {
    await using larder = await openSwept(root, names, operation.settings);
    const hasContainer = larder.containers().some(({ container }) => container === 'c');
    await larder.recover([]);
    recoverMs = monotonicMs() - startMs;
    for (const { container } of larder.containers()) violations.push(`recover left container ${container}`);
    const images = new Set(larder.images().map(({ type, reference }) => `${type} ${reference}`));
    const here = [...images].join(', ');
    for (const kept of operation.keeps(names)) {
      if (!(await isHere(larder, kept))) violations.push(`${kept} is gone; there is ${here}`);
    }
    if (!how.again) violations.push(...(await undone(larder, operation, names, hasContainer)));
    const findings = await findingsOf(larder);
    const isKept = findings.some(({ kept }) => kept === 'tar');
    // What was done leaves nothing for a later time.
    // A tar that could not be moved is told of, and waits for the next prune.
    const waits = operation.done?.noImages === undefined ? ['note'] : ['note', 'tar'];
    const wrong = findings.filter(({ kept }) => kept === undefined || (!how.again && !waits.includes(kept)));
    if (operation.from !== 'damaged' || !how.again) violations.push(...wrong.map(({ text }) => text));
    if (how.again) {
      try {
        await operation.prepare?.(larder, names);
        const requests = world.layerRequests;
        await operation.run(larder, names);
        if (isKept && operation.from !== 'damaged' && world.layerRequests > requests)
          violations.push('a tar that was here was fetched again');
        await larder.recover([]);
        const left = (await findingsOf(larder))
          .filter(({ kept }) => kept !== 'note')
          .filter(({ kept }) => kept !== 'tar' || operation.onlyOnce !== true);
        violations.push(...left.map(({ text }) => `after another try: ${text}`));
      } catch (error) {
        violations.push(`another try failed: ${error instanceof Error ? error.stack : String(error)}`);
      }
    }
    await larder.prune({ all: true });
    violations.push(...(await findingsOf(larder)).map(({ text }) => `after a prune of all: ${text}`));
  }
  violations.push(...leftovers(root));
  violations.push(...exportsLeft(world, how));
  return { violations, recoverMs };
}

/** It said that it was done. */
async function undone(larder: Larder, { done }: Operation, names: Names, hasContainer: boolean): Promise<string[]> {
  const violations: string[] = [];
  for (const image of done?.images?.(names) ?? []) {
    if (!(await isHere(larder, image))) violations.push(`done, but ${image} is not there`);
  }
  for (const image of done?.noImages?.(names) ?? []) {
    if (await isHere(larder, image)) violations.push(`done, but ${image} is there`);
  }
  if (done?.container !== undefined && done.container !== hasContainer)
    violations.push('done, but not to its container');
  return violations;
}

async function isHere(larder: Larder, reference: string): Promise<boolean> {
  return larder.find(reference).then(
    () => true,
    () => false,
  );
}

const NOTE_BYTES = 512;

interface Found {
  readonly text: string;
  /**
   * It is there on purpose: what the next pull goes on with, or need not fetch. A `note` says what an ACI is that is in
   * the store already, or is an empty file: only a prune looks for it.
   */
  readonly kept?: 'download' | 'tar' | 'note';
}

async function findingsOf(larder: Larder): Promise<Found[]> {
  const findings: Found[] = [];
  for await (const { kind, invariant, subject, message } of larder.check({ deep: true })) {
    const text = `check: ${kind} ${invariant} ${subject}: ${message}`;
    const isTar = kind === 'garbage' && message === 'a tar that no record names';
    const bytes = kind === 'garbage' && subject.startsWith('download of ') ? Number.parseInt(message, 10) : undefined;
    const download =
      bytes === undefined ? {} : { kept: bytes <= NOTE_BYTES ? ('note' as const) : ('download' as const) };
    findings.push({ text, ...(isTar ? { kept: 'tar' } : download) });
  }
  return findings;
}

/** An export is written beside its target and renamed; nobody looks for what a killed one left there. */
function exportsLeft({ exports }: World, { killed }: AftermathOptions): string[] {
  return readdirSync(exports)
    .filter((name) => name !== 'app.tar' && !(killed && name.startsWith('.larder-export-')))
    .map((name) => `${name} is left beside the export`);
}

/** After a prune of all: an empty store has its format, its database and locks, nothing else. */
function leftovers(root: string): string[] {
  const left = (readdirSync(root, { recursive: true }) as string[])
    .filter((path) => !lstatSync(join(root, path)).isDirectory())
    .filter((path) => !EMPTY_STORE.has(path) && !DAMAGED.test(path))
    .map((path) => `${path} is left after a prune of all`);
  for (const mount of mountsBelow(root)) left.push(`${mount} is still mounted`);
  for (const loop of readdirSync('/sys/block').filter((name) => name.startsWith('loop'))) {
    if (backingOf(loop).startsWith(root)) left.push(`${loop} still has ${backingOf(loop)}`);
  }
  return left;
}

const EMPTY_STORE = new Set([
  'format',
  'gate',
  'lock',
  'metadata/larder.db',
  'metadata/larder.db-wal',
  'metadata/larder.db-shm',
  'metadata/writer.lock',
  'derived/1/chains/.lock',
]);

/** What of a database cannot be read is never deleted. */
const DAMAGED = /^metadata\/damaged-[^/]*\/larder\.db[^/]*$/;

function backingOf(loop: string): string {
  try {
    return readFileSync(`/sys/block/${loop}/loop/backing_file`, 'utf8').trim();
  } catch {
    return '';
  }
}
