import assert from 'node:assert/strict';
import { test } from 'node:test';
import { file, merged } from '../tree/entries.js';

test('a small archive of deep paths is refused before its unlisted directories take all memory', () => {
  const deep = 'a/'.repeat(253);
  const lines = Array.from({ length: 4000 }, (_, i) => file(`${i}/${deep}f`));
  assert.throws(() => merged(lines), { code: 'LARDER_LAYER_LIMIT' });
});
