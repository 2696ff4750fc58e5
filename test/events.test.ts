import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { EventQueue, eventsOf } from '../src/event-stream.js';
import type { LarderEvent, OnEvent } from '../src/events.js';

const warning = (message: string): LarderEvent => ({ type: 'warning', message });
const progress = (layer: string, received: number): LarderEvent => ({
  ...{ type: 'layer-progress', layer, received, written: 0 },
});

async function messagesOf(events: AsyncIterable<LarderEvent>, into: string[] = []): Promise<string[]> {
  for await (const event of events) if (event.type === 'warning') into.push(event.message);
  return into;
}

test('events come in order, those told at once and those told later', async () => {
  const work = async (onEvent: OnEvent): Promise<void> => {
    onEvent(warning('1'));
    onEvent(warning('2'));
    await setImmediate();
    onEvent(warning('3'));
  };
  assert.deepEqual(await messagesOf(eventsOf(work)), ['1', '2', '3']);
});

test('a failure comes after all events', async () => {
  const seen: string[] = [];
  const work = async (onEvent: OnEvent): Promise<void> => {
    onEvent(warning('1'));
    await setImmediate();
    onEvent(warning('2'));
    throw new Error('it failed');
  };
  await assert.rejects(messagesOf(eventsOf(work), seen), /it failed/);
  assert.deepEqual(seen, ['1', '2']);
});

test('work that tells nothing ends the iteration', async () => {
  assert.deepEqual(await messagesOf(eventsOf(async () => {})), []);
});

test('a slow listener misses nothing', async () => {
  const work = async (onEvent: OnEvent): Promise<void> => {
    for (let i = 0; i < 100; i++) {
      onEvent(warning(String(i)));
      if (i % 10 === 0) await setImmediate();
    }
  };
  let count = 0;
  for await (const _ of eventsOf(work)) {
    count++;
    await setImmediate();
  }
  assert.equal(count, 100);
});

test('steps of a layer’s progress that nobody has read replace each other, in their place among the others', () => {
  const queue = new EventQueue();
  for (let received = 0; received < 10_000; received++) {
    queue.push(progress('a', received));
    queue.push(progress('b', received));
    if (received === 5) queue.push(warning('between'));
  }
  assert.deepEqual(queue.take(), [warning('between'), progress('a', 9_999), progress('b', 9_999)]);
  assert.deepEqual(queue.take(), []);
});

test('a queue that nobody drains stays small, and says how much it has lost', () => {
  const queue = new EventQueue(3);
  for (const message of ['1', '2', '3', '4', '5']) queue.push(warning(message));
  assert.equal(queue.size, 3);
  assert.deepEqual(queue.take(), [{ type: 'missed', events: 2 }, ...['3', '4', '5'].map(warning)]);
});

test('who leaves the loop cancels the work, and goes on when it has ended', async () => {
  const told: string[] = [];
  const events = eventsOf(async (onEvent, signal) => {
    onEvent(warning('1'));
    await once(signal, 'abort');
    await setImmediate();
    told.push('ended');
    throw new Error('cancelled');
  });
  for await (const _ of events) break;
  assert.deepEqual(told, ['ended']);
  await assert.rejects(events.result, /cancelled/);
});

test('the result of the work can be had beside its events', async () => {
  const events = eventsOf(async (onEvent) => {
    onEvent(warning('1'));
    return 42;
  });
  assert.deepEqual(await messagesOf(events), ['1']);
  assert.equal(await events.result, 42);
});
