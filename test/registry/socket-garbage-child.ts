/** A thread that receives a blob and keeps nothing; answers the most bytes of buffers that were there. */
import { parentPort, workerData } from 'node:worker_threads';
import { fetchBlob } from '../../src/registry/fetch-blob.js';
import type { Digest } from '../../src/spec/digest.js';

const { digest, size, url } = workerData as { readonly digest: Digest; readonly size: number; readonly url: string };

const grant = { url, headers: {}, afterMs: 0, connectTimeoutMs: 60_000, stallTimeoutMs: 60_000 };
let received = 0;
let most = 0;
for await (const chunk of fetchBlob({ digest, size }, 0, async () => grant)) {
  received += chunk.length;
  most = Math.max(most, process.memoryUsage().arrayBuffers);
}
parentPort?.postMessage({ received, most });
