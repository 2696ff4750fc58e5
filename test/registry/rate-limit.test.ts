import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LarderEvent } from '../../src/events.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { clientWith, IMAGE, referenceTo } from './fixtures.js';

async function eventsFor(headers: Readonly<Record<string, string>>, requests = 1): Promise<readonly LarderEvent[]> {
  await using registry = await startRegistry({ images: [IMAGE], fault: () => ({ kind: 'headers', headers }) });
  const { client, events } = clientWith();
  for (let i = 0; i < requests; i++) await client.resolve(referenceTo(registry));
  return events;
}

test('what a registry says of the pulls that are left is told', async () => {
  const [event, ...others] = await eventsFor({ 'RateLimit-Limit': '100;w=21600', 'RateLimit-Remaining': '76;w=21600' });
  assert.deepEqual(others, []);
  assert.equal(event?.type, 'debug');
  assert.match(event?.type === 'debug' ? event.message : '', /allows 76 of 100 more pulls in 21600 s/);
});

test('when they come to an end there is a warning, once', async () => {
  const headers = { 'RateLimit-Limit': '100;w=21600', 'RateLimit-Remaining': '9;w=21600' };
  const warnings = (await eventsFor(headers, 3)).filter(({ type }) => type === 'warning');
  assert.equal(warnings.length, 1);
  assert.match(JSON.stringify(warnings), /allows 9 of 100 more pulls in 21600 s; a login may allow more/);
});

for (const text of ['', 'many', '-3', ';w=5']) {
  test(`a registry that says ${JSON.stringify(text)} says nothing`, async () => {
    assert.deepEqual(await eventsFor({ 'RateLimit-Remaining': text }), []);
  });
}
