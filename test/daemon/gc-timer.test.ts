import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { diskUsage, GcTimer } from '../../src/daemon/gc-timer.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

/** Timers of a test keep the process alive; those of a daemon do not. */
async function running(
  intervalMs: number,
  forMs: number,
  collect: () => Promise<number | undefined>,
): Promise<string[]> {
  const runs: string[] = [];
  const onRun = (result: string, bytes: number, error?: unknown): void => {
    runs.push(`${result} ${bytes} ${error instanceof Error ? error.message : ''}`.trim());
  };
  const timer = new GcTimer({ intervalMs, collect, onRun });
  timer.start();
  await sleep(forMs);
  await timer.stop();
  return runs;
}

test('it runs after each interval, the first time after one', async () => {
  const since = performance.now();
  const at: number[] = [];
  const runs = await running(40, 220, async () => {
    at.push(performance.now() - since);
    return 5;
  });
  assert.ok((at[0] ?? 0) >= 39, `first after ${at[0]} ms`);
  assert.ok(runs.length >= 2 && runs.length <= 5, String(runs.length));
  assert.equal(runs[0], 'collected 5');
});

test('runs never overlap, however long one takes', async () => {
  let [now, most] = [0, 0];
  await running(5, 150, async () => {
    now++;
    most = Math.max(most, now);
    await sleep(30);
    now--;
    return undefined;
  });
  assert.equal(most, 1);
});

test('a failure is told, and the next interval tries again', async () => {
  let calls = 0;
  const runs = await running(20, 150, async () => {
    calls++;
    if (calls === 1) throw new Error('no luck');
    return undefined;
  });
  assert.equal(runs[0], 'failed 0 no luck');
  assert.equal(runs[1], 'skipped 0');
});

test('a stop waits for a run that is under way, and nothing runs after it', async () => {
  let [ended, calls] = [false, 0];
  const timer = new GcTimer({
    intervalMs: 5,
    collect: async (signal) => {
      calls++;
      await sleep(60);
      ended = signal.aborted;
      return undefined;
    },
    onRun: () => {},
  });
  timer.start();
  await sleep(20);
  await timer.stop();
  assert.equal(ended, true);
  await sleep(40);
  assert.equal(calls, 1);
});

test('usage is the share of all blocks that are not free', async () => {
  const directory = makeDirectory();
  try {
    const { used, sizeBytes, freeBytes } = await diskUsage(directory);
    assert.ok(used > 0 && used < 1, String(used));
    assert.ok(Math.abs(used - (sizeBytes - freeBytes) / sizeBytes) < 1e-9);
  } finally {
    removeDirectory(directory);
  }
  await assert.rejects(diskUsage('/nowhere/at/all'), { code: 'LARDER_INTERNAL' });
});
