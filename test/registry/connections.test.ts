import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import { Connections, type Lane } from '../../src/registry/connections.js';

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

test('layers leave one lane free, in all and to each host, for what is small', async () => {
  const connections = new Connections({ max: 4, maxPerHost: 3 });
  await connections.lane('layer').at('a', never);
  await connections.lane('layer').at('a', never);
  assert.equal(await waits(connections.lane('layer').at('a', never)), true);
  await connections.lane('layer').at('b', never);
  assert.equal(await waits(connections.lane('layer').at('c', never)), true);
  await connections.lane('small').at('a', never);
  assert.equal(connections.used, 4);
  assert.equal(await waits(connections.lane('small').at('b', never)), true);
});

test('where there may be only one connection, layers may have it', async () => {
  const connections = new Connections({ max: 1, maxPerHost: 1 });
  const lane = connections.lane('layer');
  await lane.at('a', never);
  const next = connections.lane('small').at('b', never);
  assert.equal(await waits(next), true);
  lane[Symbol.dispose]();
  await next;
});

test('a lane that is given back goes to what is small, then to who has waited longest and whose host has room', async () => {
  const connections = new Connections({ max: 3, maxPerHost: 2 });
  const held = [connections.lane('layer'), connections.lane('small')];
  await held[0]?.at('a', never);
  await held[1]?.at('a', never);
  const order: string[] = [];
  const enter = async (host: string, kind: 'layer' | 'small', name: string): Promise<void> => {
    const lane = connections.lane(kind);
    await lane.at(host, never);
    order.push(name);
    lane[Symbol.dispose]();
  };
  const all = [
    enter('a', 'layer', 'first layer'),
    enter('a', 'layer', 'second layer'),
    enter('b', 'layer', 'other host'),
    enter('a', 'small', 'manifest'),
  ];
  await turn();
  assert.deepEqual(order, []);
  for (const lane of held) lane[Symbol.dispose]();
  await Promise.all(all);
  assert.deepEqual(order, ['manifest', 'other host', 'first layer', 'second layer']);
  assert.equal(connections.used, 0);
});

test('who holds a lane changes to another host without waiting, even where that has no room', async () => {
  const connections = new Connections({ max: 8, maxPerHost: 2 });
  const [one, other] = [connections.lane('layer'), connections.lane('layer')];
  await one.at('mirror', never);
  await other.at('registry', never);
  await one.at('registry', never);
  assert.equal(await waits(connections.lane('layer').at('registry', never)), true);
  assert.equal(await waits(connections.lane('layer').at('mirror', never)), false);
});

test('who cancels does not wait, and takes nothing', async () => {
  const connections = new Connections({ max: 1, maxPerHost: 1 });
  const lane = connections.lane('layer');
  await lane.at('a', never);
  const controller = new AbortController();
  const waiting = connections.lane('layer').at('a', controller.signal);
  controller.abort();
  await assert.rejects(waiting, { code: 'LARDER_ABORTED' });
  assert.equal(connections.waiting, 0);
  lane[Symbol.dispose]();
  assert.equal(connections.used, 0);
});

test('a lane that is given back while it is waited for is free again as soon as it is granted', async () => {
  const connections = new Connections({ max: 1, maxPerHost: 1 });
  const held = connections.lane('layer');
  await held.at('a', never);
  const given = connections.lane('layer');
  const entering = given.at('a', never);
  given[Symbol.dispose]();
  held[Symbol.dispose]();
  await entering;
  assert.equal(connections.used, 0);
});

test('a spare lane is there only while nobody waits for one', async () => {
  const connections = new Connections({ max: 3, maxPerHost: 9 });
  const spare = connections.spareLane('a');
  assert.notEqual(spare, undefined);
  await connections.lane('layer').at('a', never);
  assert.equal(connections.spareLane('a'), undefined);
  const waiting = connections.lane('layer').at('a', never);
  spare?.[Symbol.dispose]();
  await waiting;
  assert.equal(connections.spareLane('a'), undefined);
});

test('whatever comes in whatever order, the limits hold, everybody is served and nothing is left', async () => {
  const work = fc.record({
    host: fc.constantFrom('a', 'b', 'c'),
    then: fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined }),
    kind: fc.constantFrom('layer' as const, 'small' as const),
    turns: fc.nat(3),
    cancels: fc.boolean(),
  });
  const limits = fc.record({ max: fc.integer({ min: 1, max: 4 }), maxPerHost: fc.integer({ min: 1, max: 4 }) });
  await fc.assert(
    fc.asyncProperty(limits, fc.array(work, { maxLength: 20 }), async (limit, works) => {
      const connections = new Connections(limit);
      let most = 0;
      const run = async ({ host, then, kind, turns, cancels }: (typeof works)[number]): Promise<void> => {
        const controller = new AbortController();
        using lane: Lane = connections.lane(kind);
        const entering = lane.at(host, controller.signal);
        if (cancels) controller.abort();
        try {
          await entering;
        } catch {
          return;
        }
        most = Math.max(most, connections.used);
        for (let i = 0; i < turns; i++) await turn();
        if (then !== undefined) await lane.at(then, controller.signal);
      };
      await Promise.all(works.map(run));
      assert.ok(most <= limit.max, `${most} at once`);
      assert.deepEqual([connections.used, connections.waiting], [0, 0]);
    }),
    { numRuns: 60 },
  );
});
