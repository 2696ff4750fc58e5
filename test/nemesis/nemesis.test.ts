import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkHistory } from './history.js';
import { runNemesis } from './nemesis.js';
import type { Line } from './words.js';

const notRoot = process.getuid?.() === 0 ? false : 'mounting needs root';

test('processes that share a store, are killed at random and live by clocks that jump harm nobody', {
  skip: notRoot,
}, async () => {
  const missing = new Set(['told to end', 'pull', 'hold', 'provision', 'destroy', 'recover', 'prune', 'gc']);
  // Few end between two kills, and chance may leave one out.
  for (let seed = 1; seed === 1 || (missing.size > 0 && seed < 6); seed++) {
    const { violations, done, kills, terminated } = await runNemesis({
      processes: 6,
      operations: 150,
      maxSeconds: 120,
      seed,
      killEvery: 20 * seed,
    });
    assert.deepEqual(violations, []);
    assert.ok(kills + terminated > 0, 'nobody died');
    if (terminated > 0) missing.delete('told to end');
    for (const op of missing) if ((done[`${op} ok`] ?? 0) > 0) missing.delete(op);
  }
  assert.deepEqual([...missing], []);
});

const LINE: Line = { worker: 'w', life: 0, what: 'begin', op: 'look', atMs: 0 };
const EXPECTED = { published: new Set(['right', 'other']), maxOperationMs: 1000 };

for (const [what, lines] of [
  ['bytes that no image has', [{ ...LINE, what: 'bytes', sha256: 'wrong' }]],
  [
    'a container that changes',
    ['right', 'other'].map((sha256): Line => ({ ...LINE, what: 'bytes', container: 'c', sha256 })),
  ],
  ['a failure that nothing excuses', [{ ...LINE, what: 'failed', code: 'LARDER_INTERNAL' }]],
  ['an operation that hangs', [LINE, { ...LINE, what: 'ok', atMs: 2000 }]],
] as const satisfies readonly (readonly [string, readonly Line[]])[]) {
  test(`the history's checker finds ${what}`, () => {
    assert.equal(checkHistory(lines, EXPECTED).violations.length, 1);
  });
}
