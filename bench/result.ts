/**
 * The one JSON shape of every benchmark, so that `npm run bench -- compare` can read any of them:
 *
 *     await writeResult({ bench: 'files', work, figures: [
 *       figure('copy/node-like', 'ms', times, { reference: 'tar/node-like' }),
 *       figure('tar/node-like', 'ms', tarTimes),
 *     ] });
 *
 * A figure that names a reference, a figure of the same run, is compared between runs by its ratio to it: machines and
 * their moods differ, ratios of one run hardly do. What a benchmark knows besides goes into fields of its own.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CHECKOUT } from '../test/checkout.js';
import { describeMachine, type Machine } from './machine.js';
import { summarize } from './statistics.js';

export interface Figure {
  /** What was measured, of what, with what: `cold/node-like:latest/larder`. Unique in its result. */
  readonly name: string;
  /** `ms`, `s`, `bytes`, `B/entry`, `MB/s`, … */
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly n: number;
  /** Names of figures of the same result that this one is set against. */
  readonly references?: readonly string[];
  /** More is better, as of a throughput. */
  readonly moreIsBetter?: boolean;
}

export interface BenchResult {
  /** `peers`, `floor`, …: results of one name can be compared. */
  readonly bench: string;
  /** ISO 8601. */
  readonly when: string;
  readonly machine: Machine;
  readonly figures: readonly Figure[];
}

export interface FigureOptions {
  readonly reference?: string | readonly string[];
  readonly moreIsBetter?: boolean;
}

/** Median, least and most of one or several values. */
export function figure(
  name: string,
  unit: string,
  values: number | readonly number[],
  { reference, moreIsBetter }: FigureOptions = {},
): Figure {
  const { median, min, max, n } = summarize(typeof values === 'number' ? [values] : values);
  return {
    ...{ name, unit, median, min, max, n },
    ...(reference === undefined ? {} : { references: typeof reference === 'string' ? [reference] : reference }),
    ...(moreIsBetter === undefined ? {} : { moreIsBetter }),
  };
}

/** Writes bench/out/BENCH-WHEN.json (or into `out`) and answers its path; other fields than these are kept as they are. */
export function writeResult({
  out = join(CHECKOUT, 'bench', 'out'),
  work,
  ...result
}: Omit<BenchResult, 'when' | 'machine'> & {
  readonly out?: string;
  /** Where it was measured: tells the file system. */
  readonly work: string;
  readonly when?: string;
}): string {
  const when = result.when ?? new Date().toISOString();
  const path = join(out, `${result.bench}-${when.replace(/[:.]/g, '-')}.json`);
  writeJson(path, { ...result, when, machine: describeMachine(work) });
  return path;
}

export function writeJson(path: string, result: BenchResult): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(result, null, 1)}\n`);
}

/** @throws Error when the file is no result of a benchmark. */
export function readResult(path: string): BenchResult {
  const result: unknown = JSON.parse(readFileSync(path, 'utf8'));
  if (!isResult(result))
    throw new Error(`${path}: no result of a benchmark: bench, when, machine or figures is missing`);
  return result;
}

export interface Recorded {
  readonly path: string;
  readonly result: BenchResult;
}

/** Every result in a folder, by name; says of other JSON files that it leaves them out. */
export function listResults(folder: string): Recorded[] {
  const paths = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => join(folder, name));
  return paths.flatMap((path) => {
    const result: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (isResult(result)) return [{ path, result }];
    process.stderr.write(`${path}: no result of a benchmark, left out\n`);
    return [];
  });
}

export interface Comparison {
  readonly name: string;
  readonly reference: string;
  /** The figure as a multiple of its reference, in either result. */
  readonly now: number;
  readonly was: number;
  /** By more than {@link TOLERANCE}. */
  readonly worse: boolean;
}

/** How much worse a ratio may be than the recorded one. */
export const TOLERANCE = 0.1;

/** Every ratio that both results have, in the order of the new one. */
export function compareResults(fresh: BenchResult, base: BenchResult): Comparison[] {
  const [ours, theirs] = [ratiosOf(fresh), ratiosOf(base)];
  return [...ours].flatMap(([key, { name, reference, ratio: now, moreIsBetter }]) => {
    const was = theirs.get(key)?.ratio;
    if (was === undefined) return [];
    const loss = moreIsBetter ? was / now : now / was;
    return [{ name, reference, now, was, worse: loss > 1 + TOLERANCE }];
  });
}

interface Ratio {
  readonly name: string;
  readonly reference: string;
  readonly ratio: number;
  readonly moreIsBetter: boolean;
}

function ratiosOf({ figures }: BenchResult): Map<string, Ratio> {
  const medians = new Map(figures.map(({ name, median }) => [name, median]));
  const ratios = figures.flatMap(({ name, median, references = [], moreIsBetter = false }) =>
    references.flatMap((reference) => {
      const ratio = median / (medians.get(reference) ?? Number.NaN);
      return Number.isFinite(ratio) && ratio > 0 ? [{ name, reference, ratio, moreIsBetter }] : [];
    }),
  );
  return new Map(ratios.map((ratio) => [`${ratio.name} : ${ratio.reference}`, ratio]));
}

function isResult(value: unknown): value is BenchResult {
  return (
    isObject(value) &&
    typeof value['bench'] === 'string' &&
    typeof value['when'] === 'string' &&
    isObject(value['machine']) &&
    Array.isArray(value['figures']) &&
    value['figures'].every(isFigure)
  );
}

/** JSON has no NaN: a figure without values is one with `null`. */
function isFigure(value: unknown): value is Figure {
  const isNumber = (number: unknown) => typeof number === 'number' || number === null;
  return (
    isObject(value) &&
    typeof value['name'] === 'string' &&
    typeof value['unit'] === 'string' &&
    isNumber(value['median']) &&
    isNumber(value['min']) &&
    isNumber(value['max'])
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
