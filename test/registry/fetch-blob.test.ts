import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { BlobRetry } from '../../src/registry/fetch-blob.js';
import { fetchBlob } from '../../src/registry/fetch-blob.js';
import { digestOf } from '../../src/spec/digest.js';
import { type FaultHook, type RegistryFault, startRegistry } from '../../src/testing/fake-registry.js';
import { clientWith, download, IMAGE, LAYER, LAYER_DIGEST, referenceTo } from './fixtures.js';

/** The n-th fault for the n-th request for a blob; none after the last. */
const faults = (...list: readonly (RegistryFault | undefined)[]): FaultHook => {
  let n = 0;
  return ({ url }) => (url.includes('/blobs/') ? list[n++] : undefined);
};
const always =
  (fault: RegistryFault): FaultHook =>
  ({ url }) =>
    url.includes('/blobs/') ? fault : undefined;

describe('a blob', () => {
  it('arrives whole, in one request', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    assert.deepEqual(await download(clientWith().client, referenceTo(registry)), LAYER);
    assert.equal(registry.requests.filter(({ url }) => url.includes('/blobs/')).length, 1);
  });

  it('of no bytes needs no request', async () => {
    await using registry = await startRegistry();
    const empty = { digest: digestOf(new Uint8Array()), size: 0 };
    assert.equal((await download(clientWith().client, referenceTo(registry), empty)).length, 0);
    assert.equal(registry.requests.length, 0);
  });

  it('is taken up at an offset with a range', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const rest = await download(clientWith().client, referenceTo(registry), {
      digest: LAYER_DIGEST,
      size: LAYER.length,
      offset: 1234,
    });
    assert.deepEqual(rest, LAYER.subarray(1234));
    assert.equal(registry.requests.at(-1)?.headers.range, 'bytes=1234-');
  });

  for (const kind of ['reset', 'short', 'cut', 'stall'] as const) {
    it(`goes on where the connection broke (${kind})`, async () => {
      await using registry = await startRegistry({
        images: [IMAGE],
        fault: faults({ kind, after: 100_000 }, { kind, after: 50_000 }),
      });
      const retries: BlobRetry[] = [];
      const blob = { digest: LAYER_DIGEST, size: LAYER.length };
      const got = await download(clientWith().client, referenceTo(registry), blob, {
        onRetry: (retry) => retries.push(retry),
      });
      assert.deepEqual(got, LAYER);
      assert.equal(retries.length, 2);
      const ranges = registry.requests.flatMap(({ headers }) => (headers.range === undefined ? [] : [headers.range]));
      assert.deepEqual(
        ranges,
        retries.map(({ position }) => `bytes=${position}-`),
      );
    });
  }

  it('is skipped through where the registry ignores the range', async () => {
    await using registry = await startRegistry({
      images: [IMAGE],
      fault: faults({ kind: 'short', after: 100_000 }, { kind: 'ignore-range' }),
    });
    assert.deepEqual(await download(clientWith().client, referenceTo(registry)), LAYER);
  });

  it('is asked for as a whole where the registry gets ranges wrong', async () => {
    const fault = faults({ kind: 'short', after: 100_000 }, { kind: 'wrong-range' });
    await using registry = await startRegistry({ images: [IMAGE], fault });
    assert.deepEqual(await download(clientWith().client, referenceTo(registry)), LAYER);
    assert.equal(registry.requests.at(-1)?.headers.range, undefined);
  });

  it('that breaks again and again without progress ends after four tries', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: always({ kind: 'short', after: 10 }) });
    await assert.rejects(download(clientWith().client, referenceTo(registry)), { code: 'LARDER_REGISTRY_UNAVAILABLE' });
    assert.equal(registry.requests.filter(({ url }) => url.includes('/blobs/')).length, 4);
  });

  it('that breaks often but comes forward arrives', async () => {
    const broken = Array.from({ length: 6 }, () => ({ kind: 'short', after: 70_000 }) as const);
    const image = { ...IMAGE, blobs: [Buffer.alloc(1_000_000, 1)] };
    await using registry = await startRegistry({ images: [image], fault: faults(...broken) });
    const blob = { digest: digestOf(image.blobs[0] as Uint8Array), size: 1_000_000 };
    assert.equal((await download(clientWith().client, referenceTo(registry), blob)).length, 1_000_000);
  });

  it('that stalls for good is a time-out', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: always({ kind: 'stall', after: 0 }) });
    const { client } = clientWith({ timeouts: { backoffMs: 1, stallMs: 30, connectMs: 500 } });
    await assert.rejects(download(client, referenceTo(registry)), { code: 'LARDER_TIMEOUT' });
  });

  it('with more bytes than its size is refused, whether the answer says so or not', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const smaller = { digest: LAYER_DIGEST, size: 1000 };
    await assert.rejects(download(clientWith().client, referenceTo(registry), smaller), {
      code: 'LARDER_SIZE_MISMATCH',
    });
    registry.setFault(always({ kind: 'longer' }));
    await assert.rejects(download(clientWith().client, referenceTo(registry)), { code: 'LARDER_SIZE_MISMATCH' });
  });

  it('with fewer bytes than its size is refused without a retry', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const larger = { digest: LAYER_DIGEST, size: LAYER.length + 1 };
    await assert.rejects(download(clientWith().client, referenceTo(registry), larger), {
      code: 'LARDER_SIZE_MISMATCH',
    });
    assert.equal(registry.requests.filter(({ url }) => url.includes('/blobs/')).length, 1);
  });

  it('never gives a byte beyond its size', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: always({ kind: 'longer' }) });
    const broker = clientWith().client.broker(referenceTo(registry));
    let length = 0;
    await assert.rejects(async () => {
      for await (const chunk of fetchBlob({ digest: LAYER_DIGEST, size: LAYER.length }, 0, (r) => broker.ask(r)))
        length += chunk.length;
    });
    assert.ok(length <= LAYER.length);
  });

  it('with a Content-Encoding is refused', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: always({ kind: 'gzip' }) });
    await assert.rejects(download(clientWith().client, referenceTo(registry)), {
      code: 'LARDER_MEDIA_TYPE_UNSUPPORTED',
    });
  });

  it('that is not there is not asked for again', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const other = { digest: digestOf(Buffer.from('x')), size: 1 };
    await assert.rejects(download(clientWith().client, referenceTo(registry), other), {
      code: 'LARDER_BLOB_NOT_FOUND',
    });
    assert.equal(registry.requests.filter(({ url }) => url.includes('/blobs/')).length, 1);
  });

  it('is given up at once when cancelled', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: always({ kind: 'stall', after: 1000 }) });
    const { client } = clientWith({ timeouts: { backoffMs: 1, stallMs: 60_000, connectMs: 500 } });
    const started = performance.now();
    const blob = { digest: LAYER_DIGEST, size: LAYER.length };
    await assert.rejects(download(client, referenceTo(registry), blob, { signal: AbortSignal.timeout(50) }), {
      code: 'LARDER_ABORTED',
    });
    assert.ok(performance.now() - started < 10_000);
  });

  it('is not read ahead of a slow consumer, who is no stall either', async () => {
    const big = Buffer.alloc(32 << 20);
    await using registry = await startRegistry({ images: [{ ...IMAGE, blobs: [big] }] });
    const { client, events } = clientWith({ timeouts: { backoffMs: 1, stallMs: 1000, connectMs: 5000 } });
    const broker = client.broker(referenceTo(registry));
    let length = 0;
    for await (const chunk of fetchBlob({ digest: digestOf(big), size: big.length }, 0, (r) => broker.ask(r))) {
      if (length === 0) {
        const before = process.memoryUsage().arrayBuffers;
        await delay(1500);
        assert.ok(process.memoryUsage().arrayBuffers - before < 4 << 20);
      }
      length += chunk.length;
    }
    assert.equal(length, big.length);
    assert.deepEqual(events, []);
  });
});
