/**
 * The long form: `npm run fuzz -- [--minutes N] [--seed S] [TARGET…]`, guided by coverage, N minutes for each target
 * (default 1). `--input FILE TARGET` runs one input again; `--unreached src/tar,src/tree` lists at the end the functions
 * of these files that no input reached. Ends with 1 where something was found; the input, made as
 * short as it would get, is written to a file then.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { digestOf, hexOf } from '../../src/spec/digest.js';
import { Coverage } from './coverage.js';
import { FuzzFind, fuzz, replay } from './fuzz.js';
import type { FuzzTarget } from './target.js';

const { values, positionals } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    input: { type: 'string' },
    unreached: { type: 'string' },
  },
  allowPositionals: true,
});
// Before anything else of ours is loaded: so it knows of every function.
const coverage = new Coverage();
coverage.start();
const { TARGETS } = await import('./targets/all.js');
// At once: what never ran is forgotten soon.
coverage.unreached([]);
const names = [...TARGETS.keys()].filter(
  (name) =>
    positionals.length === 0 ||
    positionals.some((word) => name === word || (!TARGETS.has(word) && name.includes(word))),
);
if (names.length === 0 || !(Number(values.minutes) > 0) || !Number.isInteger(Number(values.seed))) {
  console.error(
    `fuzz: expected [--minutes N] [--seed S] [--input FILE] [--unreached PATH,…] [TARGET…], TARGET one of: ${[...TARGETS.keys()].join(', ')}`,
  );
  process.exit(2);
}
for (const name of names) await run(name);
if (values.unreached !== undefined) {
  for (const name of coverage.unreached(values.unreached.split(','))) console.log(`unreached: ${name}`);
}
// Connections that were kept for the next request end with the process.
process.exit();

async function run(name: string): Promise<void> {
  const target = await TARGETS.get(name)?.();
  if (target === undefined) return console.log(`${name}: skipped: this machine cannot`);
  try {
    if (values.input === undefined) await fuzzFor(target);
    else console.log(`${name}: ${await replay(target, readFileSync(values.input))}`);
  } catch (error) {
    process.exitCode = 1;
    report(target, error);
  } finally {
    await target.close?.();
  }
}

async function fuzzFor(target: FuzzTarget): Promise<void> {
  const seed = Number(values.seed);
  const result = await fuzz(target, { seed, ms: Number(values.minutes) * 60_000, coverage });
  const { runs, cpuMs, verdicts, kept, reached } = result;
  const rate = Math.round(runs / (cpuMs / 1000));
  const shown = Object.entries(verdicts).map(([verdict, count]) => `${verdict.replace('LARDER_', '')} ${count}`);
  const seconds = Math.round(cpuMs / 1000);
  console.log(
    `${target.name}: seed ${seed}: ${runs} inputs in ${seconds} s of the processor (${rate}/s), ${kept} kept that reach ${reached} characters of code: ${shown.join(', ')}`,
  );
}

function report(target: FuzzTarget, error: unknown): void {
  console.error(error);
  if (!(error instanceof FuzzFind)) return;
  const path = join(tmpdir(), `larder-find-${target.name}-${hexOf(digestOf(error.input)).slice(0, 12)}`);
  writeFileSync(path, error.input);
  console.error(
    `${target.name}: FOUND with seed ${values.seed}: ${error.input.length} bytes: npm run fuzz -- --input ${path} ${target.name}`,
  );
}
