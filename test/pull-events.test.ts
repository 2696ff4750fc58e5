/** What a whole pull tells, of a registry that wants a token and asks for a pause. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LarderEvent } from '../src/events.js';
import { openLarder } from '../src/larder.js';
import { startRegistry } from '../src/testing/fake-registry.js';
import { ImageSource, sampleLayer } from '../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from './helpers/temporary.js';

test('a pull tells of its token, its requests, pauses that were asked for, and what was verified, in that order', async () => {
  const directory = makeDirectory();
  try {
    await using source = new ImageSource(await startRegistry({ auth: { type: 'bearer' } }));
    source.publish('demo', [sampleLayer('base', 50_000)]);
    let asked = 0;
    source.setFault(({ kind }) =>
      kind === 'layer' && asked++ === 0 ? { kind: 'status', status: 429, headers: { 'retry-after': '1' } } : undefined,
    );
    const events: LarderEvent[] = [];
    {
      await using larder = await openLarder({ root: join(directory, 'store') });
      for await (const event of larder.events(source.reference('demo'))) events.push(event);
    }
    const { host } = source.registry;
    const order = ['resolve', 'token', 'resolved', 'plan', 'layer-start', 'layer-range', 'retry', 'rate-limit'];
    const end = ['layer-verified', 'layer-done', 'commit'];
    const first = [...new Set(events.map(({ type }) => type))];
    assert.deepEqual(
      first.filter((type) => [...order, ...end].includes(type)),
      [...order, ...end],
    );
    const of = <T extends LarderEvent['type']>(type: T): Extract<LarderEvent, { type: T }>[] =>
      events.filter((event): event is Extract<LarderEvent, { type: T }> => event.type === type);
    assert.deepEqual(of('token')[0], { type: 'token', host, from: host });
    assert.deepEqual(
      of('layer-range').map(({ from, to, host: at }) => [from, to, at]),
      of('layer-range').map(() => [0, of('layer-start')[0]?.size, host]),
    );
    assert.ok(of('rate-limit').every((limit) => limit.host === host && limit.afterMs > 0 && limit.afterMs <= 1000));
    assert.equal(of('layer-verified')[0]?.diffId, of('layer-done')[0]?.diffId);
    const last = of('layer-progress').at(-1);
    assert.equal(last?.doing, 'verify');
    assert.ok((last?.waited?.pausedMs ?? 0) > 500, JSON.stringify(last));
    assert.doesNotMatch(JSON.stringify(events), /Bearer|authorization/i);
  } finally {
    removeDirectory(directory);
  }
});
