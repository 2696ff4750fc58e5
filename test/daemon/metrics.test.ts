/** Counters and what they look like to Prometheus. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LarderMetrics } from '../../src/daemon/larder-metrics.js';
import { MetricsRegistry } from '../../src/daemon/metrics.js';
import { LarderError } from '../../src/errors.js';
import { parseMetrics } from '../helpers/prometheus.js';

const NOTHING = { images: 0, layers: 0, containers: 0, layerBytes: 0, fileSystem: undefined };

test('a counter counts for each set of labels, and never goes back', () => {
  const registry = new MetricsRegistry();
  const counter = registry.counter('c_total', 'things');
  counter.add(2, { kind: 'a' });
  counter.add(1, { kind: 'b' });
  counter.add(3, { kind: 'a' });
  assert.throws(() => counter.add(-1), RangeError);
  assert.throws(() => counter.add(Number.NaN), RangeError);
  assert.deepEqual(
    parseMetrics(registry.render()),
    new Map([
      ['c_total{kind="a"}', 5],
      ['c_total{kind="b"}', 1],
    ]),
  );
});

test('what was never counted is shown as nought', () => {
  const registry = new MetricsRegistry();
  registry.counter('c_total', 'things');
  assert.equal(parseMetrics(registry.render()).get('c_total'), 0);
});

test('buckets of a histogram are cumulative and end with the count', () => {
  const registry = new MetricsRegistry();
  const histogram = registry.histogram('h_seconds', 'how long', [0.1, 1, 10]);
  for (const value of [0.05, 0.1, 0.5, 5, 50]) histogram.observe(value);
  const found = parseMetrics(registry.render());
  assert.deepEqual(
    ['0.1', '1', '10', '+Inf'].map((le) => found.get(`h_seconds_bucket{le="${le}"}`)),
    [2, 3, 4, 5],
  );
  assert.equal(found.get('h_seconds_count'), 5);
  assert.equal(found.get('h_seconds_sum'), 55.65);
});

test('values of labels cannot break out of their quotes', () => {
  const registry = new MetricsRegistry();
  registry.counter('c_total', 'a\nb').add(1, { name: 'x"} 7\n\\c_total 9' });
  const text = registry.render();
  assert.ok(text.includes('c_total{name="x\\"} 7\\n\\\\c_total 9"} 1\n'), text);
  assert.ok(text.includes('# HELP c_total a\\nb\n'), text);
});

test('labels cannot fill memory: too many sets are counted together', () => {
  const registry = new MetricsRegistry();
  const counter = registry.counter('c_total', 'things');
  for (let i = 0; i < 1500; i++) counter.add(1, { i: String(i) });
  const found = parseMetrics(registry.render());
  assert.ok(found.size <= 1001, String(found.size));
  assert.equal(found.get('c_total{overflow="true"}'), 500);
});

test('a name is declared once, and is one', () => {
  const registry = new MetricsRegistry();
  registry.gauge('g', 'x');
  assert.throws(() => registry.counter('g', 'x'), /declared twice/);
  assert.throws(() => registry.counter('a-b', 'x'), /not a name/);
});

test('a pull that asks a registry is timed, whether it succeeds or not; one from the store is a cache hit', () => {
  const metrics = new LarderMetrics();
  let now = 0;
  const pull = metrics.track('pull', () => now);
  pull.onEvent({ type: 'resolve', reference: 'a' });
  pull.onEvent({ type: 'layer-done', layer: 'l', diffId: 'd', received: 10, written: 30, entries: 1, ms: 1 });
  now = 2000;
  pull.ended();
  const failed = metrics.track('provision', () => now);
  failed.onEvent({ type: 'resolve', reference: 'b' });
  failed.ended(new LarderError('LARDER_IMAGE_NOT_FOUND', 'x'));
  const hit = metrics.track('pull', () => now);
  hit.onEvent({ type: 'resolved', reference: 'a', digest: 'd', platform: 'p', cached: true });
  hit.ended();
  const found = parseMetrics(metrics.render(NOTHING));
  assert.equal(found.get('larder_image_pull_seconds_count'), 2);
  assert.equal(found.get('larder_image_pull_seconds_sum'), 2);
  assert.equal(found.get('larder_image_pulls_total{result="success"}'), 1);
  assert.equal(found.get('larder_image_pulls_total{result="LARDER_IMAGE_NOT_FOUND"}'), 1);
  assert.equal(found.get('larder_image_cache_hits_total'), 1);
  assert.equal(found.get('larder_fetched_bytes_total'), 10);
  assert.equal(found.get('larder_written_bytes_total'), 30);
  assert.equal(found.get('larder_operations_in_flight{operation="pull"}'), 0);
  assert.equal(found.get('larder_operations_total{operation="pull",result="success"}'), 2);
});

test('a container that cannot be taken down counts as Mesos counts it', () => {
  const metrics = new LarderMetrics();
  metrics.track('destroy').ended(new LarderError('LARDER_ROOTFS_BUSY', 'x'));
  metrics.track('destroy').ended();
  assert.equal(parseMetrics(metrics.render(NOTHING)).get('larder_remove_container_errors_total'), 1);
});
