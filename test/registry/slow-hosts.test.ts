import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fetchBlob } from '../../src/registry/fetch-blob.js';
import { originOf, plainServer } from '../../src/registry/hosts/endpoint.js';
import { createNetwork } from '../../src/registry/network.js';
import type { RegistryTimeouts } from '../../src/registry/registry-client.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { clientWith, download, IMAGE, LAYER, LAYER_DIGEST, referenceTo } from './fixtures.js';

/** Of a machine that is never too slow for it: what drips brings some hundred bytes a second. */
const TIMEOUTS: RegistryTimeouts = {
  connectMs: 10_000,
  stallMs: 10_000,
  backoffMs: 1,
  lowSpeedBytes: 50_000,
  lowSpeedMs: 300,
};

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A server that speaks HTTP as it likes. */
async function startServer(handler: Handler): Promise<{ host: string; ranges: string[] } & AsyncDisposable> {
  const ranges: string[] = [];
  const server = createServer((request, response) => {
    if (request.url !== '/v2/') ranges.push(request.headers.range ?? '');
    if (request.url === '/v2/') response.end('{}');
    else handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    ranges,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Some of the layer at once, then a byte now and again, for longer than any of these tests. */
function drip(response: ServerResponse, atOnce: number): void {
  response.writeHead(200, { 'content-length': LAYER.length });
  response.write(LAYER.subarray(0, atOnce));
  let sent = atOnce;
  const timer = setInterval(() => {
    if (sent - atOnce > 1000) response.destroy();
    else response.write(LAYER.subarray(sent, ++sent));
  }, 20);
  response.on('close', () => clearInterval(timer));
}

const rangeOf = (text: string | undefined) => Number(/^bytes=(\d+)-$/.exec(text ?? '')?.[1]);

test('a mirror that drips is left at once, and the registry goes on from the byte that was reached', async () => {
  await using origin = await startRegistry({ images: [IMAGE] });
  await using mirror = await startServer((_request, response) => drip(response, 100_000));
  const { client, events } = clientWith({
    timeouts: TIMEOUTS,
    network: createNetwork(),
    hosts: {
      endpointsOf: async (reference) => [
        { ...originOf(reference, plainServer(mirror.host)), isMirror: true },
        originOf(reference),
      ],
    },
  });
  assert.deepEqual(await download(client, referenceTo(origin)), LAYER);
  assert.deepEqual(mirror.ranges, ['']);
  const [request] = origin.requests.filter(({ url }) => url.includes('/blobs/'));
  assert.ok(rangeOf(request?.headers.range) >= 100_000, request?.headers.range);
  const switched = events.find((event) => event.type === 'mirror' && event.insteadOf !== undefined);
  assert.match((switched?.type === 'mirror' && switched.reason) || '', /only \d+ bytes in [\d.]+ s/);
});

test('a registry that drips is asked anew from the byte that was reached', async () => {
  await using origin = await startServer(({ headers }, response) => {
    const from = rangeOf(headers.range);
    if (Number.isNaN(from)) return drip(response, 100_000);
    const range = `bytes ${from}-${LAYER.length - 1}/${LAYER.length}`;
    response.writeHead(206, { 'content-range': range, 'content-length': LAYER.length - from });
    response.end(LAYER.subarray(from));
  });
  const { client } = clientWith({ timeouts: TIMEOUTS, network: createNetwork() });
  const reference = referenceTo({ host: origin.host } as Parameters<typeof referenceTo>[0]);
  assert.deepEqual(await download(client, reference), LAYER);
  assert.equal(origin.ranges.length, 2);
  assert.ok(rangeOf(origin.ranges[1]) >= 100_000, origin.ranges[1]);
});

test('drops for ever are no progress: of a manifest and of a layer they end in a timeout', async () => {
  await using origin = await startServer((_request, response) => drip(response, 0));
  const { client } = clientWith({ timeouts: { ...TIMEOUTS, lowSpeedMs: 100 }, network: createNetwork() });
  const reference = referenceTo({ host: origin.host } as Parameters<typeof referenceTo>[0]);
  await assert.rejects(client.resolve(reference), { code: 'LARDER_TIMEOUT' });
  await assert.rejects(download(client, reference), { code: 'LARDER_TIMEOUT' });
});

test('a host is not slow because its reader is', async () => {
  await using origin = await startRegistry({ images: [IMAGE] });
  // No host is fast enough for that: a single window of waiting would end it.
  const timeouts = { ...TIMEOUTS, lowSpeedBytes: 1e12, lowSpeedMs: 1000, stallMs: 1000 };
  const { client, events } = clientWith({ timeouts, network: createNetwork() });
  const broker = client.broker(referenceTo(origin));
  let received = 0;
  const blob = { digest: LAYER_DIGEST, size: LAYER.length };
  for await (const chunk of fetchBlob(blob, 0, (request) => broker.ask(request))) {
    received += chunk.byteLength;
    await sleep(300);
  }
  assert.equal(received, LAYER.length);
  assert.deepEqual(
    events.filter(({ type }) => type === 'retry'),
    [],
  );
});
