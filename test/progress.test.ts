import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LarderEvent, LayerWaits } from '../src/events.js';
import { NO_PROGRESS, nextProgress, type PullProgress, summaryOf } from '../src/progress.js';

const NO_WAITS: LayerWaits = { networkMs: 0, inflateMs: 0, diskMs: 0, pausedMs: 0 };

/** What follows from the events, each at its time. */
function after(...events: readonly (readonly [atMs: number, event: LarderEvent])[]): PullProgress {
  return events.reduce((progress, [atMs, event]) => nextProgress(progress, event, atMs), NO_PROGRESS);
}

const plan = (...sizes: readonly number[]): LarderEvent => ({
  type: 'plan',
  layers: sizes.map((size, i) => ({ layer: `l${i}`, size, state: 'fetch' })),
});
const start = (layer: string, size: number, resumedFrom = 0): LarderEvent => ({
  ...{ type: 'layer-start', layer, size, resumedFrom },
});
const step = (layer: string, received: number, waited: Partial<LayerWaits> = {}): LarderEvent => ({
  ...{ type: 'layer-progress', layer, received, written: 2 * received, doing: 'receive' },
  waited: { ...NO_WAITS, ...waited },
});
const done = (layer: string, received: number): LarderEvent => ({
  ...{ type: 'layer-done', layer, diffId: '', received, written: 2 * received, entries: 1, ms: 1 },
});

test('the rate is that of all layers in work, and what is left takes as long as it says', () => {
  const progress = after(
    [0, plan(4_000, 8_000)],
    [0, start('l0', 4_000)],
    [0, start('l1', 8_000)],
    [1000, step('l0', 1_000)],
    [1000, step('l1', 2_000)],
    [2000, step('l0', 2_000)],
    [2000, step('l1', 4_000)],
  );
  const { size, received, percent, bytesPerSecond, etaMs, layers, layersDone } = summaryOf(progress, 2000);
  assert.deepEqual(
    { size, received, percent, layers, layersDone },
    { size: 12_000, received: 6_000, percent: 50, layers: 2, layersDone: 0 },
  );
  assert.equal(bytesPerSecond, 3_000);
  assert.equal(etaMs, 2_000);
});

test('layers that were here count for nothing', () => {
  const layers = [
    { layer: 'a', size: 1_000_000, state: 'present' },
    { layer: 'b', size: 10, state: 'fetch' },
  ] as const;
  const { size, layers: count, percent } = summaryOf(after([0, { type: 'plan', layers }]), 0);
  assert.deepEqual({ size, count, percent }, { size: 10, count: 1, percent: 0 });
});

test('what an earlier run had left is here, and does not make it look fast', () => {
  const progress = after(
    [0, plan(10_000)],
    [0, start('l0', 10_000, 8_000)],
    // The prefix is read again first.
    [100, step('l0', 3_000)],
    [1000, step('l0', 9_000)],
  );
  const { received, bytesPerSecond, etaMs } = summaryOf(progress, 1000);
  assert.deepEqual({ received, bytesPerSecond, etaMs }, { received: 9_000, bytesPerSecond: 1_000, etaMs: 1_000 });
});

test('one slow second changes the rate a little, and a long one lets it fall to nothing', () => {
  const steps = [1, 2, 3, 4, 5, 6].map((s) => [s * 1000, step('l0', s * 1_000)] as const);
  const progress = after([0, plan(100_000)], [0, start('l0', 100_000)], ...steps);
  assert.equal(summaryOf(progress, 6000).bytesPerSecond, 1_000);
  assert.equal(Math.round(summaryOf(progress, 7000).bytesPerSecond), 857);
  assert.deepEqual([summaryOf(progress, 60_000).bytesPerSecond, summaryOf(progress, 60_000).etaMs], [0, undefined]);
});

test('what counts is the last seconds: a slow beginning is forgotten', () => {
  const slow = [1, 2, 3, 4, 5].map((s) => [s * 1000, step('l0', s * 10)] as const);
  const fast = [6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((s) => [s * 1000, step('l0', (s - 5) * 1_000)] as const);
  const progress = after([0, plan(100_000)], [0, start('l0', 100_000)], ...slow, ...fast);
  assert.equal(summaryOf(progress, 15_000).bytesPerSecond, 1_000);
});

test('a layer that is begun again from nothing is not here any more', () => {
  const progress = after(
    [0, start('l0', 1_000, 900)],
    [10, step('l0', 950)],
    [20, start('l0', 1_000)],
    [30, step('l0', 100)],
  );
  assert.equal(summaryOf(progress, 30).received, 100);
});

test('what takes most of the time holds it up', () => {
  const because = (waited: Partial<LayerWaits>): unknown =>
    summaryOf(after([0, start('l0', 9_000)], [1000, step('l0', 100, waited)]), 1000).bottleneck;
  assert.equal(because({ networkMs: 700, inflateMs: 200, diskMs: 100 }), 'network');
  assert.equal(because({ networkMs: 100, inflateMs: 600, diskMs: 300 }), 'inflate');
  assert.equal(because({ networkMs: 100, inflateMs: 200, diskMs: 700 }), 'disk');
  // A pause that nobody asked for comes before a try after a failure.
  assert.equal(because({ pausedMs: 900, networkMs: 100 }), 'network');
});

test('several layers are summed up, and only of the last seconds', () => {
  const progress = after(
    [0, start('l0', 9_000)],
    [0, start('l1', 9_000)],
    [1000, step('l0', 1, { networkMs: 1000 })],
    [9000, step('l0', 2, { networkMs: 1100, diskMs: 7_900 })],
    [9500, step('l1', 2, { networkMs: 5_000, diskMs: 4_500 })],
  );
  assert.equal(summaryOf(progress, 9500).bottleneck, 'disk');
});

test('a host that asks for a pause holds it up, until the pause is long over', () => {
  const events = [
    [0, start('l0', 9_000)],
    [100, step('l0', 100, { networkMs: 100 })],
    [100, { type: 'rate-limit', what: 'fetch', host: 'r', afterMs: 5_000 }],
    [5000, step('l0', 100, { networkMs: 100, pausedMs: 4_900 })],
  ] as const;
  assert.equal(summaryOf(after(...events), 5000).bottleneck, 'registry-limit');
  const later = nextProgress(after(...events), step('l0', 9_000, { networkMs: 20_000, pausedMs: 4_900 }), 20_000);
  assert.equal(summaryOf(later, 20_000).bottleneck, 'network');
});

test('a layer that another process fetches moves with it, and is waited for', () => {
  const progress = after(
    [0, plan(1_000)],
    [0, { type: 'layer-wait', layer: 'l0', reason: 'another-process' }],
    [500, { type: 'layer-wait', layer: 'l0', reason: 'another-process', pid: 7 }],
    [500, { type: 'layer-progress', layer: 'l0', received: 200, written: 400, pid: 7 }],
    [1000, { type: 'layer-progress', layer: 'l0', received: 250, written: 500, pid: 7 }],
  );
  assert.equal(progress.layers.get('l0')?.pid, 7);
  const { received, bottleneck, bytesPerSecond } = summaryOf(progress, 1000);
  assert.deepEqual(
    { received, bottleneck, bytesPerSecond },
    { received: 250, bottleneck: 'another-process', bytesPerSecond: 50 },
  );
  const here = summaryOf(nextProgress(progress, done('l0', 0), 1001), 1001);
  assert.deepEqual([here.received, here.layersDone, here.bottleneck], [1_000, 1, undefined]);
});

test('an image of which no plan told grows with its layers', () => {
  const progress = after([0, start('a', 100)], [1, done('a', 100)], [2, start('b', 300)], [3, step('b', 100)]);
  const { size, received, layersDone } = summaryOf(progress, 3);
  assert.deepEqual({ size, received, layersDone }, { size: 400, received: 200, layersDone: 1 });
});

test('who begins with a snapshot knows how far it is', () => {
  const pull = { id: '1', reference: 'r', platform: 'linux/amd64', pid: 1, startedAtMs: 0 };
  const layer = { resumedFrom: 0, written: 0 };
  const layers = [
    { layer: 'a', size: 600, state: 'done', received: 600, ...layer },
    { layer: 'b', size: 400, state: 'fetching', received: 100, ...layer },
  ] as const;
  const progress = after([5, { type: 'snapshot', pull, layers }], [1005, step('b', 200)]);
  const { percent, bytesPerSecond, etaMs } = summaryOf(progress, 1005);
  assert.equal(percent, 80);
  assert.deepEqual({ bytesPerSecond, etaMs }, { bytesPerSecond: 100, etaMs: 2_000 });
});

test('an event of a type that nobody knows changes nothing', () => {
  const unknown = { type: 'of-tomorrow', layer: 'x' } as unknown as LarderEvent;
  assert.equal(nextProgress(NO_PROGRESS, unknown, 1), NO_PROGRESS);
});
