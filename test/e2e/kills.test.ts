import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pullWithKills } from './kills.js';

/** The long form is `node dist/test/e2e/kills-main.js`. */
test('a pull of ten layers that is killed at random moments transfers hardly a byte twice', async () => {
  const seed = Date.now() % 100_000;
  const result = await pullWithKills({ kills: 6, layers: 10, layerBytes: 2 << 20, pauseMs: 2, seed });
  assert.ok(result.ratio <= 1.05, `seed ${seed}: ${JSON.stringify(result)}`);
  assert.equal(result.check, 'clean');
});
