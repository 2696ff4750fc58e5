/** What `npm run bench -- compare` calls worse. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type BenchResult, compareResults, figure, writeJson } from '../../bench/result.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const COMPARE = fileURLToPath(new URL('../../bench/compare.js', import.meta.url));
const MACHINE = { kernel: '6.18', cpu: 'one', cores: 2, memoryGiB: 8, node: 'v20', fileSystem: 'ext4' };

/** A run in which larder took `own` ms and the peer 100 on this day's machine. */
function resultOf(own: number, when = '2026-01-01T00:00:00Z', speed = 1, fileSystem = 'ext4'): BenchResult {
  return {
    bench: 'peers',
    when,
    machine: { ...MACHINE, fileSystem },
    figures: [
      figure('cold/image/larder', 'ms', [own * speed], { reference: 'cold/image/peer' }),
      figure('cold/image/peer', 'ms', [100 * speed]),
    ],
  };
}

describe('a comparison of two results', () => {
  test('a ratio that grew by more than a tenth is worse', () => {
    const [comparison] = compareResults(resultOf(22.1), resultOf(20));
    assert.deepEqual(comparison, {
      name: 'cold/image/larder',
      reference: 'cold/image/peer',
      now: 0.221,
      was: 0.2,
      worse: true,
    });
  });

  test('a ratio that grew by less than a tenth is not', () => {
    assert.equal(compareResults(resultOf(21.9), resultOf(20))[0]?.worse, false);
  });

  test('a machine of half the speed changes nothing', () => {
    assert.equal(compareResults(resultOf(20, '2026-01-02T00:00:00Z', 2), resultOf(20))[0]?.worse, false);
  });

  test('where more is better, less is worse', () => {
    const of = (rate: number): BenchResult => ({
      ...resultOf(1),
      figures: [
        figure('rate', 'MB/s', rate, { reference: 'floor', moreIsBetter: true }),
        figure('floor', 'MB/s', 100, { moreIsBetter: true }),
      ],
    });
    assert.equal(compareResults(of(80), of(100))[0]?.worse, true);
    assert.equal(compareResults(of(120), of(100))[0]?.worse, false);
  });

  test('a figure that only one of them has is left out', () => {
    assert.deepEqual(compareResults(resultOf(20), { ...resultOf(20), figures: [] }), []);
  });
});

describe('npm run bench -- compare', () => {
  let directory: string;
  beforeEach(() => {
    directory = makeDirectory();
  });
  afterEach(() => removeDirectory(directory));

  function put(name: string, result: BenchResult): string {
    const path = join(directory, name);
    writeJson(path, result);
    return path;
  }

  function compare(...args: readonly string[]) {
    return spawnSync(process.execPath, [COMPARE, ...args], { encoding: 'utf8' });
  }

  test('ends with status 1 and names the ratio when one is worse', () => {
    const { status, stdout } = compare(put('new.json', resultOf(30)), put('base.json', resultOf(20)));
    assert.equal(status, 1);
    assert.match(stdout, /^WORSE cold\/image\/larder : cold\/image\/peer = 0\.300, was 0\.200 \(\+50 %\)$/m);
  });

  test('ends with status 0 when none is', () => {
    const { status, stdout } = compare(put('new.json', resultOf(18)), put('base.json', resultOf(20)));
    assert.equal(status, 0);
    assert.match(stdout, /1 ratios compared, 0 worse/);
  });

  test('takes the newest recorded result of the same benchmark and file system', () => {
    mkdirSync(join(directory, 'results'));
    put('results/a.json', resultOf(10, '2026-01-01T00:00:00Z'));
    put('results/b.json', resultOf(20, '2026-01-02T00:00:00Z'));
    put('results/c.json', resultOf(10, '2026-01-03T00:00:00Z', 1, 'xfs'));
    writeFileSync(join(directory, 'results', 'other.json'), '{}');
    put('results/d.json', { ...resultOf(10, '2026-01-04T00:00:00Z'), bench: 'floor' });
    const { status, stdout } = compare(put('new.json', resultOf(20)), '--results', join(directory, 'results'));
    assert.equal(status, 0, stdout);
    assert.match(stdout, /against that of 2026-01-02/);
  });

  test('refuses a file that is no result', () => {
    const path = join(directory, 'other.json');
    writeFileSync(path, '{"bench":"peers"}');
    const { status, stderr } = compare(path, path);
    assert.notEqual(status, 0);
    assert.match(stderr, /no result of a benchmark/);
  });

  test('results without a common ratio are a failure, not a success', () => {
    const { status, stderr } = compare(
      put('new.json', resultOf(20)),
      put('base.json', { ...resultOf(20), figures: [] }),
    );
    assert.equal(status, 1);
    assert.match(stderr, /no ratio in common/);
  });
});
