import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LayerResult } from '../../src/layers/layer-task.js';
import { readAciManifest } from '../../src/store/appc/aci-manifest.js';

test('an index that the system does not open fails the pull with a code, not with the bare error of the system', async () => {
  // Directories cannot be read.
  const result = { index: { path: '/', size: 1 }, outDir: '/' } as LayerResult;
  await assert.rejects(readAciManifest(result, 'example.com/app'), { code: 'LARDER_INTERNAL' });
});
