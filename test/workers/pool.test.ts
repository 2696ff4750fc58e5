import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isLarderError, LarderError } from '../../src/errors.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { WorkerPool, type WorkerPoolOptions } from '../../src/workers/pool.js';

const entry = new URL('./test-tasks.js', import.meta.url);
const pools: WorkerPool[] = [];

function poolOf(options: Partial<WorkerPoolOptions> = {}): WorkerPool {
  const pool = new WorkerPool({ entry, size: 2, ...options });
  pools.push(pool);
  return pool;
}

describe('WorkerPool', () => {
  after(async () => {
    for (const pool of pools) await pool.close();
  });

  it('gives back what the task returned', async () => {
    const data = { a: 1, bytes: new Uint8Array([1, 2, 3]) };
    assert.deepEqual(await poolOf().run('echo', data), data);
  });

  it('carries an error of the task across with code, hint, details and cause', async () => {
    const error = await poolOf()
      .run('fail', undefined)
      .catch((e: unknown) => e);
    assert.ok(isLarderError(error, 'LARDER_NO_SPACE'));
    assert.equal(error.hint, 'free some');
    assert.equal(error.details['errno'], 'ENOSPC');
    assert.match(String((error.cause as Error).message), /the trail/);
  });

  it('rejects a task that nobody serves', async () => {
    await assert.rejects(poolOf().run('nonsense', 1), /nonsense: no such task/);
    await assert.rejects(poolOf().run('toString', 1), /toString: no such task/);
  });

  for (const [death, how] of [
    ['exit', /status 3/],
    ['throwLater', /nobody catches this/],
  ] as const) {
    it(`rejects the task of a thread that dies (${death}) and replaces the thread`, async () => {
      const pool = poolOf({ size: 1 });
      const error = await pool.run(death, undefined).catch((e: unknown) => e);
      assert.ok(isLarderError(error, 'LARDER_WORKER_LOST'), String(error));
      assert.match(error.message, how);
      assert.equal(await pool.run('echo', 'still here'), 'still here');
    });
  }

  it('rejects the task of a thread that runs out of memory and goes on', async () => {
    const pool = poolOf({ size: 1, resourceLimits: { maxOldGenerationSizeMb: 32 } });
    await assert.rejects(pool.run('allocate', undefined), { code: 'LARDER_WORKER_LOST' });
    assert.equal(await pool.run('echo', 1), 1);
  });

  it('lets an aborted task clean up and return', async () => {
    const controller = new AbortController();
    const run = poolOf().run('abortReason', undefined, { signal: controller.signal });
    await sleep(50);
    controller.abort();
    assert.equal(await run, 'cleaned up');
  });

  for (const task of ['spin', 'deaf']) {
    it(`ends the thread of an aborted task that does not react (${task})`, async () => {
      const pool = poolOf({ size: 1, abortGraceMs: 100 });
      const controller = new AbortController();
      const run = pool.run(task, undefined, { signal: controller.signal });
      setTimeout(() => controller.abort(), 100);
      const started = performance.now();
      await assert.rejects(run, { code: 'LARDER_ABORTED' });
      assert.ok(performance.now() - started < 2000);
      assert.equal(await pool.run('echo', 'next'), 'next');
    });
  }

  it('aborts a task that still waits for a thread at once', async () => {
    const pool = poolOf({ size: 1 });
    let slept = false;
    const first = pool.run('sleep', 300).then((result) => {
      slept = true;
      return result;
    });
    const controller = new AbortController();
    const second = pool.run('echo', 2, { signal: controller.signal });
    controller.abort();
    await assert.rejects(second, { code: 'LARDER_ABORTED' });
    assert.equal(slept, false);
    assert.equal(await first, 'slept');
  });

  it('does not start a task whose signal is already aborted', async () => {
    await assert.rejects(poolOf().run('echo', 1, { signal: AbortSignal.abort() }), { code: 'LARDER_ABORTED' });
  });

  it('delivers every message of a task, in order, before it settles', async () => {
    const seen: unknown[] = [];
    assert.equal(await poolOf().run('count', 500, { onMessage: (message) => seen.push(message) }), 'counted');
    assert.deepEqual(
      seen,
      Array.from({ length: 500 }, (_, i) => i),
    );
  });

  it('answers what the task asks', async () => {
    const answers = await poolOf().run('ask', [1, 2, 3], { onAsk: async (question) => Number(question) * 10 });
    assert.deepEqual(answers, [10, 20, 30]);
  });

  it('lets a refused question reject in the task with the same error', async () => {
    const onAsk = () => Promise.reject(new LarderError('LARDER_REGISTRY_DENIED', 'registry: x: no'));
    await assert.rejects(poolOf().run('ask', ['?'], { onAsk }), { code: 'LARDER_REGISTRY_DENIED' });
  });

  it('refuses questions that nobody answers, and answers that cannot be sent', async () => {
    await assert.rejects(poolOf().run('ask', ['?']), /nobody answers/);
    await assert.rejects(poolOf().run('ask', ['?'], { onAsk: async () => () => {} }), { code: 'LARDER_INTERNAL' });
  });

  it('rejects a question that is open when the run is aborted', async () => {
    const controller = new AbortController();
    const onAsk = () => {
      controller.abort();
      return new Promise(() => {});
    };
    await assert.rejects(poolOf().run('askForever', undefined, { signal: controller.signal, onAsk }), {
      code: 'LARDER_ABORTED',
    });
  });

  it('moves a transferred buffer instead of copying it', async () => {
    const bytes = new Uint8Array(1 << 20);
    assert.equal(await poolOf().run('length', bytes, { transfer: [bytes.buffer] }), 1 << 20);
    assert.equal(bytes.byteLength, 0);
  });

  it('rejects a result or an input that cannot be sent, and goes on', async () => {
    const pool = poolOf({ size: 1 });
    await assert.rejects(pool.run('uncloneable', 1), { code: 'LARDER_INTERNAL' });
    await assert.rejects(
      pool.run('echo', () => {}),
      { code: 'LARDER_INTERNAL' },
    );
    assert.equal(await pool.run('echo', 1), 1);
  });

  it('settles a thousand tasks on two threads', async () => {
    const pool = poolOf();
    const results = await Promise.all(Array.from({ length: 1000 }, (_, i) => pool.run('echo', i)));
    assert.deepEqual(
      results,
      Array.from({ length: 1000 }, (_, i) => i),
    );
    const threads = new Set(await Promise.all(Array.from({ length: 20 }, () => pool.run('thread', 0))));
    assert.ok(threads.size <= 2);
  });

  it('starts threads ahead of work, and lets them prepare', async () => {
    const pool = poolOf({ size: 2 });
    pool.warm(5, 'thread');
    const pair = () => Promise.all([pool.run('thread', 0), pool.run('thread', 0)]);
    // One may be ready before the other, and then does both.
    await until(async () => new Set(await pair()).size === 2, 'both threads are ready');
    pool.warm(2, 'fail');
    assert.equal(await pool.run('echo', 1), 1);
  });

  it('ends an idle thread and starts another when there is work again', async () => {
    const pool = poolOf({ size: 1, maxIdleMs: 20 });
    const first = await pool.run('thread', 0);
    await sleep(300);
    assert.notEqual(await pool.run('thread', 0), first);
  });

  it('rejects what runs and what waits when it is closed, and everything afterwards', async () => {
    const pool = poolOf({ size: 1, abortGraceMs: 100 });
    const runs = [pool.run('deaf', 0), pool.run('echo', 0)];
    const settled = Promise.allSettled(runs);
    await pool.close();
    for (const result of await settled) {
      assert.ok(result.status === 'rejected' && isLarderError(result.reason, 'LARDER_WORKER_LOST'));
    }
    await assert.rejects(pool.run('echo', 0), { code: 'LARDER_WORKER_LOST' });
    await pool.close();
  });

  it('lets the process end by itself while threads idle, and keeps it alive while a task runs', async () => {
    const script = `
      import { WorkerPool } from ${JSON.stringify(new URL('../../src/workers/pool.js', import.meta.url).href)};
      const pool = new WorkerPool({ entry: new URL(${JSON.stringify(entry.href)}), size: 2, maxIdleMs: 600_000 });
      pool.warm(2);
      process.stdout.write(String(await pool.run('sleep', 200)));`;
    const started = performance.now();
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    assert.equal(stdout, 'slept');
    assert.ok(performance.now() - started < 10_000);
  });
});
