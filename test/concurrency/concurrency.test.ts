import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyedMutex, Semaphore, type SharedWork, SingleFlight, settleOrAbort } from '../../src/concurrency.js';
import type { LarderEvent } from '../../src/events.js';

const deferred = <T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: Error) => void } => {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((a, b) => {
    resolve = a;
    reject = b;
  });
  return { promise, resolve, reject };
};

/** AbortSignal.timeout would not keep the process alive until it fires. */
const cancelledAfter = (ms: number): AbortSignal => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), ms);
  return controller.signal;
};

test('a semaphore never lets more in than it has slots', async () => {
  const semaphore = new Semaphore(3);
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    most = Math.max(most, ++inside);
    await sleep(2);
    inside--;
  };
  await Promise.all(Array.from({ length: 20 }, () => semaphore.run(work)));
  assert.equal(most, 3);
});

test('a semaphore grants in the order of asking, and a slot released twice counts once', async () => {
  const semaphore = new Semaphore(1);
  const first = await semaphore.acquire();
  const order: number[] = [];
  const waiters = [1, 2, 3].map((n) => semaphore.acquire().then((release) => [order.push(n), release] as const));
  first();
  first();
  await sleep(1);
  assert.deepEqual(order, [1]);
  for (const waiter of waiters) (await waiter)[1]();
  assert.deepEqual(order, [1, 2, 3]);
});

test('a waiter of a semaphore that cancels leaves the queue and takes no slot', async () => {
  const semaphore = new Semaphore(1);
  const held = await semaphore.acquire();
  const controller = new AbortController();
  const cancelled = semaphore.acquire(controller.signal);
  const patient = semaphore.acquire();
  controller.abort();
  await assert.rejects(cancelled, { code: 'LARDER_ABORTED' });
  assert.equal(semaphore.waiting, 1);
  held();
  (await patient)();
  await assert.rejects(semaphore.acquire(controller.signal), { code: 'LARDER_ABORTED' });
});

test('work that throws gives its slot back', async () => {
  const semaphore = new Semaphore(1);
  await assert.rejects(
    semaphore.run(() => Promise.reject(new Error('no'))),
    /no/,
  );
  assert.equal(await semaphore.run(async () => 'yes'), 'yes');
});

test('a keyed mutex serialises one key, not two, and forgets keys that nobody holds', async () => {
  const mutex = new KeyedMutex<string>();
  const a = await mutex.acquire('a');
  let second = false;
  const waiting = mutex.run('a', async () => {
    second = true;
  });
  await mutex.run('b', async () => {});
  assert.equal(second, false);
  a();
  await waiting;
  assert.equal(mutex.size, 0);
  a();
  assert.equal(mutex.size, 0);
});

test('a keyed mutex forgets a waiter that cancelled', async () => {
  const mutex = new KeyedMutex<string>();
  const held = await mutex.acquire('a');
  await assert.rejects(mutex.acquire('a', cancelledAfter(5)), { code: 'LARDER_ABORTED' });
  held();
  assert.equal(mutex.size, 0);
});

test('concurrent callers of one key share one run and its result; a later one runs again', async () => {
  const flights = new SingleFlight<string, number>();
  let runs = 0;
  const work = async (): Promise<number> => {
    await sleep(5);
    return ++runs;
  };
  assert.deepEqual(
    await Promise.all([flights.run('k', work), flights.run('k', work), flights.run('other', work)]),
    [1, 1, 2],
  );
  assert.equal(await flights.run('k', work), 3);
  assert.equal(flights.has('k'), false);
});

test('every waiter of a failed run gets its error, and the next caller tries again', async () => {
  const flights = new SingleFlight<string, string>();
  const outcome = deferred<string>();
  const waiters = [flights.run('k', () => outcome.promise), flights.run('k', () => outcome.promise)];
  outcome.reject(new Error('broken'));
  for (const result of await Promise.allSettled(waiters)) assert.equal(result.status, 'rejected');
  assert.equal(await flights.run('k', async () => 'fine'), 'fine');
});

test('a waiter that cancels settles at once and leaves the run to the others', async () => {
  const flights = new SingleFlight<string, string>();
  const outcome = deferred<string>();
  const seen = deferred<SharedWork>();
  const work = (shared: SharedWork): Promise<string> => {
    seen.resolve(shared);
    return outcome.promise;
  };
  const controller = new AbortController();
  const leaving = flights.run('k', work, { signal: controller.signal });
  const staying = flights.run('k', work);
  const { signal } = await seen.promise;
  controller.abort();
  await assert.rejects(leaving, { code: 'LARDER_ABORTED' });
  assert.equal(signal.aborted, false);
  outcome.resolve('done');
  assert.equal(await staying, 'done');
  assert.equal(signal.aborted, false);
});

test('the last waiter that cancels cancels the run, and settles even if the run never ends', async () => {
  const flights = new SingleFlight<string, string>();
  const seen: AbortSignal[] = [];
  const never = (shared: SharedWork): Promise<string> => {
    seen.push(shared.signal);
    return new Promise(() => {});
  };
  const [a, b] = [new AbortController(), new AbortController()];
  const waiters = [flights.run('k', never, { signal: a.signal }), flights.run('k', never, { signal: b.signal })];
  const settled = Promise.allSettled(waiters);
  await sleep(1);
  a.abort();
  b.abort();
  for (const result of await settled) assert.equal(result.status, 'rejected');
  assert.equal(seen.length, 1);
  assert.equal(seen[0]?.aborted, true);
  assert.equal(await flights.run('k', async () => 'new run'), 'new run');
});

test('a run that fails after all have cancelled is not an unhandled rejection', async () => {
  const flights = new SingleFlight<string, string>();
  const outcome = deferred<string>();
  await assert.rejects(
    flights.run('k', () => outcome.promise, { signal: cancelledAfter(5) }),
    { code: 'LARDER_ABORTED' },
  );
  outcome.reject(new Error('too late'));
  await sleep(5);
});

test('a run that ends after it was given up does not end its successor', async () => {
  const flights = new SingleFlight<string, string>();
  const [first, second] = [deferred<string>(), deferred<string>()];
  await assert.rejects(
    flights.run('k', () => first.promise, { signal: cancelledAfter(5) }),
    { code: 'LARDER_ABORTED' },
  );
  const next = flights.run('k', () => second.promise);
  first.resolve('old');
  await sleep(1);
  assert.equal(flights.has('k'), true);
  second.resolve('new');
  assert.equal(await next, 'new');
});

test('events of the run reach every waiter, the first one included', async () => {
  const flights = new SingleFlight<string, void>();
  const heard: Record<string, LarderEvent[]> = { a: [], b: [] };
  const work = async ({ onEvent }: SharedWork): Promise<void> => {
    onEvent({ type: 'warning', message: 'first' });
    await sleep(2);
    onEvent({ type: 'warning', message: 'second' });
  };
  await Promise.all(['a', 'b'].map((who) => flights.run('k', work, { onEvent: (event) => heard[who]?.push(event) })));
  assert.deepEqual(
    heard['a']?.map((event) => event.type),
    ['warning', 'warning'],
  );
  assert.deepEqual(heard['b'], heard['a']);
});

test('that many wait with one signal is no leak of which Node would warn', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  const semaphore = new Semaphore(1);
  const stop = new AbortController();
  const release = await semaphore.acquire();
  const waiting = Array.from({ length: 20 }, () => assert.rejects(semaphore.acquire(stop.signal)));
  await sleep(1);
  stop.abort();
  await Promise.all(waiting);
  release();
  process.off('warning', onWarning);
  assert.deepEqual(warnings, []);
});

test('work that fails after it was given up, or was never waited for, fails unseen', async () => {
  const fails = async (): Promise<never> => {
    await sleep(1);
    throw new Error('unseen');
  };
  await assert.rejects(settleOrAbort(fails(), 'test', AbortSignal.abort()), { code: 'LARDER_ABORTED' });
  const stop = new AbortController();
  const waiting = settleOrAbort(fails(), 'test', stop.signal);
  stop.abort();
  await assert.rejects(waiting, { code: 'LARDER_ABORTED' });
  // A rejection that nobody handles would end this process.
  await sleep(20);
});
