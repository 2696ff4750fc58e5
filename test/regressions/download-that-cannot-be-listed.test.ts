import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { listIngests } from '../../src/content/ingest.js';
import { Layout } from '../../src/layout.js';

test('downloads that the system does not list fail with a code, not with the bare error of the system', async () => {
  // No directory can have this name.
  const downloads = listIngests(new Layout(join('/', 'x'.repeat(300))));
  await assert.rejects(
    async () => {
      for await (const _ of downloads);
    },
    { code: 'LARDER_INTERNAL' },
  );
});
