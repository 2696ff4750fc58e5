import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkerPool } from '../../src/workers/pool.js';

it('gives no run to a thread that is being ended because it was idle', async () => {
  await using pool = new WorkerPool({
    entry: new URL('../workers/test-tasks.js', import.meta.url),
    size: 1,
    maxIdleMs: 10,
  });
  for (let i = 0; i < 80; i++) {
    assert.equal(await pool.run('echo', i), i);
    // Around the moment at which the thread is given up.
    await sleep(8 + (i % 8));
  }
});
