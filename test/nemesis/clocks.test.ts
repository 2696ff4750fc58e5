import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startNode, whileRuns } from '../helpers/child.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { Clocks, libfaketime } from './clocks.js';

const missing = libfaketime() === undefined ? 'libfaketime is not installed' : false;
const YEAR_MS = 365 * 86_400_000;
/** In a worker thread, too. */
const PROGRAM = `
  const { Worker, isMainThread } = require('node:worker_threads');
  const [fromWall, from] = [Date.now(), performance.now()];
  const look = () => {
    const jumped = Date.now() - fromWall;
    if (Math.abs(jumped) < 9 * ${YEAR_MS}) return setTimeout(look, 20);
    console.log(JSON.stringify({ jumped, passed: performance.now() - from }));
  };
  if (isMainThread) {
    console.error('ready');
    new Worker(process.argv[1], { eval: true });
  }
  look();`;

for (const years of [10, -10]) {
  test(`a clock jumps by ${years} years in a process that runs; what only goes forward does not`, {
    skip: missing,
  }, async () => {
    const directory = makeDirectory();
    try {
      const clocks = new Clocks(directory);
      const env = { ...process.env, ...clocks.environmentOf(0) };
      const child = startNode('-e', [PROGRAM, PROGRAM], { env });
      let isReady = false;
      child.process.stderr?.once('data', () => {
        isReady = true;
      });
      await whileRuns(child, () => isReady);
      clocks.set(0, (years * YEAR_MS) / 1000);
      const { stdout, stderr, status } = await child.ended;
      assert.equal(status, 0, stderr);
      const seen = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { jumped: number; passed: number });
      assert.equal(seen.length, 2);
      for (const { jumped, passed } of seen) {
        assert.equal(Math.round(jumped / YEAR_MS), years);
        assert.ok(passed > 0 && passed < 120_000, `${passed} ms`);
      }
    } finally {
      removeDirectory(directory);
    }
  });
}
