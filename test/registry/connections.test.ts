import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { openLarder } from '../../src/index.js';
import type { BlobRequest } from '../../src/registry/blob.js';
import { Connections, type Slot } from '../../src/registry/connections.js';
import { fetchBlob, type Pace } from '../../src/registry/fetch-blob.js';
import { createNetwork } from '../../src/registry/network.js';
import { digestOf } from '../../src/spec/digest.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { clientWith, IMAGE, LAYER, LAYER_DIGEST, referenceTo } from './fixtures.js';

const never = undefined;

/** Whether it waits, after all that could happen has. */
async function waits(entering: Promise<void>): Promise<boolean> {
  let isIn = false;
  entering.then(
    () => {
      isIn = true;
    },
    () => {},
  );
  await turn();
  return !isIn;
}

test('layers leave one slot free, in all and to each host, for what is small', async () => {
  const connections = new Connections({ max: 4, maxPerHost: 3 });
  await connections.slot('layer').at('a', never);
  await connections.slot('layer').at('a', never);
  assert.equal(await waits(connections.slot('layer').at('a', never)), true);
  await connections.slot('layer').at('b', never);
  assert.equal(await waits(connections.slot('layer').at('c', never)), true);
  await connections.slot('small').at('a', never);
  assert.equal(connections.used, 4);
  assert.equal(await waits(connections.slot('small').at('b', never)), true);
});

test('where there may be only one connection, layers may have it', async () => {
  const connections = new Connections({ max: 1, maxPerHost: 1 });
  const slot = connections.slot('layer');
  await slot.at('a', never);
  const next = connections.slot('small').at('b', never);
  assert.equal(await waits(next), true);
  slot[Symbol.dispose]();
  await next;
});

test('a slot that is given back goes to what is small, then to who has waited longest and whose host has room', async () => {
  const connections = new Connections({ max: 3, maxPerHost: 2 });
  const held = [connections.slot('layer'), connections.slot('small')];
  await held[0]?.at('a', never);
  await held[1]?.at('a', never);
  const order: string[] = [];
  const enter = async (host: string, kind: 'layer' | 'small', name: string): Promise<void> => {
    const slot = connections.slot(kind);
    await slot.at(host, never);
    order.push(name);
    slot[Symbol.dispose]();
  };
  const all = [
    enter('a', 'layer', 'first layer'),
    enter('a', 'layer', 'second layer'),
    enter('b', 'layer', 'other host'),
    enter('a', 'small', 'manifest'),
  ];
  await turn();
  assert.deepEqual(order, []);
  for (const slot of held) slot[Symbol.dispose]();
  await Promise.all(all);
  assert.deepEqual(order, ['manifest', 'other host', 'first layer', 'second layer']);
  assert.equal(connections.used, 0);
});

test('who holds a slot changes to another host without waiting, even where that has no room', async () => {
  const connections = new Connections({ max: 8, maxPerHost: 2 });
  const [one, other] = [connections.slot('layer'), connections.slot('layer')];
  await one.at('mirror', never);
  await other.at('registry', never);
  await one.at('registry', never);
  assert.equal(await waits(connections.slot('layer').at('registry', never)), true);
  assert.equal(await waits(connections.slot('layer').at('mirror', never)), false);
});

test('who cancels does not wait, and takes nothing', async () => {
  const connections = new Connections({ max: 1, maxPerHost: 1 });
  const slot = connections.slot('layer');
  await slot.at('a', never);
  const controller = new AbortController();
  const waiting = connections.slot('layer').at('a', controller.signal);
  controller.abort();
  await assert.rejects(waiting, { code: 'LARDER_ABORTED' });
  assert.equal(connections.waiting, 0);
  slot[Symbol.dispose]();
  assert.equal(connections.used, 0);
});

test('a slot that is given back while it is waited for is free again as soon as it is granted', async () => {
  const connections = new Connections({ max: 1, maxPerHost: 1 });
  const held = connections.slot('layer');
  await held.at('a', never);
  const given = connections.slot('layer');
  const entering = given.at('a', never);
  given[Symbol.dispose]();
  held[Symbol.dispose]();
  await entering;
  assert.equal(connections.used, 0);
});

test('a spare slot is there only while nobody waits for one', async () => {
  const connections = new Connections({ max: 3, maxPerHost: 9 });
  const spare = connections.spareSlot('a');
  assert.notEqual(spare, undefined);
  await connections.slot('layer').at('a', never);
  assert.equal(connections.spareSlot('a'), undefined);
  const waiting = connections.slot('layer').at('a', never);
  spare?.[Symbol.dispose]();
  await waiting;
  assert.equal(connections.spareSlot('a'), undefined);
});

test('whatever comes in whatever order, the limits hold, everybody is served and nothing is left', async () => {
  const work = fc.record({
    host: fc.constantFrom('a', 'b', 'c'),
    later: fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined }),
    kind: fc.constantFrom('layer' as const, 'small' as const),
    turns: fc.nat(3),
    cancels: fc.boolean(),
  });
  const limits = fc.record({ max: fc.integer({ min: 1, max: 4 }), maxPerHost: fc.integer({ min: 1, max: 4 }) });
  await fc.assert(
    fc.asyncProperty(limits, fc.array(work, { maxLength: 20 }), async (limit, works) => {
      const connections = new Connections(limit);
      let most = 0;
      const run = async ({ host, later, kind, turns, cancels }: (typeof works)[number]): Promise<void> => {
        const controller = new AbortController();
        using slot: Slot = connections.slot(kind);
        const entering = slot.at(host, controller.signal);
        if (cancels) controller.abort();
        try {
          await entering;
        } catch {
          return;
        }
        most = Math.max(most, connections.used);
        for (let i = 0; i < turns; i++) await turn();
        if (later !== undefined) await slot.at(later, controller.signal);
      };
      await Promise.all(works.map(run));
      assert.ok(most <= limit.max, `${most} at once`);
      assert.deepEqual([connections.used, connections.waiting], [0, 0]);
    }),
    { numRuns: 60 },
  );
});

test('with one connection, layers whose tokens run out on the way all come: logins go over the slot of who needs them', async () => {
  await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer' } });
  registry.setFault(({ url, nth }) => {
    if (!url.includes('/blobs/')) return undefined;
    if (nth === 2) registry.expireTokens();
    return nth === 1 ? { kind: 'reset', after: 100_000 } : undefined;
  });
  const network = createNetwork({ max: 1, maxPerHost: 1 });
  const { client } = clientWith({ network });
  const reference = referenceTo(registry);
  const fetchLayer = async (): Promise<void> => {
    using broker = client.broker(reference, { counted: true });
    const chunks: Uint8Array[] = [];
    for await (const chunk of fetchBlob({ digest: LAYER_DIGEST, size: LAYER.length }, 0, (one) => broker.ask(one)))
      chunks.push(chunk);
    assert.equal(network.connections.used, 1);
    assert.deepEqual(Buffer.concat(chunks), LAYER);
  };
  await Promise.all([fetchLayer(), client.resolve(reference), fetchLayer(), client.head(reference), fetchLayer()]);
  assert.deepEqual([network.connections.used, network.connections.waiting], [0, 0]);
});

test('leave for a part that comes when its layer has ended holds no connection', async () => {
  await using registry = await startRegistry({ images: [IMAGE] });
  const network = createNetwork();
  const { client } = clientWith({ network });
  const broker = client.broker(referenceTo(registry), { counted: true });
  const request = { digest: LAYER_DIGEST, offset: 0, attempt: 0 };
  await broker.ask(request);
  const late = broker.ask({ ...request, lane: 1 });
  broker[Symbol.dispose]();
  assert.equal((await late).connections, 1);
  assert.equal(network.connections.used, 0);
});

test('layers over several connections that fail or are cancelled at any moment hold none afterwards', async () => {
  const blob = Buffer.from(Uint32Array.from({ length: 2 << 20 }, (_, i) => i).buffer);
  const digest = digestOf(blob);
  await using registry = await startRegistry({ images: [{ ...IMAGE, blobs: [blob] }], auth: { type: 'bearer' } });
  let nth = 0;
  registry.setFault(({ url }) => {
    if (!url.includes('/blobs/') || ++nth % 4 !== 0) return undefined;
    registry.expireTokens();
    return nth % 8 === 0 ? { kind: 'reset', after: 100_000 } : undefined;
  });
  const network = createNetwork({ max: 6, maxPerHost: 5 });
  const { client } = clientWith({ network });
  const pace: Pace = {
    ...{ arrived() {}, waited() {}, refused() {} },
    connections: (_now, _rest, limit) => Math.min(4, limit),
  };
  const fetchUntil = async (pieces: number): Promise<void> => {
    const stop = new AbortController();
    const asked: Promise<unknown>[] = [];
    {
      using broker = client.broker(referenceTo(registry), { counted: true, signal: stop.signal });
      const ask = (request: BlobRequest) => {
        const grant = broker.ask(request).then((given) => ({ ...given, connections: given.connections ?? 4 }));
        asked.push(grant);
        return grant;
      };
      const reading = fetchBlob({ digest, size: blob.length }, 0, ask, { pace, signal: stop.signal });
      let left = pieces;
      try {
        for await (const _ of reading) if (left-- === 0) stop.abort();
      } catch {
        // However it ended.
      }
      assert.ok(network.connections.used <= 6, `${network.connections.used} at once`);
    }
    await Promise.allSettled(asked);
  };
  await Promise.all([1, 7, 20, 45, 90, 1000].map(fetchUntil));
  assert.deepEqual([network.connections.used, network.connections.waiting], [0, 0]);
});

test('a pull of many layers over one connection asks for one at a time', async () => {
  const layers = ['a', 'b', 'c', 'd'].map((name) => ({ tar: sampleLayer(name) }));
  await using registry = await startRegistry({ images: [{ name: 'team/many', ...buildImage({ layers }) }] });
  const askedAtMs: number[] = [];
  registry.setFault(({ url }) => {
    if (!url.includes('/blobs/')) return undefined;
    askedAtMs.push(performance.now());
    return { kind: 'delay', ms: 60 };
  });
  const root = makeDirectory();
  try {
    await using larder = await openLarder({
      root,
      max_connections: 1,
      max_parallel_layers: 4,
      registries_conf: 'none',
      docker_config: '{"auths":{}}',
    });
    await using _pulled = await larder.pull(`${registry.host}/team/many`);
    assert.equal(askedAtMs.length, 5);
    const gaps = askedAtMs.slice(1).map((ms, i) => ms - (askedAtMs[i] ?? 0));
    assert.ok(Math.min(...gaps) > 50, `each after the one before: ${gaps}`);
  } finally {
    removeDirectory(root);
  }
});
