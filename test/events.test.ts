import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { eventsOf } from '../src/event-stream.js';
import type { LarderEvent, OnEvent } from '../src/events.js';

const warning = (message: string): LarderEvent => ({ type: 'warning', message });

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
