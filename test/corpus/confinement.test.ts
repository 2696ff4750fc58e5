/** The second line of what writes files by name: with larder's own checks switched off, nothing outside changes. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';
import { buildNaive } from './naive-build.js';
import type { NaiveOutcome } from './naive-child.js';

const run = promisify(execFile);

async function outcomes(confined: boolean, ...backends: readonly string[]): Promise<readonly NaiveOutcome[]> {
  const directory = makeDirectory();
  try {
    const dist = buildNaive(join(directory, 'naive'), { confined });
    const canary = join(directory, 'canary');
    mkdirSync(canary);
    // Overlay directories are synced, which takes as long as the disk is busy.
    await run('mount', ['-t', 'tmpfs', 'tmpfs', canary]);
    const { stdout } = await run(process.execPath, [
      join(dist, 'test', 'corpus', 'naive-child.js'),
      canary,
      ...backends,
    ]);
    return stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as NaiveOutcome);
  } finally {
    removeDirectory(directory);
  }
}

const escaped = (all: readonly NaiveOutcome[]) =>
  all.filter(({ changes }) => changes.length > 0).map(({ id, backend, changes }) => [id, backend, ...changes]);

describe('copy and overlay without our own checks of names', { skip: needsRoot }, () => {
  test('change nothing outside, whatever the image says', async () => {
    const all = await outcomes(true, 'copy', 'overlay');
    assert.deepEqual(escaped(all), []);
    for (const backend of ['copy', 'overlay']) {
      const mine = all.filter((one) => one.backend === backend);
      assert.ok(mine.length >= 118, `${backend}: ${mine.length} cases`);
      assert.ok(mine.filter(({ outcome }) => outcome === 'ok').length > 30, `${backend}: images are written`);
    }
  });

  test('and without the kernel’s either they do: the corpus has teeth', async () => {
    const ids = new Set(escaped(await outcomes(false, 'copy')).map(([id]) => id));
    for (const id of ['T01', 'T03', 'T07', 'T08', 'T18', 'T19', 'T30']) assert.ok(ids.has(id), `${id} escapes`);
  });
});
