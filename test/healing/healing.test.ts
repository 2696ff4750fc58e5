import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runHealing } from './healing.js';

test('200 flipped bits are found and made whole by a pull or repair, and nothing else is touched', async () => {
  const { flips, missed, falseAlarms, notHealed, touched, healedBy } = await runHealing({ flips: 200, seed: 1 });
  assert.deepEqual(
    { missed, falseAlarms, notHealed, touched },
    { missed: [], falseAlarms: [], notHealed: [], touched: [] },
  );
  assert.deepEqual(Object.keys(flips).sort(), ['document', 'extra', 'index', 'merged image', 'name', 'tar']);
  assert.equal(healedBy.pull + healedBy.repair, 200);
});
