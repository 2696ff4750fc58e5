import assert from 'node:assert/strict';
import { once } from 'node:events';
import { it } from 'node:test';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { startRegistry } from '../../src/testing/fake-registry.js';

const MIB = 1 << 20;

it('a thread that receives a blob keeps no more than a few MiB of what its socket read', async () => {
  const size = 96 * MIB;
  await using registry = await startRegistry();
  const digest = registry.addBlob('team/app', Buffer.alloc(size, 'larder'));
  const workerData = { digest, size, url: `${registry.url}/v2/team/app/blobs/${digest}` };
  const worker = new Worker(new URL('./socket-garbage-child.js', import.meta.url), { workerData });
  const [{ received, most }] = (await once(worker, 'message')) as [{ received: number; most: number }];
  assert.equal(received, size);
  assert.ok(most < 16 * MIB, `${most} bytes`);
  assert.equal(runInNewContext('typeof gc'), 'undefined');
});
