/** Threads share root and working directory with the thread that started them: Node's pool must not be such a one's. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

/** CommonJS, since loading ES modules makes Node start its pool. The worker is the first to give the pool something to do. */
const PROGRAM = `
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const { readdir, stat } = require('node:fs');
if (isMainThread) {
  new Worker(__filename, { workerData: process.argv[2] }).on('message', () =>
    readdir('/', (error, names) => { console.log(names.join()); process.exit(error ? 1 : 0); }));
} else {
  const { takeOwnUmask, kernel, cString } = require('./parts.cjs');
  if (!takeOwnUmask()) throw new Error('this thread has no root of its own');
  stat('/', () => {
    if (kernel().chroot(cString(workerData)) !== 0) throw new Error('chroot');
    parentPort.postMessage('inside');
  });
}
`;

let directory: string;
beforeEach(() => {
  directory = makeDirectory();
});
afterEach(() => removeDirectory(directory));

test('what the pool does for others happens outside of the directory that a thread sees', {
  skip: needsRoot,
}, async () => {
  const linux = fileURLToPath(new URL('../../src/linux/', import.meta.url));
  const parts = ['own-umask', 'syscalls'].map((name) => `export * from ${JSON.stringify(`${linux}${name}.js`)};`);
  await build({
    stdin: { contents: parts.join('\n'), resolveDir: linux },
    outfile: join(directory, 'parts.cjs'),
    bundle: true,
    platform: 'node',
    format: 'cjs',
    define: { 'import.meta.url': JSON.stringify(`${linux}syscalls.js`) },
  });
  writeFileSync(join(directory, 'main.cjs'), PROGRAM);
  const jail = join(directory, 'jail');
  mkdirSync(join(jail, 'alone'), { recursive: true });
  const seen = execFileSync(process.execPath, [join(directory, 'main.cjs'), jail], { encoding: 'utf8' }).trim();
  assert.ok(seen.split(',').includes('proc'), seen);
});
