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

test('those who waited for a pause to end have turns, further apart when the host asks again', () => {
  const { clock, health } = healthAt();
  assert.equal(health.takeTurn('a'), 0);
  const spreadOf = (): number => {
    health.pause('a', 1_000);
    clock.ms += 1_000;
    const turns = Array.from({ length: 10 }, () => health.takeTurn('a'));
    assert.deepEqual(
      turns,
      turns.toSorted((x, y) => x - y),
    );
    clock.ms += turns.at(-1) ?? 0;
    return turns.at(-1) ?? 0;
  };
  const first = spreadOf();
  assert.ok(first > 300 && first < 2_000, `${first}`);
  for (let i = 0; i < 20; i++) spreadOf();
  const last = spreadOf();
  assert.ok(last > 2 * first, `${last} after ${first}`);
});

test('a host that does not ask again is soon asked by all at once', () => {
  const { clock, health } = healthAt();
  health.pause('a', 1_000);
  clock.ms += 1_000;
  let requests = 0;
  while (health.takeTurn('a') > 0 || requests === 0) requests++;
  for (let i = 0; i < 100; i++) health.takeTurn('a');
  assert.equal(health.takeTurn('a'), 0);
});

test('what was asked of several requests that were on their way counts once', () => {
  const { clock, health } = healthAt();
  for (let i = 1; i <= 20; i++) health.pause('a', 1_000 + i * 100);
  clock.ms += 4_000;
  const turns = Array.from({ length: 5 }, () => health.takeTurn('a'));
  assert.ok((turns.at(-1) ?? 0) < 1_000, `${turns}`);
});
