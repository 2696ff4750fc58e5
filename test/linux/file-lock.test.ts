import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { lockFile, tryLockFile } from '../../src/linux/file-lock.js';
import { commandFlock, flock, koffiFlock } from '../../src/linux/flock.js';
import { StoreLock } from '../../src/linux/store-lock.js';

const root = mkdtempSync(join(tmpdir(), 'larder-lock-'));
const children: ChildProcess[] = [];
let files = 0;
const newPath = (): string => join(root, `lock-${files++}`);

after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(root, { recursive: true });
});

/** A process that has what it was asked for. */
async function holder(...args: readonly string[]): Promise<ChildProcess> {
  const script = join(import.meta.dirname, 'file-lock-child.js');
  const child = spawn(process.execPath, [script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  assert.ok(child.stdout);
  await once(child.stdout, 'data');
  return child;
}

test('another process that holds the lock exclusively keeps it', async () => {
  const path = newPath();
  const child = await holder('exclusive', path);
  assert.equal(tryLockFile(path, 'exclusive'), undefined);
  assert.equal(tryLockFile(path, 'shared'), undefined);
  child.stdin?.write('go');
  await once(child, 'exit');
  tryLockFile(path, 'exclusive')?.release();
});

test('two processes share a shared lock, and it excludes the exclusive one', async () => {
  const path = newPath();
  await holder('shared', path);
  const ours = tryLockFile(path, 'shared');
  assert.ok(ours);
  ours.release();
  assert.equal(tryLockFile(path, 'exclusive'), undefined);
});

test('killing the holder with SIGKILL frees the lock at once', async () => {
  const path = newPath();
  const child = await holder('exclusive', path);
  let waited = 0;
  const waiting = lockFile(path, 'exclusive', { onWait: () => waited++ });
  await sleep(30);
  const killed = performance.now();
  child.kill('SIGKILL');
  const lock = await waiting;
  assert.ok(performance.now() - killed < 10_000);
  assert.equal(waited, 1);
  lock.release();
});

test('two holders in one process exclude each other, and release is idempotent', async () => {
  const path = newPath();
  const first = await lockFile(path, 'exclusive');
  assert.equal(tryLockFile(path, 'exclusive'), undefined);
  first.release();
  const second = tryLockFile(path, 'exclusive');
  assert.ok(second);
  first.release();
  assert.equal(tryLockFile(path, 'exclusive'), undefined, 'releasing the first again does not free the second');
  second.release();
});

test('a lock that a worker thread holds goes when the thread is terminated', async () => {
  const path = newPath();
  const worker = new Worker(
    `import(${JSON.stringify(import.meta.resolve('../../src/linux/file-lock.js'))}).then(async ({ lockFile }) => {
      globalThis.kept = await lockFile(${JSON.stringify(path)}, 'exclusive');
      require('node:worker_threads').parentPort.postMessage('locked');
      setInterval(() => {}, 1000);
    })`,
    { eval: true },
  );
  await once(worker, 'message');
  assert.equal(tryLockFile(path, 'exclusive'), undefined);
  await worker.terminate();
  const lock = tryLockFile(path, 'exclusive');
  assert.ok(lock);
  lock.release();
});

test('a program started while the lock is held does not inherit it', async () => {
  const path = newPath();
  const lock = await lockFile(path, 'exclusive');
  const child = spawn('sleep', ['5'], { stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  lock.release();
  const again = tryLockFile(path, 'exclusive');
  assert.ok(again);
  again.release();
});

test('who waits for a lock file that its holder unlinks gets the lock of its successor', async () => {
  const path = newPath();
  const first = await lockFile(path, 'exclusive');
  const waiting = lockFile(path, 'exclusive');
  await sleep(20);
  first.release({ unlink: true });
  const second = await waiting;
  assert.ok(existsSync(path));
  assert.equal(tryLockFile(path, 'exclusive'), undefined);
  second.release();
});

test('a lock on an unlinked file is not taken for the lock of the path', async () => {
  const path = newPath();
  const stale = await lockFile(path, 'exclusive');
  rmSync(path);
  const fresh = tryLockFile(path, 'exclusive');
  assert.ok(fresh);
  stale.release();
  assert.equal(tryLockFile(path, 'shared'), undefined);
  fresh.release();
});

test('a waiter whose signal fires gives up, and leaves the lock to others', async () => {
  const path = newPath();
  const held = await lockFile(path, 'exclusive');
  const controller = new AbortController();
  const waiting = lockFile(path, 'exclusive', { signal: controller.signal });
  await sleep(10);
  controller.abort();
  await assert.rejects(waiting, { code: 'LARDER_ABORTED' });
  held.release();
  const next = tryLockFile(path, 'exclusive');
  assert.ok(next);
  next.release();
});

test('a missing lock file is not created when that is not wanted', () => {
  const path = newPath();
  assert.equal(tryLockFile(path, 'shared', { create: false }), undefined);
  assert.equal(existsSync(path), false);
});

test('a lock file in a directory that does not exist is an error that names it', async () => {
  const path = join(root, 'no-such-directory', 'lock');
  await assert.rejects(lockFile(path, 'exclusive'), (error: Error) => error.message.includes(path));
});

test('a symlink in the place of a lock file is refused', async () => {
  const { symlinkSync } = await import('node:fs');
  const path = newPath();
  symlinkSync(newPath(), path);
  await assert.rejects(lockFile(path, 'exclusive'), /ELOOP/);
});

test('locks taken by koffi and by the flock command exclude each other both ways', () => {
  const byKoffi = koffiFlock();
  assert.ok(byKoffi, 'koffi loads here');
  const byCommand = commandFlock();
  for (const [first, second] of [
    [byKoffi, byCommand],
    [byCommand, byKoffi],
  ] as const) {
    const path = newPath();
    const a = openSync(path, 'w+');
    const b = openSync(path, 'r+');
    assert.equal(first(a, 'exclusive'), true);
    assert.equal(second(b, 'exclusive'), false);
    assert.equal(second(b, 'shared'), false);
    closeSync(a);
    assert.equal(second(b, 'shared'), true);
    closeSync(b);
  }
});

test('without koffi and without the flock command the error says what to install', () => {
  const fd = openSync(newPath(), 'w+');
  const none = commandFlock('/no/such/flock');
  assert.throws(() => none(fd, 'exclusive'), { code: 'LARDER_BACKEND_UNAVAILABLE' });
  closeSync(fd);
});

test('a file that is not open is an error, not a lock', () => {
  assert.throws(() => flock(9999, 'exclusive'), { code: 'LARDER_BACKEND_UNAVAILABLE' });
});

test('a writer gets the store lock while readers of three processes come and go without a gap', async () => {
  const [lock, gate] = [newPath(), newPath()];
  const readers = await Promise.all([0, 1, 2].map(() => holder('store-shared', lock, gate)));
  const store = new StoreLock({ lock, gate });
  const waits: number[] = [];
  for (let i = 0; i < 20; i++) {
    const since = performance.now();
    const held = await store.exclusive();
    waits.push(performance.now() - since);
    held.release();
    await sleep(5);
  }
  for (const reader of readers) reader.kill('SIGKILL');
  assert.ok(Math.max(...waits) < 1500, `longest wait ${Math.max(...waits).toFixed(0)} ms`);
});

test('a reader gets the store lock while writers of two processes come and go without a gap', async () => {
  const [lock, gate] = [newPath(), newPath()];
  const writers = await Promise.all([0, 1].map(() => holder('store-exclusive', lock, gate)));
  const store = new StoreLock({ lock, gate });
  const waits: number[] = [];
  for (let i = 0; i < 20; i++) {
    const since = performance.now();
    const held = await store.shared();
    waits.push(performance.now() - since);
    held.release();
    await sleep(5);
  }
  for (const writer of writers) writer.kill('SIGKILL');
  assert.ok(Math.max(...waits) < 3000, `longest wait ${Math.max(...waits).toFixed(0)} ms`);
});

test('the store lock lets readers in together and a writer alone', async () => {
  const store = new StoreLock({ lock: newPath(), gate: newPath() });
  const readers = await Promise.all([store.shared(), store.shared()]);
  let writing = false;
  const writer = store.exclusive().then((held) => {
    writing = true;
    return held;
  });
  await sleep(50);
  assert.equal(writing, false);
  for (const reader of readers) reader.release();
  const held = await writer;
  const controller = new AbortController();
  const late = store.shared({ signal: controller.signal });
  await sleep(30);
  controller.abort();
  await assert.rejects(late, { code: 'LARDER_ABORTED' });
  held.release();
  held.release();
  (await store.shared()).release();
});

test('a writer that gives up while readers are inside opens the gate again', async () => {
  const store = new StoreLock({ lock: newPath(), gate: newPath() });
  const reader = await store.shared();
  await assert.rejects(store.exclusive({ signal: AbortSignal.timeout(40) }), { code: 'LARDER_ABORTED' });
  const second = await store.shared({ signal: AbortSignal.timeout(1000) });
  second.release();
  reader.release();
});
