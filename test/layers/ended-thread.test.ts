import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { digestOf } from '../../src/spec/digest.js';
import { file, tar } from '../../src/testing/tar-builder.js';
import { WorkerPool } from '../../src/workers/pool.js';
import { BlobServer, GZIP, Lab } from './lab.js';

const TAR = tar([file('noise', randomBytes(8 << 20)), file('zeros', Buffer.alloc(8 << 20))]);
const BLOB = gzipSync(TAR, { level: 1 });
const ROUNDS = 12;

it('a thread that is ended while its layer is inflated on the pool harms nobody', { timeout: 60_000 }, async () => {
  await using lab = await Lab.open();
  await using server = await BlobServer.start();
  server.add(digestOf(BLOB), BLOB);
  let lost = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const entry = new URL('../../src/assemble-worker.js', import.meta.url);
    // The code is loaded first: ending a thread that loads a native module is another matter.
    await using pool = new WorkerPool({ entry, size: 1, abortGraceMs: 0 });
    await pool.run('prepare', undefined);
    const outDir = join(lab.layout.root, `out${round}`);
    await mkdir(outDir);
    const stop = new AbortController();
    const run = lab.write(lab.job(BLOB, GZIP, outDir), server, { signal: stop.signal, pool });
    await sleep(round * 3);
    stop.abort();
    await run.catch((error: unknown) => {
      assert.ok(error instanceof Error && 'code' in error && error.code === 'LARDER_ABORTED', String(error));
      lost++;
    });
  }
  assert.ok(lost > 0, 'every layer was done before it could be ended');
});
