import assert from 'node:assert/strict';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LineResponse } from '../../src/daemon/line-response.js';
import { closeQueuedAnswers } from '../../src/queued-answers.js';
import { sendBlob } from '../../src/serve/answer.js';
import type { OpenBlob } from '../../src/serve/blobs.js';
import { digestOf } from '../../src/spec/digest.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { DaemonHome, end } from '../helpers/daemon.js';

const SLOW_READER_MS = 1000;
const REQUEST = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';

describe('requests that a client sends one behind the other before it goes', () => {
  it('are closed, each once', async () => {
    const answers: ServerResponse[] = [];
    let closed = 0;
    const server = createServer((_, answer) => {
      answers.push(answer.on('close', () => closed++));
    });
    closeQueuedAnswers(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
      socket.write(REQUEST.repeat(3));
      await until(() => answers.length === 3, 'all are asked');
      answers[0]?.end();
      await until(() => closed === 1, 'the first is answered');
      socket.destroy();
      await until(() => closed === 3, 'the others are closed');
      assert.ok(answers.every((answer) => answer.closed || answer.destroyed));
    } finally {
      server.close();
    }
    assert.equal(closed, 3);
  });

  it('have their time to be read from when it is their turn, and none where it never comes', async (t) => {
    const answers: ServerResponse[] = [];
    const server = createServer((_, answer) => void answers.push(answer));
    closeQueuedAnswers(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const clocks = t.mock.method(globalThis, 'setTimeout');
    const clocksOf30s = (): number => clocks.mock.calls.filter((call) => call.arguments[1] === 30_000).length;
    try {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
      socket.resume().write(REQUEST.repeat(3));
      await until(() => answers.length === 3, 'all are asked');
      const [first, second, third] = answers.map((answer) => new LineResponse(answer, true));
      second?.end('at once');
      assert.equal(clocksOf30s(), 0);
      first?.end('late');
      assert.equal(clocksOf30s(), 1);
      await until(() => clocksOf30s() === 2, 'the second has its turn');
      await until(() => answers[1]?.closed === true, 'it is read');
      await until(() => answers[2]?.socket !== null, 'the third has its turn');
      socket.write(REQUEST);
      await until(() => answers.length === 4, 'one more is asked');
      socket.destroy();
      await until(() => answers[3]?.destroyed === true, 'it is closed');
      new LineResponse(answers[3] ?? assert.fail(), true).fail(new Error('nobody is there'));
      third?.fail(new Error('nobody is there'));
      assert.equal(clocksOf30s(), 2);
    } finally {
      server.close();
    }
  });

  it('do not cost the one in front its connection when nobody can read them yet', async () => {
    const piece = Buffer.alloc(1 << 20);
    const blob: OpenBlob = {
      digest: digestOf(piece),
      size: piece.length,
      ready: async () => {},
      async *read() {
        yield piece;
      },
      [Symbol.asyncDispose]: async () => {},
    };
    let first: ServerResponse | undefined;
    const server = createServer((request, answer) => {
      if (first === undefined) first = answer;
      else sendBlob(request, answer, blob, SLOW_READER_MS).catch(() => answer.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
      let received = 0;
      socket.on('data', (data) => {
        received += data.length;
      });
      socket.write(REQUEST.repeat(2));
      await until(() => first !== undefined, 'it is asked');
      await sleep(1.5 * SLOW_READER_MS);
      assert.ok(!socket.closed);
      first?.end('late');
      await until(() => received > blob.size, 'all has come');
      socket.destroy();
    } finally {
      server.close();
    }
  });

  it('do not keep the daemon from ending as it should', async () => {
    const home = new DaemonHome();
    try {
      const daemon = await home.start();
      const socket = connect(home.socket);
      const body = JSON.stringify({ deep: true });
      const head = `POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
      socket.write(`${head}\r\n\r\n${body}${REQUEST.repeat(20)}`, () => socket.destroy());
      await new Promise((resolve) => socket.once('close', resolve));
      assert.equal((await home.ask('/healthz')).status, 200);
      const { status, stderr } = await end(daemon);
      assert.equal(status, 0, stderr);
      assert.doesNotMatch(stderr, /MaxListeners|\n +at /);
    } finally {
      await home.dispose();
    }
  });
});
