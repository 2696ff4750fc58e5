/**
 * `npm run bench -- compare NEW.json [BASE.json]`: every ratio of a figure to its references, in both results; ends
 * with status 1 when one got worse by more than 10 %. Without BASE: the newest result of the same benchmark in
 * bench/results/, of the same file system where there is one.
 */
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CHECKOUT } from '../test/checkout.js';
import { type BenchResult, type Comparison, compareResults, listResults, readResult } from './result.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { results: { type: 'string', default: join(CHECKOUT, 'bench', 'results') } },
});
const [newPath, basePath] = positionals;
if (newPath === undefined) throw new Error('compare: NEW.json is missing');
const fresh = readResult(newPath);
const base = basePath === undefined ? newestOf(fresh, resolve(newPath)) : readResult(basePath);
process.stdout.write(`${fresh.bench} of ${fresh.when}, against that of ${base.when}\n\n`);
if (fresh.machine.fileSystem !== base.machine.fileSystem)
  process.stdout.write(`Mind: ${fresh.machine.fileSystem} now, ${base.machine.fileSystem} then.\n\n`);
const comparisons = compareResults(fresh, base);
for (const comparison of comparisons) process.stdout.write(`${lineOf(comparison)}\n`);
const worse = comparisons.filter((comparison) => comparison.worse);
process.stdout.write(`\n${comparisons.length} ratios compared, ${worse.length} worse by more than 10 %\n`);
if (comparisons.length === 0) process.stderr.write('compare: the results have no ratio in common\n');
process.exitCode = worse.length > 0 || comparisons.length === 0 ? 1 : 0;

function newestOf({ bench, machine }: BenchResult, except: string): BenchResult {
  const found = listResults(values.results)
    .filter(({ path, result }) => resolve(path) !== except && result.bench === bench)
    .map(({ result }) => result)
    .sort((a, b) => a.when.localeCompare(b.when));
  const newest = found.findLast((result) => result.machine.fileSystem === machine.fileSystem) ?? found.at(-1);
  if (newest === undefined) throw new Error(`compare: ${values.results} has no result of ${bench}`);
  return newest;
}

function lineOf({ name, reference, now, was, worse }: Comparison): string {
  const change = ((now / was - 1) * 100).toFixed(0);
  return `${worse ? 'WORSE ' : '      '}${name} : ${reference} = ${now.toFixed(3)}, was ${was.toFixed(3)} (${now < was ? '' : '+'}${change} %)`;
}
