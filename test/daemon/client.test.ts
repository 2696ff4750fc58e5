/** The client against daemons that misbehave: real sockets, scripted answers. */
import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { DaemonClient } from '../../src/daemon/client.js';
import type { LarderEvent } from '../../src/events.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const LINES = 'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n';
const UNREACHABLE = { code: 'LARDER_DAEMON_UNREACHABLE', kind: 'unavailable' };

describe('a client', () => {
  let directory: string;
  let client: DaemonClient;
  let server: Server | undefined;
  let asked: string;

  beforeEach(() => {
    directory = makeDirectory();
    client = new DaemonClient(join(directory, 'd.sock'));
    asked = '';
  });
  afterEach(async () => {
    await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
    server = undefined;
    removeDirectory(directory);
  });

  /** A daemon that answers everything so. */
  const answering = (answer: (socket: Socket) => void): Promise<void> =>
    new Promise((resolve) => {
      server = createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => answer(socket));
        socket.on('data', (piece) => {
          asked += piece;
        });
      }).listen(client.socket, resolve);
    });

  test('finds nobody where there is no socket', async () => {
    await assert.rejects(client.images(), { ...UNREACHABLE, message: /nobody is there/ });
    await assert.rejects(client.pull('x'), { ...UNREACHABLE, hint: /larder daemon/ });
  });

  test('takes no answer of somebody else for one', async () => {
    await answering((socket) => socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello'));
    await assert.rejects(client.images(), { ...UNREACHABLE, message: /no daemon of larder/ });
    await assert.rejects(client.pull('x'), UNREACHABLE);
  });

  test('takes no half of an answer for one', async () => {
    await answering((socket) => socket.end(`${LINES}{"event":{"type":"warning","message":"w"}}\n`));
    await assert.rejects(client.pull('x'), { ...UNREACHABLE, message: /in the middle of an answer/ });
  });

  test('survives a daemon that dies in the middle', async () => {
    await answering((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"eve`);
      setTimeout(() => socket.destroy(), 20);
    });
    await assert.rejects(client.pull('x'), UNREACHABLE);
  });

  test('keeps what it is told of an error that it does not know', async () => {
    await answering((socket) => socket.end(`${LINES}{"error":{"code":"LARDER_OF_TOMORROW","message":"do: x: no"}}\n`));
    await assert.rejects(client.pull('x'), { code: 'LARDER_INTERNAL', message: 'do: x: no' });
  });

  test('reads lines and letters however they are cut', async () => {
    const text = `${JSON.stringify({ event: { type: 'warning', message: 'zu groß' } })}\n{"result":true}\n`;
    await answering((socket) => {
      socket.write(LINES);
      const bytes = Buffer.from(text);
      let at = 0;
      const timer = setInterval(() => {
        if (at < bytes.length) socket.write(bytes.subarray(at, ++at));
        else {
          clearInterval(timer);
          socket.end();
        }
      }, 1);
    });
    const events: LarderEvent[] = [];
    assert.equal(await client.destroy('c', { onEvent: (event) => events.push(event) }), true);
    assert.deepEqual(events, [{ type: 'warning', message: 'zu groß' }]);
  });

  test('names archives beside it by where they are, and images of registries as they were given', async () => {
    await answering((socket) => socket.end(`${LINES}{"result":null}\n`));
    await client.pull('docker-archive:images/a.tar');
    assert.ok(asked.includes(`{"reference":"docker-archive:${process.cwd()}/images/a.tar"}`), asked);
    await client.pull('alpine');
    assert.ok(asked.includes('{"reference":"alpine"}'), asked);
  });
});
