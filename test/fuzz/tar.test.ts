import assert from 'node:assert/strict';
import { it } from 'node:test';
import { fuzzTar } from './tar.js';

it('the tar reader keeps its promises for three seconds of mutated archives', () => {
  const { runs, verdicts } = fuzzTar(1, 3000);
  assert.ok(runs > 500, `${runs} runs`);
  for (const verdict of ['ok', 'LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT', 'LARDER_ENTRY_UNSUPPORTED']) {
    assert.ok((verdicts[verdict] ?? 0) > 0, `never ${verdict}`);
  }
});
