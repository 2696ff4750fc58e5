/** What the daemon answers, and what it refuses: a real socket, a store of its own, one daemon for all of it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DaemonClient } from '../../src/daemon/client.js';
import { Daemon } from '../../src/daemon/server.js';
import type { LarderEvent } from '../../src/events.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { ask, codeIn, type Question } from '../helpers/daemon.js';
import { parseMetrics } from '../helpers/prometheus.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('the daemon', () => {
  const directory = makeDirectory();
  const socket = join(directory, 'run', 'larder.sock');
  const client = new DaemonClient(socket);
  const log: string[] = [];
  let source: ImageSource;
  let daemon: Daemon;

  before(async () => {
    source = await ImageSource.start();
    const flags = { root: join(directory, 'store'), socket, image_provisioner_backend: 'copy' } as const;
    const metrics = { host: '127.0.0.1', port: 0 };
    daemon = await Daemon.start({ flags, version: '1.2.3', metrics, log: (line) => log.push(line) });
  });
  after(async () => {
    await daemon.stop(0);
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  const to = (path: string, question: Question = {}) => ask(socket, path, question);
  const post = (path: string, value: unknown) => to(path, { body: JSON.stringify(value) });
  const metric = async (name: string) => parseMetrics((await to('/metrics')).body).get(name) ?? 0;

  test('answers a long operation line by line: events, then the result', async () => {
    source.publish('lines', [sampleLayer('lines')]);
    const answer = await post('/v1/pull', { reference: source.reference('lines') });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], 'application/x-ndjson');
    const lines: Record<string, { type?: string; record?: { reference: string } }>[] = answer.body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const events = lines.slice(0, -1).map((line) => line['event']?.type);
    assert.ok(events.includes('resolve') && events.includes('layer-done') && events.includes('commit'), String(events));
    assert.match(lines.at(-1)?.['result']?.record?.reference ?? '', /\/lines:latest$/);
  });

  test('lets a client hear the same events as in its own process', async () => {
    source.publish('heard', [sampleLayer('heard')]);
    const events: LarderEvent[] = [];
    const { record, info } = await client.pull(source.reference('heard'), { onEvent: (event) => events.push(event) });
    assert.equal(record.layers.length, 1);
    assert.equal(info.layers.length, 1);
    assert.deepEqual(
      ['resolve', 'resolved', 'plan', 'layer-start', 'layer-done', 'commit'].filter((type) =>
        events.some((event) => event.type === type),
      ),
      ['resolve', 'resolved', 'plan', 'layer-start', 'layer-done', 'commit'],
    );
  });

  test('says what an error is by status and code, and a client throws the same error', async () => {
    const answer = await post('/v1/remove', { reference: 'never-pulled' });
    assert.equal(answer.status, 404);
    assert.equal(codeIn(answer), 'LARDER_IMAGE_NOT_FOUND');
    await assert.rejects(client.remove('never-pulled'), { code: 'LARDER_IMAGE_NOT_FOUND', kind: 'not-found' });
    await assert.rejects(client.pull('NOT a reference'), { code: 'LARDER_REFERENCE_INVALID' });
    assert.equal((await to('/v1/containers/nobody')).status, 404);
  });

  test('knows containers by ids in a path, written out or escaped', async () => {
    source.publish('ids', [sampleLayer('ids')]);
    await client.provision('plain', { type: 'docker', name: source.reference('ids') });
    assert.equal((await to('/v1/containers/plain')).status, 200);
    assert.equal((await to('/v1/containers/pl%61in')).status, 200);
    assert.equal((await to('/v1/containers/%')).status, 400);
    assert.equal((await to('/v1/containers/..%2Fup')).status, 400);
    assert.deepEqual(JSON.parse((await to('/v1/containers')).body), [await client.claimOf('plain')]);
    await client.provision('plain/nested', { type: 'docker', name: source.reference('ids') });
    for (const path of ['/v1/containers/plain/nested', '/v1/containers/plain%2Fnested'])
      assert.equal(JSON.parse((await to(path)).body).container, 'plain/nested');
    assert.equal((await client.claimOf('plain/nested')).container, 'plain/nested');
    assert.equal(await client.destroy('plain'), true);
    assert.deepEqual(await client.list(), []);
  });

  for (const [what, path, question, status] of [
    ['an unknown path', '/v2/pull', {}, 404],
    ['a wrong method', '/v1/pull', {}, 405],
    ['a wrong method for a list', '/v1/images', { method: 'DELETE' }, 405],
    ['a body that is no JSON', '/v1/pull', { body: '{' }, 400],
    ['a body that is not UTF-8', '/v1/pull', { body: Buffer.from([0x22, 0xff, 0x22]) }, 400],
    ['a body that is a list', '/v1/pull', { body: '[]' }, 400],
    ['a body of another type', '/v1/pull', { body: '{}', headers: { 'content-type': 'text/plain' } }, 415],
    ['a compressed body', '/v1/pull', { body: '{}', headers: { 'content-encoding': 'gzip' } }, 415],
    ['a body that is too long', '/v1/pull', { body: Buffer.alloc(1024 * 1024 + 1, 0x20) }, 413],
    [
      'a body that says not how long it is and is too long',
      '/v1/pull',
      {
        body: Buffer.alloc(2 * 1024 * 1024, 0x20),
        headers: { 'transfer-encoding': 'chunked' },
      },
      413,
    ],
    ['a member of a wrong type', '/v1/pull', { body: '{"reference":1}' }, 400],
    ['a missing member', '/v1/pull', { body: '{}' }, 400],
    ['a backend that is none', '/v1/provision', { body: '{"id":"c","reference":"a","backend":"x"}' }, 400],
    [
      'an image and a reference',
      '/v1/provision',
      {
        body: '{"id":"c","reference":"a","image":{"type":"docker","name":"a"}}',
      },
      400,
    ],
    ['an image of no type', '/v1/provision', { body: '{"id":"c","image":{"name":"a"}}' }, 400],
    [
      'an operation with a strange id',
      '/v1/destroy',
      {
        body: '{"id":"c"}',
        headers: { 'larder-operation': '../x' },
      },
      400,
    ],
    ['a header of 20 KB', '/v1/images', { headers: { 'x-long': 'x'.repeat(20_000) } }, 431],
  ] as const) {
    test(`refuses ${what} with ${status}`, async () => {
      const answer = await to(path, question);
      assert.equal(answer.status, status, answer.body);
      if (status !== 431) assert.equal(codeIn(answer), 'LARDER_REQUEST_INVALID');
    });
  }

  test('refuses a member that it does not know, with the nearest name', async () => {
    const answer = await post('/v1/pull', { reference: 'x', platfrom: 'linux/arm64' });
    assert.equal(answer.status, 400);
    assert.match(answer.body, /"hint":"did you mean platform\?"/);
    const prototype = await to('/v1/pull', { body: '{"reference":"x","__proto__":{"cached":false}}' });
    assert.equal(prototype.status, 400);
  });

  test('names the connection’s own user, not what a header claims', async () => {
    const answer = await to('/v1/daemon', { headers: { host: 'evil.example', 'x-forwarded-for': '1.2.3.4' } });
    assert.equal(answer.status, 200);
    assert.equal(JSON.parse(answer.body).version, '1.2.3');
    await client.destroy('nobody-there');
    assert.match(
      log.at(-1) ?? '',
      new RegExp(`^destroy: uid ${process.getuid?.()}, pid ${process.pid}: done, \\d+ ms$`),
    );
  });

  test('cancels the operation of a client that goes away', async () => {
    source.publish('gone', [sampleLayer('gone', 300_000)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 10 } : undefined));
    const before = source.requests('layer').length;
    const gone = ask(socket, '/v1/pull', {
      body: JSON.stringify({ reference: source.reference('gone') }),
      signal: AbortSignal.timeout(400),
    });
    gone.catch(() => {});
    await until(() => source.requests('layer').length > before, 'the layer is asked for');
    await assert.rejects(gone);
    await until(async () => (await metric('larder_operations_in_flight{operation="pull"}')) === 0, 'the pull ends');
    source.setFault();
    assert.match(log.at(-1) ?? '', /^pull: .*LARDER_ABORTED/);
  });

  test('tells a client that cancels how that ended, when it has ended', async () => {
    source.publish('cancelled', [sampleLayer('cancelled', 300_000)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 10 } : undefined));
    const before = source.requests('layer').length;
    const cancel = new AbortController();
    const pull = client.pull(source.reference('cancelled'), { signal: cancel.signal });
    pull.catch(() => {});
    await until(() => source.requests('layer').length > before, 'the layer is asked for');
    cancel.abort();
    await assert.rejects(pull, { code: 'LARDER_ABORTED' });
    assert.equal(await metric('larder_operations_in_flight{operation="pull"}'), 0);
    source.setFault();
    await assert.rejects(client.pull('x', { signal: AbortSignal.abort() }), { code: 'LARDER_ABORTED' });
  });

  test('serves clients side by side, and pulls one image once for all of them', async () => {
    source.publish('many', [sampleLayer('many', 200_000)]);
    const before = source.requests('layer').length;
    const pulls = Array.from({ length: 24 }, () => new DaemonClient(socket).pull(source.reference('many')));
    const digests = new Set((await Promise.all(pulls)).map(({ record }) => record.digest));
    assert.equal(digests.size, 1);
    assert.equal(source.requests('layer').length - before, 1);
  });

  test('prunes as a Mesos agent is asked to: 200 and nothing, and what is excluded stays', async () => {
    for (const name of ['kept', 'dropped']) {
      source.publish(name, [sampleLayer(name)]);
      await client.pull(source.reference(name));
    }
    const excluded = { type: 'DOCKER', docker: { name: source.reference('kept') } };
    const answer = await post('/api/v1', { type: 'PRUNE_IMAGES', prune_images: { excluded_images: [excluded] } });
    assert.deepEqual([answer.status, answer.body], [200, '']);
    const names = (await client.images()).map(({ reference }) => reference);
    assert.deepEqual(names, [`${source.reference('kept')}:latest`]);
    const all = await post('/api/v1', { type: 'PRUNE_IMAGES' });
    assert.equal(all.status, 200, all.body);
    assert.deepEqual(await client.images(), []);
  });

  test('refuses other calls to an agent, and images that are none', async () => {
    assert.equal((await post('/api/v1', { type: 'GET_CONTAINERS' })).status, 400);
    assert.equal((await post('/api/v1', {})).status, 400);
    const bad = { type: 'PRUNE_IMAGES', prune_images: { excluded_images: [{ type: 'DOCKER' }] } };
    assert.equal((await post('/api/v1', bad)).status, 400);
  });

  test('prunes with names, says what went, and only says it in a dry run', async () => {
    for (const name of ['one', 'two']) {
      source.publish(name, [sampleLayer(name)]);
      await client.pull(source.reference(name));
    }
    const dry = await client.prune({ dryRun: true });
    assert.equal(dry.images.length, 2);
    assert.equal((await client.images()).length, 2);
    const report = await client.prune({ exclude: [source.reference('one')] });
    assert.equal(report.images.length, 1);
    assert.equal((await client.images()).length, 1);
    await client.prune();
  });

  test('is healthy', async () => {
    const { status, body } = await to('/healthz');
    assert.deepEqual([status, JSON.parse(body)], [200, { status: 'ok' }]);
  });

  test('counts in a form that Prometheus reads, and shows the store as it is', async () => {
    source.publish('counted', [sampleLayer('counted')]);
    const [pulls, hits] = [
      await metric('larder_image_pull_seconds_count'),
      await metric('larder_image_cache_hits_total'),
    ];
    await client.pull(source.reference('counted'));
    await client.pull(source.reference('counted'));
    assert.equal(await metric('larder_image_pull_seconds_count'), pulls + 1);
    assert.equal(await metric('larder_image_cache_hits_total'), hits + 1);
    await client.provision('counted', { type: 'docker', name: source.reference('counted') });
    const found = parseMetrics((await to('/metrics')).body);
    assert.equal(found.get('larder_images'), 1);
    assert.equal(found.get('larder_layers'), 1);
    assert.equal(found.get('larder_containers'), 1);
    assert.ok((found.get('larder_store_layer_bytes') ?? 0) > 0);
    assert.ok((found.get('larder_filesystem_size_bytes') ?? 0) > 0);
    assert.ok((found.get('process_resident_memory_bytes') ?? 0) > 1e6);
    await client.destroy('counted');
    await client.prune();
  });

  test('shows metrics and health at a port of the loopback, to who names it so, and nothing else', async () => {
    const base = `http://127.0.0.1:${daemon.metricsPort}`;
    assert.ok(parseMetrics(await (await fetch(`${base}/metrics`)).text()).has('larder_images'));
    assert.equal((await fetch(`${base}/healthz`)).status, 200);
    assert.equal((await fetch(`${base}/v1/images`)).status, 404);
    assert.equal((await fetch(`${base}/v1/prune`, { method: 'POST', body: '{}' })).status, 404);
    const foreign = await ask({ host: '127.0.0.1', port: daemon.metricsPort ?? 0 }, '/metrics', {
      headers: { host: 'rebound.example' },
    });
    assert.equal(foreign.status, 421);
  });

  test('leaves a store that check finds clean', async () => {
    await client.prune();
    assert.deepEqual(await client.check({ deep: true }), []);
  });
});
