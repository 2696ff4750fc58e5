/** The view of a pull, made from events as they may come, on a terminal and off it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Progress } from '../../src/cli/progress.js';
import type { LarderEvent } from '../../src/events.js';
import { CommandHome } from '../helpers/command.js';

const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;
const [a, b] = ['a'.repeat(12), 'b'.repeat(12)];
const plan: LarderEvent = {
  type: 'plan',
  layers: [
    { layer: A, size: 2_000_000, state: 'fetch' },
    { layer: B, size: 1_000_000, state: 'fetch' },
  ],
};

/** What is on the screen after these events, a second after each other; `said` is all that was written. */
function shown(
  events: readonly LarderEvent[],
  { isTTY = true, columns = 200 } = {},
): { screen: string[]; said: string } {
  let said = '';
  let nowMs = 0;
  const out = {
    write: (text: string): void => {
      said += text;
    },
    isTTY,
    columns,
  };
  const progress = new Progress(out, () => nowMs);
  for (const event of events) {
    progress.onEvent(event);
    nowMs += 1000;
  }
  return { screen: screenOf(said), said };
}

/** The lines that a terminal shows in the end. */
function screenOf(said: string): string[] {
  const lines: string[] = [''];
  for (const [text] of said.matchAll(/\u001b\[\d*[A-Z]|\n|[^\u001b\n]+/g)) {
    const up = /^\u001b\[(\d+)A$/.exec(text)?.[1];
    // What is below is always cleared or written again.
    if (up !== undefined) lines.splice(lines.length - 1 - Number(up), lines.length, '');
    else if (text === '\n') lines.push('');
    else if (!text.startsWith('\u001b')) lines[lines.length - 1] += text;
  }
  return lines.filter((line) => line !== '');
}

const step = (layer: string, received: number, more: object = {}): LarderEvent => ({
  ...{ type: 'layer-progress', layer, received, written: received * 2, doing: 'receive' },
  waited: { networkMs: received, inflateMs: 0, diskMs: 0, pausedMs: 0 },
  ...more,
});
const start = (layer: string, size: number): LarderEvent => ({ type: 'layer-start', layer, size, resumedFrom: 0 });
const range = (layer: string): LarderEvent => ({
  ...{ type: 'layer-range', layer, host: 'r.test', from: 0, to: 1, afterMs: 0 },
});

test('on a terminal each layer in work has a line, and the total says how fast, how long and why', () => {
  const { screen } = shown([
    plan,
    start(A, 2_000_000),
    range(A),
    start(B, 1_000_000),
    step(A, 500_000),
    step(B, 1_000_000, { doing: 'verify' }),
  ]);
  assert.deepEqual(screen, [
    '2 layers, 2 to fetch, 3.00 MB',
    `${a}  [######..................]  25 %  500 kB of 2.00 MB  from r.test`,
    `${b}  [########################] 100 %  verifying, 2.00 MB written`,
    'total         0 of 2 layers, 1.50 MB of 3.00 MB, 375 kB/s, 4.0 s left, waiting for the network',
  ]);
});

test('a layer that another process fetches has a bar, and is announced once', () => {
  const wait = { type: 'layer-wait', layer: A, reason: 'another-process' } as const;
  const { screen } = shown([
    plan,
    wait,
    { ...wait, pid: 7 },
    step(A, 500_000, { pid: 7 }),
    step(A, 1_000_000, { pid: 7 }),
    { ...wait, pid: 7 },
  ]);
  assert.deepEqual(screen.slice(1), [
    `layer ${a}: another process is fetching it, waiting`,
    `layer ${a}: process 7 is fetching it`,
    `${a}  [############............]  50 %  1.00 MB of 2.00 MB  fetched by process 7`,
    'total         0 of 2 layers, 1.00 MB of 3.00 MB, 125 kB/s, 16.0 s left, waiting for another process',
  ]);
});

test('lines end at the edge of the window, and many layers do not push the total out of it', () => {
  const many = Array.from({ length: 40 }, (_, i) => start(`sha256:${String(i).padStart(64, '0')}`, 1000));
  const { screen } = shown(many, { columns: 40 });
  assert.equal(screen.length, 14);
  assert.ok(screen.every((line) => line.length < 40));
  assert.match(screen.at(-1) ?? '', /^total/);
});

test('when all is done nothing is left but what was said', () => {
  const done = { type: 'layer-done', diffId: 'd', entries: 3, ms: 1500 } as const;
  const { screen } = shown([
    ...[plan, start(A, 2_000_000), step(A, 2_000_000)],
    { ...done, layer: A, received: 2_000_000, written: 4_000_000 },
    { ...done, layer: B, received: 0, written: 0, entries: 0 },
    { type: 'commit', reference: 'r', imageId: 'i' },
  ]);
  assert.deepEqual(screen.slice(1), [
    `layer ${a}: 2.00 MB fetched, 4.00 MB written, 3 entries, 1.5 s`,
    `layer ${b}: here, another process fetched it`,
  ]);
});

test('off a terminal there are lines, and no bars', () => {
  const { said } = shown(
    [plan, start(A, 2_000_000), step(A, 500_000), { type: 'rate-limit', what: 'fetch', host: 'r.test', afterMs: 2000 }],
    {
      isTTY: false,
    },
  );
  assert.equal(said, '2 layers, 2 to fetch, 3.00 MB\nr.test asks for a pause: 2.0 s\n');
});

test('nothing that a registry or an image says drives the terminal', () => {
  const evil = 'x\u001b]0;owned\u0007\u009b2J\n\u202e';
  const events: LarderEvent[] = [
    { type: 'resolved', reference: evil, digest: evil, platform: evil, cached: false },
    start(evil, 10),
    range(evil),
    { ...range(A), host: evil } as LarderEvent,
    { type: 'retry', what: evil, reason: evil, attempt: 1, afterMs: 1 },
    { type: 'mirror', what: evil, host: evil, insteadOf: evil, reason: evil },
    { type: 'rate-limit', what: 'fetch', host: evil, afterMs: 1 },
    { type: 'warning', message: evil },
    { type: 'layer-wait', layer: evil, reason: 'another-process', pid: 1 },
    step(evil, 5),
    { type: 'snapshot', pull: { id: evil, reference: evil, platform: evil, pid: 1, startedAtMs: 0 }, layers: [] },
  ];
  const { said } = shown(events);
  const ours = said.replace(/\u001b\[(?:\d+A|0J|K)/g, '');
  assert.doesNotMatch(ours, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
});

test('--progress json prints each event on a line of its own, and a wrong command line is JSON where JSON is wanted', async () => {
  const home = new CommandHome();
  try {
    const refused = await home.run(['pull', 'localhost:1/x', '--progress', 'json', '--fetcher-stall-timeout', '1secs']);
    const [first] = refused.stderr.split('\n');
    assert.deepEqual(JSON.parse(first ?? ''), { type: 'resolve', reference: 'localhost:1/x:latest' });
    for (const args of [
      ['--json', 'bogus'],
      ['pull', '--json'],
      ['pull', '--bogus', 'x', '--json'],
    ]) {
      const { status, stdout, stderr } = await home.run(args);
      assert.deepEqual([status, stdout], [2, '']);
      const { error } = JSON.parse(stderr);
      assert.equal(error.code, 'LARDER_REQUEST_INVALID');
      assert.match(error.message, /^read the command line: /);
    }
    const { status, stderr } = await home.run(['run', 'x', '--', '--json']);
    assert.notEqual(status, 0);
    assert.doesNotMatch(stderr, /^\{/, 'what follows -- is not for larder');
  } finally {
    home.dispose();
  }
});
