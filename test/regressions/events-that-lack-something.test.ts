import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { PullTail } from '../../src/store/pulls/pull-tail.js';

it('a line of a pull’s log that is no whole event is passed over: bars would be drawn of what it lacks', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'larder-pulls-'));
  const events = [
    { type: 'layer-progress', layer: 'a' },
    { type: 'layer-progress', layer: 'a', received: 1, written: 1, waited: null },
    { type: 'rate-limit', what: 'a', host: 'h', afterMs: '1' },
    { type: 'warning' },
    { type: 'of a later version', any: 1 },
    { type: 'layer-progress', layer: 'a', received: 1, written: 1 },
  ];
  const path = join(directory, 'log');
  writeFileSync(path, events.map((event) => `${JSON.stringify({ atMs: 1, event })}\n`).join(''));
  const tail = await PullTail.open(path);
  try {
    const read = (await tail?.read()) ?? [];
    assert.deepEqual(
      read.map(({ event }) => event),
      events.slice(4),
    );
  } finally {
    await tail?.close();
    rmSync(directory, { recursive: true });
  }
});
