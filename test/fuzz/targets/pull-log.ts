/** What another process tells of its pull, read by those who follow it: lines of JSON in a file that may be damaged. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Progress } from '../../../src/cli/progress.js';
import type { LarderEvent } from '../../../src/events.js';
import { NO_PROGRESS, nextProgress, snapshotOf, summaryOf } from '../../../src/progress.js';
import { PullTail } from '../../../src/store/pulls/pull-tail.js';
import { mutateBytes } from '../mutate.js';
import { mutateJson } from '../mutate-json.js';
import type { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';

const LAYER = `sha256:${'e'.repeat(64)}`;
const WAITED = { networkMs: 5, inflateMs: 6, diskMs: 7, pausedMs: 0 };
const AT_MS = 1_700_000_000_000;
const EVENTS: readonly LarderEvent[] = [
  {
    type: 'snapshot',
    pull: { id: 'abcdef01', reference: 'r.example/a:1', platform: 'linux/amd64', pid: 7, startedAtMs: AT_MS },
    layers: [{ layer: LAYER, size: 1000, state: 'fetching', received: 10, written: 20, resumedFrom: 0 }],
  },
  { type: 'resolve', reference: 'r.example/a:1' },
  { type: 'resolved', reference: 'r.example/a:1', digest: LAYER, platform: 'linux/amd64', cached: false },
  { type: 'plan', layers: [{ layer: LAYER, size: 1000, state: 'fetch' }] },
  { type: 'token', host: 'r.example', from: 'auth.example' },
  { type: 'layer-start', layer: LAYER, size: 1000, resumedFrom: 100 },
  { type: 'layer-range', layer: LAYER, host: 'r.example', from: 0, to: 1000, afterMs: 0 },
  { type: 'layer-progress', layer: LAYER, received: 500, written: 900, doing: 'receive', waited: WAITED },
  { type: 'layer-wait', layer: LAYER, reason: 'another-process', pid: 9 },
  { type: 'layer-verified', layer: LAYER, diffId: LAYER, size: 3000 },
  { type: 'layer-done', layer: LAYER, diffId: LAYER, received: 1000, written: 3000, entries: 7, ms: 12 },
  { type: 'retry', what: LAYER, reason: 'reset', attempt: 1, afterMs: 100 },
  { type: 'rate-limit', what: LAYER, host: 'r.example', afterMs: 1000 },
  { type: 'warning', message: 'w' },
  { type: 'ended', outcome: 'failed', error: { code: 'LARDER_TIMEOUT', message: 'm', hint: 'h' } },
];
const LINES = EVENTS.map((event, i) => Buffer.from(JSON.stringify({ atMs: AT_MS + 300 * i, event })));

export function openPullLogTarget(): FuzzTarget {
  const directory = mkdtempSync(join(tmpdir(), 'larder-fuzz-pulls-'));
  const path = join(directory, 'log');
  return {
    name: 'pull-log',
    codes: [],
    short: { runs: 150, meets: ['ok'] },
    words: ['snapshot', 'layer-progress', 'layers', 'pull', 'waited', 'elsewhere', 'verifying', 'fetching'],
    make: (random) => joined(Array.from({ length: random.below(12) }, () => random.pick(LINES))),
    mutate: mutateLines,
    async run(input) {
      writeFileSync(path, input);
      const tail = await PullTail.open(path);
      assert.ok(tail !== undefined);
      try {
        return shown((await tail.read()).map(({ event }) => event));
      } finally {
        await tail.close();
      }
    },
    close: () => rmSync(directory, { recursive: true }),
  };
}

/** As a terminal, and the list of pulls, show it. */
function shown(events: readonly LarderEvent[]): unknown {
  let text = '';
  let now = 0;
  const write = (more: string): void => {
    text += more;
  };
  const out = { write, isTTY: true, columns: 100 };
  const bars = new Progress(out, () => now);
  let progress = NO_PROGRESS;
  for (const event of events) {
    now += 200;
    bars.onEvent(event);
    progress = nextProgress(progress, event, now);
    const { percent, received } = summaryOf(progress, now);
    assert.ok(percent === undefined || (percent >= 0 && percent <= 100), `${percent} %`);
    assert.ok(received >= 0, `${received} bytes`);
  }
  bars.stop();
  assert.doesNotMatch(
    text.replace(/\u001b\[\d*[AJK]/g, ''),
    /[\u0000-\u0009\u000b-\u001f\u007f]/,
    'it drives the terminal',
  );
  const facts = { id: 'x', reference: 'x', platform: 'x', pid: 1, startedAtMs: 1 };
  return [text, JSON.stringify(snapshotOf(progress, facts))];
}

function mutateLines(input: Buffer, random: Random): Buffer {
  const lines = input.toString('latin1').split('\n');
  const i = random.below(lines.length);
  const line = Buffer.from(lines[i] ?? '', 'latin1');
  const words = ['snapshot', 'layer-progress', 'layer', 'waited', 'elsewhere', 'verifying', 'atMs', 'size'];
  if (random.oneIn(10)) return mutateBytes(input, random, words);
  if (random.oneIn(5)) lines.splice(i, 0, random.pick(LINES).toString('latin1'));
  else lines[i] = Buffer.from(mutateJson(line, random, words)).toString('latin1');
  return Buffer.from(lines.join('\n'), 'latin1');
}

function joined(lines: readonly Buffer[]): Buffer {
  return Buffer.from(lines.map((line) => `${line}\n`).join(''));
}
