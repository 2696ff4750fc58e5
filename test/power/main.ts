/**
 * `main [--fs ext4,xfs,btrfs] [--lives N] [--subsets N] [--torn N] [--states N] [--deep-every N] [--twice-every N] [--seed N] [--no-mutants]
 * [--only-mutants] [--mutant WORDS] [--json FILE]`: the long form. Ends with 1 when anything was lost, when there were too few states, or
 * when a mistake did not show.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Semaphore } from '../../src/concurrency.js';
import { wholeNumbers } from '../helpers/whole-numbers.js';
import { MUTANTS } from './mutants.js';
import { runMutant, runPower } from './power.js';
import { FILE_SYSTEMS, type FileSystem } from './recorder.js';

const WANTED_STATES = 5000;
/** As many as make no other slower. */
const AT_ONCE = 2;

const { values } = parseArgs({
  options: {
    fs: { type: 'string', default: Object.keys(FILE_SYSTEMS).join() },
    lives: { type: 'string', default: '30' },
    subsets: { type: 'string', default: '2' },
    torn: { type: 'string', default: '1' },
    states: { type: 'string' },
    'deep-every': { type: 'string', default: '1' },
    'twice-every': { type: 'string', default: '6' },
    seed: { type: 'string', default: '1' },
    'no-mutants': { type: 'boolean', default: false },
    'only-mutants': { type: 'boolean', default: false },
    mutant: { type: 'string', default: '' },
    json: { type: 'string' },
  },
});
const { lives, subsets, torn, seed, ...periods } = wholeNumbers('power', {
  lives: values.lives,
  subsets: values.subsets,
  torn: values.torn,
  seed: values.seed,
  'deep-every': values['deep-every'],
  'twice-every': values['twice-every'],
});
const amounts = { lives, subsets, torn, seed, deepEvery: periods['deep-every'], twiceEvery: periods['twice-every'] };
const states = values.states === undefined ? {} : wholeNumbers('power', { states: values.states });
const chosen = values.fs.split(',').filter((name): name is FileSystem => name in FILE_SYSTEMS);
const turns = new Semaphore(AT_ONCE);

/** What did not end by itself does not end the others, and the whole with 1. */
const isWhole = <T>(one: T | undefined): one is T => one !== undefined;
const failed = (error: unknown): undefined => {
  console.log(`FAILED ${error instanceof Error ? error.message : String(error)}`);
  return undefined;
};

const ended = await Promise.all(
  (values['only-mutants'] ? [] : chosen).map((fileSystem) =>
    turns.run(() => runPower({ ...amounts, ...states, fileSystem }, (line) => console.log(line)).catch(failed)),
  ),
);
const reports = ended.filter(isWhole);
for (const { faults, unmountable, ...rest } of reports) {
  console.log(JSON.stringify({ ...rest, faults: faults.length, unmountable: unmountable.length }));
  for (const line of unmountable.slice(0, 20)) console.log(`NOT MOUNTED ${line}`);
  for (const line of faults.slice(0, 20)) console.log(`FAULT ${line}`);
}
const mutants = await Promise.all(
  (values['no-mutants'] ? [] : MUTANTS.filter(({ name }) => name.includes(values.mutant))).map((mutant) =>
    turns.run(async () => {
      const fault = await runMutant(mutant, { ...amounts, fileSystem: mutant.fileSystem, lives: 8 });
      console.log(`${fault === undefined ? 'SURVIVED' : 'caught'} on ${mutant.fileSystem}: ${mutant.name}`);
      if (fault !== undefined) console.log(`  ${fault.split('\n').slice(0, 2).join(' ').slice(0, 300)}`);
      return { name: mutant.name, fileSystem: mutant.fileSystem, caught: fault !== undefined };
    }),
  ),
);
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ amounts, reports, mutants }, undefined, 2)}\n`);

const judged = reports.reduce((sum, one) => sum + Object.values(one.judged).reduce((a, b) => a + b, 0), 0);
const faults = reports.reduce((sum, one) => sum + one.faults.length, 0);
const survived = mutants.filter(({ caught }) => !caught).length;
const unmountable = reports.reduce((sum, one) => sum + one.unmountable.length, 0);
console.log(
  `${judged} crash states, ${faults} with a fault, ${unmountable} not mounted; ${mutants.length} mutants, ${survived} not caught`,
);
const wanted = values.states === undefined ? WANTED_STATES : 1;
const isEnough = values['only-mutants'] ? mutants.length > 0 : judged >= wanted;
process.exitCode = isEnough && ended.every(isWhole) && faults + unmountable === 0 && survived === 0 ? 0 : 1;
