import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostHealth } from '../../../src/registry/hosts/host-health.js';

function healthAt() {
  const clock = { ms: 1_000_000 };
  return { clock, health: new HostHealth(undefined, { now: () => clock.ms, wall: () => clock.ms }) };
}

test('a host that failed rests, longer with each failure in a row, and is forgotten when it was long ago', () => {
  const { clock, health } = healthAt();
  assert.equal(health.isResting('a'), false);
  health.failed('a');
  assert.equal(health.isResting('a'), true);
  assert.equal(health.isResting('b'), false);
  clock.ms += 30_000;
  assert.equal(health.isResting('a'), false);
  health.failed('a');
  clock.ms += 30_000;
  assert.equal(health.isResting('a'), true);
  clock.ms += 30_000;
  assert.equal(health.isResting('a'), false);
  clock.ms += 10 * 60_000;
  health.failed('a');
  clock.ms += 30_000;
  assert.equal(health.isResting('a'), false);
});

test('failures at the same time count once', () => {
  const { clock, health } = healthAt();
  for (let i = 0; i < 20; i++) health.failed('a');
  clock.ms += 30_000;
  assert.equal(health.isResting('a'), false);
});

test('a pause is the longest that was asked for, unless nobody would wait for its end', () => {
  const { clock, health } = healthAt();
  health.pause('a', 3_000);
  health.pause('a', 1_000);
  assert.equal(health.pausedMs('a'), 3_000);
  assert.equal(health.pausedMs('b'), 0);
  clock.ms += 2_000;
  assert.equal(health.pausedMs('a'), 1_000);
  health.pause('a', 1e12);
  assert.equal(health.pausedMs('a'), 1_000);
});
