/**
 * `main [--every N [--offset K]] [--only WORD…] [--kill] [--errors] [--layers N] [--mutants]`: the long form; prints a table, and ends with 1 when anything
 * was wrong.
 */
import { parseArgs } from 'node:util';
import { wholeNumbers } from '../helpers/whole-numbers.js';
import { monotonicMs, randomOf } from '../nemesis/words.js';
import { bundleChild } from './bundled.js';
import { MUTANTS, sweepMutant } from './mutants.js';
import { OPERATIONS } from './operations.js';
import { errorSweep, FAULTS, type KilledBefore, killSweep, type SweepOptions, type SweepResult } from './sweep.js';
import { Tracer } from './tracer.js';
import { type StoreType, World } from './world.js';

const CHILD_BUNDLE = await bundleChild('child');

const { values } = parseArgs({
  options: {
    every: { type: 'string', default: '1' },
    offset: { type: 'string', default: '0' },
    only: { type: 'string', multiple: true, default: [] },
    kill: { type: 'boolean', default: false },
    errors: { type: 'boolean', default: false },
    layers: { type: 'string', default: '1000' },
    mutants: { type: 'boolean', default: false },
  },
});
const { every, offset, layers } = wholeNumbers('sweep', {
  every: values.every,
  offset: values.offset,
  layers: values.layers,
});
const rows: (readonly [string, SweepResult, number])[] = [];

/** Every Nth, from a place that differs from sweep to sweep. */
function choose(name: string): (points: number) => readonly number[] {
  const first = [...name].reduce((sum, letter) => sum + letter.charCodeAt(0), offset) % every;
  return (points) => Array.from({ length: points }, (_, i) => i + 1).filter((at) => at % every === first);
}

const NESTED: readonly KilledBefore[] = ['pull', 'provision-erofs', 'provision-copy', 'destroy-erofs', 'prune'].flatMap(
  (operation) => [0.3, 0.6, 0.9].map((at) => ({ operation, at })),
);

/** P99 of opening a store of so many layers and recovering it, after a pull was killed. */
const RECOVER_LIMIT_MS = 1000;
const RECOVERIES = 10;
let manyLayersMs: readonly number[] = [];

async function recoverManyLayers(): Promise<void> {
  if (layers === 0) return;
  await using world = await World.make('docker');
  await using tracer = new Tracer(CHILD_BUNDLE);
  await world.addLayers(layers);
  const random = randomOf(layers);
  const choose = (points: number): readonly number[] => Array.from({ length: RECOVERIES }, () => 1 + random(points));
  const onViolation = (text: string): void => console.log(`VIOLATION ${text}`);
  const startMs = monotonicMs();
  const result = await killSweep({ world, tracer, operation: 'pull', choose, onViolation });
  rows.push([`kill, docker pull into ${layers} layers`, result, (monotonicMs() - startMs) / 1000]);
  manyLayersMs = result.recoverMs;
}

async function sweepAll(type: StoreType): Promise<void> {
  await using world = await World.make(type);
  await using tracer = new Tracer(CHILD_BUNDLE);
  const names = Object.keys(OPERATIONS).filter((name) => type === 'docker' || OPERATIONS[name]?.onlyDocker !== true);
  const sweep = async (
    name: string,
    operation: string,
    run: (options: SweepOptions) => Promise<SweepResult>,
  ): Promise<void> => {
    const full = `${name}, ${type} ${operation}`;
    if (!values.only.every((word) => full.includes(word))) return;
    const startMs = monotonicMs();
    const options = { world, tracer, operation, choose: choose(full) };
    const result = await run({ ...options, onViolation: (text) => console.log(`VIOLATION ${text}`) });
    const seconds = (monotonicMs() - startMs) / 1000;
    rows.push([full, result, seconds]);
    const { points, swept, missed, violations } = result;
    console.log(
      `${full}: ${points} points, ${swept} swept, ${missed} missed, ${violations.length} wrong, ${seconds.toFixed(1)} s`,
    );
  };
  if (!values.errors) {
    for (const name of names) await sweep('kill', name, killSweep);
    for (const before of NESTED) {
      await sweep(`kill after ${before.operation} killed at ${before.at}`, 'recover', (options) =>
        killSweep(options, before),
      );
    }
  }
  if (values.kill) return;
  for (const fault of FAULTS) {
    for (const name of names) {
      await sweep(`${fault.errno} ${fault.lasting ? 'lasting' : 'once'}`, name, (options) =>
        errorSweep(options, fault),
      );
    }
  }
}

/** Each mistake is looked for from where it shows, until it is found. */
async function findMutants(): Promise<number> {
  await using world = await World.make('docker');
  let missed = 0;
  for (const mutant of MUTANTS) {
    if (!values.only.every((word) => mutant.name.includes(word))) continue;
    const { swept, violations } = await sweepMutant(world, mutant);
    if (violations.length === 0) missed++;
    const [first = 'NOT FOUND'] = violations;
    console.log(`mutant: ${mutant.name}: ${swept} points: ${first.slice(0, FIRST_CHARACTERS)}`);
  }
  return missed;
}

const FIRST_CHARACTERS = 300;

if (values.mutants) process.exit((await findMutants()) === 0 ? 0 : 1);
await Promise.all([sweepAll('docker'), sweepAll('appc')]);
await recoverManyLayers();
const results = rows.map(([, result]) => result);
const times = results.flatMap(({ recoverMs }) => recoverMs).sort((a, b) => a - b);
const sum = (of: (result: SweepResult) => number): number => results.reduce((total, result) => total + of(result), 0);
const violations = sum((result) => result.violations.length);
console.log(
  `${sum(({ swept }) => swept)} points swept, ${sum(({ missed }) => missed)} not reached, ${violations} violations; ` +
    `recover p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`,
);
const slowestMs = Math.max(0, ...manyLayersMs);
if (layers > 0)
  console.log(`recover among ${layers} layers: at most ${slowestMs.toFixed(0)} ms of ${RECOVER_LIMIT_MS}`);
process.exitCode = violations === 0 && sum(({ swept }) => swept) > 0 && slowestMs <= RECOVER_LIMIT_MS ? 0 : 1;

function at(part: number): string {
  return (times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? 0).toFixed(0);
}
