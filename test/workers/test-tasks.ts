/** The tasks that the pool's tests run in threads. */
import { setTimeout as sleep } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import { LarderError } from '../../src/errors.js';
import { serve } from '../../src/workers/serve.js';

serve({
  echo: async (data) => data,
  thread: async () => threadId,
  sleep: async (data, context) => sleep(Number(data), 'slept', { signal: context.signal }),
  fail: async () => {
    throw new LarderError('LARDER_NO_SPACE', 'test: disk: full', {
      hint: 'free some',
      details: { errno: 'ENOSPC' },
      cause: new Error('the trail'),
    });
  },
  exit: async () => process.exit(3),
  throwLater: async () => {
    setImmediate(() => {
      throw new Error('nobody catches this');
    });
    await sleep(60_000);
  },
  allocate: async () => {
    const kept: unknown[] = [];
    for (;;) kept.push(new Array(100_000).fill(kept.length));
  },
  spin: async () => {
    for (;;);
  },
  deaf: async () => sleep(60_000),
  count: async (data, context) => {
    for (let i = 0; i < Number(data); i++) context.send(i);
    return 'counted';
  },
  ask: async (data, context) => {
    const answers: unknown[] = [];
    for (const question of data as readonly unknown[]) answers.push(await context.ask(question));
    return answers;
  },
  abortReason: async (_data, context) => {
    await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
    return 'cleaned up';
  },
  askForever: async (_data, context) => context.ask('never answered'),
  length: async (data) => (data as Uint8Array).byteLength,
  uncloneable: async () => () => {},
});
