import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AskGrant } from '../../src/registry/blob.js';
import { fetchBlob } from '../../src/registry/fetch-blob.js';
import { DEFAULT_CONNECTIONS } from '../../src/registry/network.js';
import { LAYER_DIGEST } from './fixtures.js';

/** What a connection reads ahead of its reader, one piece that is under way, and what the collector has not seen yet. */
const PER_CONNECTION_BYTES = 2 * 1024 * 1024;
const SIZE = 2 ** 30;
const PIECE = Buffer.alloc(256 * 1024);

test('what all connections hold for readers that do not read is bounded by their number', async () => {
  let sent = 0;
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': SIZE });
    const send = (): void => {
      while (!response.destroyed) {
        sent += PIECE.length;
        if (!response.write(PIECE)) return;
      }
    };
    response.on('drain', send);
    send();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const ask: AskGrant = async () => ({
      url,
      headers: {},
      afterMs: 0,
      connectTimeoutMs: 30_000,
      stallTimeoutMs: 30_000,
    });
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: DEFAULT_CONNECTIONS.max }, () =>
      fetchBlob({ digest: LAYER_DIGEST, size: SIZE }, 0, ask)[Symbol.asyncIterator](),
    );
    for (const reader of readers) assert.ok(((await reader.next()).value?.byteLength ?? 0) > 0);
    let most = 0;
    for (let last = -1, quiet = 0; quiet < 10; quiet = sent === last ? quiet + 1 : 0) {
      last = sent;
      await sleep(20);
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    assert.ok(sent > DEFAULT_CONNECTIONS.max * PER_CONNECTION_BYTES, 'there was more to be had');
    assert.ok(most < DEFAULT_CONNECTIONS.max * PER_CONNECTION_BYTES, `${most} bytes`);
    for (const reader of readers) await reader.return?.();
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
