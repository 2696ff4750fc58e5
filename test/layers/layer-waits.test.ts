import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WaitClock } from '../../src/layers/layer-waits.js';

/** A clock that is set by hand, and a write that ends when it is told to. */
function byHand(): { clock: WaitClock; pass: (ms: number) => void; written: () => [Promise<void>, () => void] } {
  let nowMs = 1_000;
  const written = (): [Promise<void>, () => void] => {
    let end = (): void => {};
    const promise = new Promise<void>((resolve) => {
      end = resolve;
    });
    return [promise, end];
  };
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { clock: new WaitClock(() => nowMs), pass, written };
}

test('time with nothing to do but wait for bytes is the network’s, the rest is inflating', () => {
  const { clock, pass } = byHand();
  pass(5);
  clock.receiving(true);
  pass(70);
  clock.receiving(false);
  pass(25);
  assert.deepEqual(clock.read(), { networkMs: 70, inflateMs: 30, diskMs: 0, pausedMs: 0 });
});

test('a pause that was asked for is not the network’s', () => {
  const { clock, pass } = byHand();
  clock.receiving(true);
  pass(10);
  clock.pausing(200);
  pass(50);
  assert.equal(clock.read().pausedMs, 50);
  pass(250);
  assert.deepEqual(clock.read(), { networkMs: 110, inflateMs: 0, diskMs: 0, pausedMs: 200 });
});

test('the disk is waited for when no block is left to inflate into', async () => {
  const { clock, pass, written } = byHand();
  const ends = [written(), written(), written()].map(([promise, end]) => {
    void clock.writing(promise);
    pass(10);
    return end;
  });
  assert.deepEqual(clock.read(), { networkMs: 0, inflateMs: 20, diskMs: 10, pausedMs: 0 });
  pass(100);
  ends[0]?.();
  await Promise.resolve();
  pass(30);
  assert.deepEqual(clock.read(), { networkMs: 0, inflateMs: 50, diskMs: 110, pausedMs: 0 });
});

test('what is written alone, as a sync is, is waited for at once, also when it fails', async () => {
  const { clock, pass } = byHand();
  const failing = clock.writing(Promise.reject(new Error('full')), true);
  pass(40);
  await assert.rejects(failing, /full/);
  pass(2);
  assert.deepEqual(clock.read(), { networkMs: 0, inflateMs: 2, diskMs: 40, pausedMs: 0 });
});
