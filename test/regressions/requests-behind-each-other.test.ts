import assert from 'node:assert/strict';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { describe, it } from 'node:test';
import { closeQueuedAnswers } from '../../src/queued-answers.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { DaemonHome, end } from '../helpers/daemon.js';

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
