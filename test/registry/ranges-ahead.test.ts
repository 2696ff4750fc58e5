/** A blob over several connections: in order, whole, within bounds, and with one connection where the server cannot. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BlobRequest } from '../../src/registry/blob.js';
import { type FetchBlobOptions, fetchBlob } from '../../src/registry/fetch-blob.js';
import type { Pace } from '../../src/registry/ranges-ahead.js';
import { digestOf } from '../../src/spec/digest.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { type FakeRegistry, type RegistryFault, startRegistry } from '../../src/testing/fake-registry.js';
import { clientWith, IMAGE, referenceTo } from './fixtures.js';

const BLOB = Buffer.from(Uint32Array.from({ length: 4 << 20 }, (_, i) => i).buffer);
const DIGEST = digestOf(BLOB);
const IMAGES = [{ ...IMAGE, blobs: [BLOB] }];
/** Where more always pay. */
const FOUR: Pace = {
  arrived: () => {},
  waited: () => {},
  refused: () => {},
  connections: (_now, _rest, limit) => Math.min(4, limit),
};

/** Ranges that were asked for, but for the open one at the start. */
const rangesOf = (registry: FakeRegistry): string[] =>
  registry.requests
    .flatMap(({ url, headers }) => (url.includes('/blobs/') ? [headers.range ?? ''] : []))
    .filter(Boolean);
const isPart = (range: string | undefined): boolean => /^bytes=\d+-\d+$/.test(range ?? '');

interface Read extends FetchBlobOptions {
  readonly connections?: number;
  /** The reader waits with its first bytes until this holds. */
  readonly first?: () => boolean;
}

async function read(
  registry: FakeRegistry,
  { connections = 4, first = () => true, ...options }: Read = {},
): Promise<Buffer> {
  const broker = clientWith().client.broker(referenceTo(registry));
  const ask = async (request: BlobRequest) => ({ ...(await broker.ask(request)), connections });
  const chunks: Uint8Array[] = [];
  for await (const chunk of fetchBlob({ digest: DIGEST, size: BLOB.length }, 0, ask, { pace: FOUR, ...options })) {
    chunks.push(chunk);
    if (chunks.length === 1) await until(first, 'the reader may go on');
  }
  return Buffer.concat(chunks);
}

const DRIPPED = 100_000;

/** Answers that begin at once, and then come byte by byte: often enough to be never silent, and never at their end. */
class Drips implements AsyncDisposable {
  readonly #timers: NodeJS.Timeout[] = [];

  readonly fault: RegistryFault = {
    kind: 'raw',
    respond: (socket, { headers, body }) => {
      const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`HTTP/1.1 206 Partial Content\r\n${head.join('')}content-length: ${body.length}\r\n\r\n`);
      socket.write(body.subarray(0, DRIPPED));
      let sent = DRIPPED;
      this.#timers.push(setInterval(() => socket.write(body.subarray(sent, ++sent)), 100));
    },
  };

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
  }
}

describe('a large blob', () => {
  it('comes over several connections, no byte of it twice', async () => {
    await using registry = await startRegistry({ images: IMAGES });
    const got = await read(registry, { first: () => rangesOf(registry).length >= 3 });
    assert.ok(got.equals(BLOB));
    const ranges = rangesOf(registry).map((range) => /^bytes=(\d+)-(\d+)$/.exec(range)?.slice(1).map(Number) ?? []);
    ranges.sort(([a = 0], [b = 0]) => a - b);
    for (const [i, [start]] of ranges.entries()) if (i > 0) assert.equal(start, (ranges[i - 1]?.[1] ?? 0) + 1);
    assert.equal(ranges.at(-1)?.[1], BLOB.length - 1);
  });

  it('is read ahead by one part more than there are connections, and no further', async () => {
    await using registry = await startRegistry({ images: IMAGES });
    let most = 0;
    const first = (): boolean => {
      most = rangesOf(registry).length;
      return most >= 5;
    };
    assert.ok((await read(registry, { first })).equals(BLOB));
    assert.equal(most, 5);
  });

  it('comes over one connection where grants say so, and where its reader does', async () => {
    await using registry = await startRegistry({ images: IMAGES });
    assert.ok((await read(registry, { connections: 1 })).equals(BLOB));
    assert.ok((await read(registry, { oneConnection: true })).equals(BLOB));
    assert.deepEqual(rangesOf(registry), []);
  });

  it('comes over one connection from a registry that does not say that it knows ranges', async () => {
    const fault = (): RegistryFault => ({ kind: 'headers', headers: { 'accept-ranges': 'none' } });
    await using registry = await startRegistry({ images: IMAGES, fault });
    assert.ok((await read(registry)).equals(BLOB));
    assert.deepEqual(rangesOf(registry), []);
  });

  const broken: Readonly<Record<string, RegistryFault>> = {
    'answers a range with the whole': { kind: 'ignore-range' },
    'gives another range than was asked for': { kind: 'wrong-range' },
    'denies a range': { kind: 'status', status: 403 },
    'wants to be left alone': { kind: 'status', status: 429 },
    'breaks off in the middle of a range': { kind: 'reset', after: 100_000 },
    'gives less than a range': { kind: 'cut', after: 100_000 },
    'gives more than a range': { kind: 'longer' },
    'encodes a range': { kind: 'gzip' },
  };
  for (const [what, part] of Object.entries(broken)) {
    it(`arrives from a registry that ${what}`, async () => {
      let parts = 0;
      const fault = ({ headers }: { headers: { range?: string | undefined } }): RegistryFault | undefined =>
        isPart(headers.range) && parts++ < 2 ? part : undefined;
      await using registry = await startRegistry({ images: IMAGES, fault });
      assert.ok((await read(registry, { first: () => parts > 0 })).equals(BLOB));
    });
  }

  it('is left to one connection, with an open range, when its parts fail again and again', async () => {
    let parts = 0;
    const fault = ({ headers }: { headers: { range?: string | undefined } }): RegistryFault | undefined =>
      isPart(headers.range) && parts++ < 1000 ? { kind: 'reset', after: 1000 } : undefined;
    await using registry = await startRegistry({ images: IMAGES, fault });
    assert.ok((await read(registry, { first: () => parts > 0 })).equals(BLOB));
    assert.ok(parts <= 12, `${parts} parts were asked for`);
  });

  it('does not wait for a connection that drips while others do not, and keeps what it has brought', async () => {
    await using drips = new Drips();
    let dripping: string | undefined;
    const fault = ({ headers }: { headers: { range?: string | undefined } }): RegistryFault | undefined => {
      if (!isPart(headers.range) || dripping !== undefined) return undefined;
      dripping = headers.range;
      return drips.fault;
    };
    await using registry = await startRegistry({ images: IMAGES, fault });
    const got = await read(registry, { first: () => rangesOf(registry).length >= 4 });
    assert.ok(got.equals(BLOB));
    const [start = 0, last = 0] = dripping?.match(/\d+/g)?.map(Number) ?? [];
    const again = rangesOf(registry).filter((range) => range !== dripping && range.endsWith(`-${last}`));
    assert.equal(again.length, 1, `${rangesOf(registry)}`);
    assert.ok(Number(again[0]?.match(/\d+/)?.[0]) >= start + DRIPPED, `${dripping}, then ${again}`);
  });

  it('does not wait for parts that drip when more connections have not paid', async () => {
    await using drips = new Drips();
    let parts = 0;
    const fault = ({ headers }: { headers: { range?: string | undefined } }): RegistryFault | undefined =>
      isPart(headers.range) && parts++ < 3 ? drips.fault : undefined;
    await using registry = await startRegistry({ images: IMAGES, fault });
    let bytes = 0;
    const pace: Pace = {
      ...FOUR,
      arrived: (count) => {
        bytes += count;
      },
      // Until the reader has come to where the first connection ends.
      connections: (_now, _rest, limit) => (bytes < 1 << 20 ? Math.min(4, limit) : 1),
    };
    assert.ok((await read(registry, { first: () => parts >= 3, pace, patienceMs: 1000 })).equals(BLOB));
  });

  it('does not wait for a connection that is not let in', async () => {
    let parts = 0;
    const fault = ({ headers }: { headers: { range?: string | undefined } }): RegistryFault | undefined =>
      isPart(headers.range) && parts++ < 3 ? { kind: 'status', status: 401 } : undefined;
    await using registry = await startRegistry({ images: IMAGES, fault });
    const broker = clientWith().client.broker(referenceTo(registry));
    let refused = 0;
    const ask = async (request: BlobRequest) => {
      if (request.lane !== undefined && request.previous?.kind === 'status' && refused++ >= 0)
        return new Promise<never>(() => {});
      return { ...(await broker.ask(request)), connections: 4 };
    };
    const chunks: Uint8Array[] = [];
    const options = { pace: FOUR, patienceMs: 300 };
    for await (const chunk of fetchBlob({ digest: DIGEST, size: BLOB.length }, 0, ask, options)) {
      chunks.push(chunk);
      if (chunks.length === 1) await until(() => refused === 3, 'parts are refused');
    }
    assert.ok(Buffer.concat(chunks).equals(BLOB));
  });

  it('is given up at once when cancelled, with all its connections', async () => {
    const fault = ({ headers }: { headers: { range?: string | undefined } }): RegistryFault | undefined =>
      isPart(headers.range) ? { kind: 'stall', after: 1000 } : undefined;
    await using registry = await startRegistry({ images: IMAGES, fault });
    const stop = new AbortController();
    const first = (): boolean => {
      if (rangesOf(registry).length < 3) return false;
      stop.abort();
      return true;
    };
    await assert.rejects(read(registry, { first, signal: stop.signal }), { code: 'LARDER_ABORTED' });
  });
});
