import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuseTooMuch } from '../../src/layers/merge-task.js';
import { digestOf, parseDiffId } from '../../src/spec/digest.js';

test('an image whose layers are each within their limits is refused when their indexes together would fill memory', () => {
  const diffId = parseDiffId(digestOf(Buffer.from('layer')));
  const layer = { diffId, index: { path: '/index', size: 130_000_000, sha256: '' }, extra: undefined };
  assert.doesNotThrow(() => refuseTooMuch(Array(8).fill(layer)));
  assert.throws(() => refuseTooMuch(Array(9).fill(layer)), { code: 'LARDER_LAYER_LIMIT' });
});
