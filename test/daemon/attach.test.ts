/** Pulls that a daemon runs, followed through it and beside it. */
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { LarderEvent } from '../../src/events.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { startNode } from '../helpers/child.js';
import { DaemonHome } from '../helpers/daemon.js';
import { needsRoot } from '../helpers/temporary.js';

const ASK = fileURLToPath(new URL('../helpers/ask-child.js', import.meta.url));
const [ANNA, GROUP] = [54_001, 54_003];

describe('a pull of the daemon', () => {
  let source: ImageSource;
  let home: DaemonHome;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('demo');
    source.publish('demo', [sampleLayer('big', 300_000)]);
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(() => {
    home = new DaemonHome();
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 100_000 } : undefined));
  });
  afterEach(() => home.dispose());

  const start = async (...args: readonly string[]): Promise<void> => {
    await home.start([...args, '--fetcher-stall-timeout', '2secs']);
  };

  test('is listed and followed through it and beside it, and counted once', async () => {
    await start();
    const pulling = home.client.pull(reference);
    await until(async () => ((await home.client.pulls())[0]?.received ?? 0) > 0, 'it is listed');
    const [pull] = await home.client.pulls();
    const events: LarderEvent[] = [];
    const attached = (async () => {
      for await (const event of home.client.attach(pull?.id ?? '')) events.push(event);
    })();
    const beside = home.bare(['--root', home.root, '--socket', 'none', 'attach', reference]);
    let said = '';
    beside.process.stderr?.on('data', (text: string) => {
      said += text;
    });
    await until(() => events.length > 0 && said.includes('pulls it'), 'both are attached');
    source.setFault();
    await pulling;
    await attached;
    const [snapshot] = events;
    assert.ok(snapshot?.type === 'snapshot');
    assert.deepEqual(snapshot.pull, {
      ...snapshot.pull,
      id: pull?.id,
      pid: pull?.pid,
      reference: `${reference}:latest`,
    });
    assert.deepEqual(events.at(-1), { type: 'ended', outcome: 'done' });
    assert.equal((await beside.ended).stdout, `${reference}:latest: pulled\n`);
    const { body } = await home.ask('/metrics');
    assert.match(body, /^larder_fetched_layers_total 1$/m);
    await assert.rejects(home.client.attach(reference).next(), { code: 'LARDER_IMAGE_NOT_FOUND' });
  });

  test('goes on when who is attached goes away', async () => {
    await start();
    const pulling = home.client.pull(reference);
    await until(async () => (await home.client.pulls()).length > 0, 'it is listed');
    for await (const { type } of home.client.attach(reference)) {
      assert.equal(type, 'snapshot');
      break;
    }
    source.setFault();
    assert.equal((await pulling).record.reference, `${reference}:latest`);
  });

  test('is nothing for guests to see', { skip: needsRoot }, async () => {
    chmodSync(home.directory, 0o755);
    await start('--socket-group', String(GROUP));
    const pulling = home.client.pull(reference);
    await until(async () => (await home.client.pulls()).length > 0, 'it is listed');
    for (const [path, ...body] of [['/v1/pulls'], ['/v1/attach', JSON.stringify({ pull: reference })]]) {
      const args = [home.socket, path ?? '', ...body];
      const { stdout } = await startNode(ASK, args, { cwd: '/', uid: ANNA, gid: GROUP }).ended;
      assert.match(stdout, /^403 .*LARDER_PERMISSION/);
    }
    source.setFault();
    await pulling;
  });
});
