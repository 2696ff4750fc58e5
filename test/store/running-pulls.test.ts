/** Pulls that other processes can follow: real ones, of a registry that stops in the middle until it is told to go on. */
import assert from 'node:assert/strict';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { eventsOf } from '../../src/event-stream.js';
import type { LarderEvent, PullFacts } from '../../src/events.js';
import { type Larder, openLarder } from '../../src/larder.js';
import { PullLog } from '../../src/store/pulls/pull-log.js';
import { PullTail } from '../../src/store/pulls/pull-tail.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { CommandHome } from '../helpers/command.js';

const HALF = 100_000;

describe('a pull that is under way', () => {
  let source: ImageSource;
  let home: CommandHome;
  let reference: string;
  let big: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('library/demo');
    const image = source.publish('library/demo', [sampleLayer('base'), sampleLayer('big', 300_000)]);
    big = image.layers[1]?.digest ?? '';
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(() => {
    home = new CommandHome();
  });
  afterEach(async () => {
    source.setFault();
    assert.equal(await home.ok('check'), 'clean');
    assert.deepEqual(namesIn(), []);
    home.dispose();
  });

  const namesIn = (): string[] => {
    try {
      return readdirSync(join(home.root, 'pulls'));
    } catch {
      return [];
    }
  };
  const open = (): Promise<Larder> => openLarder({ root: home.root, fetcher_stall_timeout: '1secs' });
  /** The big layer stops in its middle until there is no fault any more: then the next try goes on. */
  const stop = (): void =>
    source.setFault(({ wanted }) => (wanted === big ? { kind: 'stall', after: HALF } : undefined));
  const seen = (
    events: AsyncIterable<LarderEvent>,
  ): { readonly events: LarderEvent[]; readonly ended: Promise<void> } => {
    const all: LarderEvent[] = [];
    const read = async (): Promise<void> => {
      for await (const event of events) all.push(event);
    };
    return { events: all, ended: read() };
  };

  test('is listed and followed from another handle, from a snapshot to its end', async () => {
    await using one = await open();
    await using two = await open();
    stop();
    const pulling = eventsOf((onEvent, signal) => one.pull(reference, { onEvent, signal }));
    await until(async () => ((await two.pulls())[0]?.received ?? 0) >= HALF, 'half of it is fetched');
    const [listed] = await two.pulls();
    assert.deepEqual([listed?.reference, listed?.pid, listed?.layers], [`${reference}:latest`, process.pid, 2]);
    assert.ok(listed?.percent !== undefined && listed.percent > 10 && listed.percent < 90, String(listed?.percent));

    const { events, ended } = seen(two.attach(reference));
    await until(() => events.length > 0, 'the snapshot');
    source.setFault();
    await (await pulling.result)[Symbol.asyncDispose]();
    await ended;
    const [snapshot] = events;
    assert.ok(snapshot?.type === 'snapshot');
    assert.equal(snapshot.layers.find(({ layer }) => layer === big)?.state, 'fetching');
    assert.ok(events.some((event) => event.type === 'retry'));
    assert.ok(events.some((event) => event.type === 'layer-verified' && event.layer === big));
    assert.deepEqual(events.at(-1), { type: 'ended', outcome: 'done' });
    assert.deepEqual(await two.pulls(), []);
  });

  test('is as fast as it was when the clock of the wall is set back by ten years', async (t) => {
    await using one = await open();
    await using two = await open();
    stop();
    const pulling = one.pull(reference);
    await until(async () => ((await two.pulls())[0]?.received ?? 0) >= HALF, 'half of it is fetched');
    const [before] = await two.pulls();
    const now = Date.now.bind(Date);
    t.mock.method(Date, 'now', () => now() - 10 * 365 * 86_400_000);
    const [after] = await two.pulls();
    assert.ok(after !== undefined && before !== undefined && after.bytesPerSecond <= before.bytesPerSecond);
    source.setFault();
    await (await pulling)[Symbol.asyncDispose]();
  });

  test('tells who is attached that it was cancelled', async () => {
    await using one = await open();
    await using two = await open();
    stop();
    const stopping = new AbortController();
    const pull = one.pull(reference, { signal: stopping.signal });
    pull.catch(() => {});
    await until(async () => (await two.pulls()).length > 0, 'it is listed');
    const cancelled = seen(two.attach(reference));
    await until(() => cancelled.events.length > 0, 'the snapshot');
    stopping.abort();
    await assert.rejects(pull, { code: 'LARDER_ABORTED' });
    await cancelled.ended;
    const last = cancelled.events.at(-1);
    assert.ok(last?.type === 'ended');
    assert.deepEqual([last.outcome, last.error?.code], ['cancelled', 'LARDER_ABORTED']);
    source.setFault();
    await (await one.pull(reference))[Symbol.asyncDispose]();
  });

  test('shows its progress to a pull of another process that waits for the same layer', async () => {
    await using larder = await open();
    stop();
    const child = home.start(['--fetcher-stall-timeout', '1secs', 'pull', reference]);
    await until(async () => ((await larder.pulls())[0]?.received ?? 0) >= HALF, 'half of it is fetched');
    const { pid } = child.process;
    const waiting = seen(larder.events(reference));
    const isShown = (event: LarderEvent): boolean =>
      event.type === 'layer-progress' && event.layer === big && event.pid === pid && event.received >= HALF;
    await until(() => waiting.events.some(isShown), 'its progress is shown');
    // Both are listed, and who attaches by name is shown the one that does the work.
    await until(async () => (await larder.pulls()).length === 2, 'both are listed');
    const modes = ['', ...readdirSync(join(home.root, 'pulls'))].map(
      (name) => statSync(join(home.root, 'pulls', name)).mode,
    );
    assert.deepEqual(
      [...new Set(modes.map((mode) => mode & 0o777))],
      [0o700, 0o600],
      'closed by their own modes while they are there',
    );
    const attached = seen(larder.attach(reference));
    await until(() => attached.events.length > 0, 'the snapshot');
    source.setFault();
    await Promise.all([waiting.ended, attached.ended]);
    assert.equal((await child.ended).status, 0);
    const [snapshot] = attached.events;
    assert.ok(snapshot?.type === 'snapshot');
    assert.equal(snapshot.pull.pid, pid);
    const fetched = waiting.events.filter((event) => event.type === 'layer-range' && event.layer === big);
    assert.deepEqual(fetched, [], 'nothing of it is fetched twice');
    assert.ok(waiting.events.some((event) => event.type === 'layer-done' && event.layer === big));
  });

  test('is lost when its process is killed, and what it left is garbage that the next one sweeps', async () => {
    stop();
    const child = home.start(['pull', reference]);
    await using larder = await open();
    await until(async () => (await larder.pulls()).length > 0, 'it is listed');
    const { events, ended } = seen(larder.attach(reference));
    await until(() => events.length > 0, 'the snapshot');
    child.kill('SIGKILL');
    await child.ended;
    await ended;
    assert.deepEqual(events.at(-1), { type: 'ended', outcome: 'lost' });
    assert.deepEqual(await larder.pulls(), []);
    const findings = [];
    for await (const { subject } of larder.check()) findings.push(subject);
    assert.ok(
      findings.some((subject) => /^pulls\//.test(subject)),
      findings.join(),
    );
    source.setFault();
    await home.ok('pull', reference);
  });

  test('goes on where nothing can be told, and says so', async () => {
    await using larder = await open();
    writeFileSync(join(home.root, 'pulls'), 'this is no directory');
    const { events, ended } = seen(larder.events(reference));
    await ended;
    const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
    assert.equal(warnings.length, 1, warnings.join());
    assert.match(warnings[0] ?? '', /^tell other processes of the pull: .*; it goes on, and nobody can attach to it$/);
    assert.equal(larder.images().length, 1);
  });

  test('is unknown where nothing was fetched: an image that is here costs nothing', async () => {
    await using larder = await open();
    await (await larder.pull(reference))[Symbol.asyncDispose]();
    const names = readdirSync(home.root);
    await (await larder.pull(reference, { cached: false }))[Symbol.asyncDispose]();
    assert.deepEqual(readdirSync(home.root), names);
    await assert.rejects(larder.attach(reference).next(), { code: 'LARDER_IMAGE_NOT_FOUND' });
    await assert.rejects(larder.attach('0123abcd').next(), { code: 'LARDER_IMAGE_NOT_FOUND' });
  });

  test('is attached to by a command, whose lines are the events with --json', async () => {
    await using larder = await open();
    stop();
    const pulling = larder.events(reference);
    await until(async () => ((await larder.pulls())[0]?.received ?? 0) >= HALF, 'half of it is fetched');
    assert.match(await home.ok('attach', '--list'), /^ID .*HELD UP BY\n[0-9a-f]{8} .*library\/demo:latest .* %/);
    const [plain, json] = [home.start(['attach']), home.start(['attach', '--json', reference])];
    let said = '';
    plain.process.stderr?.on('data', (text: string) => {
      said += text;
    });
    let lines = '';
    json.process.stdout?.on('data', (text: string) => {
      lines += text;
    });
    await until(() => said.includes('pulls it') && lines.includes('snapshot'), 'both are attached');
    source.setFault();
    await pulling.result;
    const ends = await Promise.all([plain.ended, json.ended]);
    assert.deepEqual(
      ends.map(({ status }) => status),
      [0, 0],
    );
    assert.equal(ends[0]?.stdout, `${reference}:latest: pulled\n`);
    const events = lines
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).type);
    assert.deepEqual([events[0], events.at(-1)], ['snapshot', 'ended']);
    const none = await home.run(['attach', reference]);
    assert.deepEqual([none.status, none.stdout], [3, '']);
    assert.equal(await home.ok('attach'), 'no pull is under way');
  });
});

describe('what a pull has told', () => {
  let home: CommandHome;
  let path: string;

  beforeEach(() => {
    home = new CommandHome();
    path = join(home.directory, 'pulls', 'log');
  });
  afterEach(() => home.dispose());

  const facts: PullFacts = { id: '1', reference: 'r', platform: 'linux/amd64', pid: 1, startedAtMs: 1 };
  const plan: LarderEvent = { type: 'plan', layers: [{ layer: 'a', size: 1e9, state: 'fetch' }] };
  const start: LarderEvent = { type: 'layer-start', layer: 'a', size: 1e9, resumedFrom: 0 };
  const retry = (what: string): LarderEvent => ({ type: 'retry', what, reason: '', attempt: 1, afterMs: 0 });
  const fail = (event: LarderEvent): void => assert.fail(JSON.stringify(event));
  const opened = async (): Promise<PullTail> => {
    let tail: PullTail | undefined;
    await until(async () => {
      tail = await PullTail.open(path);
      return tail !== undefined;
    }, 'the file is there');
    return tail ?? assert.fail();
  };

  test('is begun again when it has grown long, and who reads it slowly gets a snapshot and the rest', async () => {
    const log = new PullLog(facts, path, fail);
    log.note(plan);
    log.note(start);
    const tail = await opened();
    await tail.read();
    for (let i = 0; i < 300; i++) log.note(retry('x'.repeat(1_000)));
    await until(() => readFileSync(path).length > 256 * 1024, 'it is long');
    log.note({ type: 'layer-progress', layer: 'a', received: 500, written: 900 });
    log.note(retry('last'));
    await until(() => readFileSync(path).length < 64 * 1024, 'it is begun again');
    const events = (await tail.read()).map(({ event }) => event);
    assert.equal(events.filter(({ type }) => type === 'retry').length, 301);
    const snapshot = events.find(({ type }) => type === 'snapshot');
    assert.ok(snapshot?.type === 'snapshot');
    assert.equal(snapshot.layers[0]?.received, 500);
    await log.end({ type: 'ended', outcome: 'done' });
    assert.deepEqual(
      (await tail.read()).map(({ event }) => event.type),
      ['ended'],
    );
    await tail.read();
    assert.ok(tail.isGone);
    await tail.close();
  });

  test('is one step of progress for many, for who looks seldom', async () => {
    const log = new PullLog(facts, path, fail);
    log.note(start);
    const tail = await opened();
    for (let received = 0; received < 100_000; received++)
      log.note({ type: 'layer-progress', layer: 'a', received, written: 0 });
    await log.end({ type: 'ended', outcome: 'done' });
    const events = await tail.read();
    assert.ok(events.length < 10, String(events.length));
    await tail.close();
  });

  test('may have lines that are no events: they are passed over', async () => {
    mkdirSync(join(home.directory, 'pulls'));
    const good = JSON.stringify({ atMs: 1, event: { type: 'of-tomorrow' } });
    const odd = [
      { type: 'plan', layers: 7 },
      { type: 'snapshot', layers: [] },
      { type: 'snapshot', pull: {} },
      { type: 'layer-start', layer: 'x', size: -1, resumedFrom: 0 },
      { type: 'layer-progress', layer: 'x', received: 'much', written: 0 },
      { type: 'plan', layers: [{ layer: 'x', size: 1.5, state: 'fetch' }] },
    ]
      .map((event) => `${JSON.stringify({ atMs: 1, event })}\n`)
      .join('');
    const lines = `no json\n[]\nnull\n{"atMs":1}\n{"atMs":"x","event":{"type":"x"}}\n${odd}${good}\n{"atMs":1,"ev`;
    writeFileSync(path, lines);
    const tail = await opened();
    assert.deepEqual(
      (await tail.read()).map(({ event }) => event.type),
      ['of-tomorrow'],
    );
    await tail.close();
  });

  test('is no file of ours where something else lies there, or more than we write', async () => {
    mkdirSync(path, { recursive: true });
    assert.equal(await PullTail.open(path), undefined);
    rmdirSync(path);
    symlinkSync('/etc/hostname', path);
    assert.equal(await PullTail.open(path), undefined);
    unlinkSync(path);
    writeFileSync(path, '');
    truncateSync(path, 2 ** 40);
    assert.equal(await PullTail.open(path), undefined);
  });

  test('is gone where nothing more can be told: nobody follows what has become silent', async () => {
    const told: LarderEvent[] = [];
    const log = new PullLog(facts, path, (event) => told.push(event));
    log.note(start);
    await (await opened()).close();
    // It cannot be begun again.
    writeFileSync(`${path}.new`, '');
    log.note(retry('x'.repeat(300_000)));
    await until(() => readFileSync(path).length > 256 * 1024, 'it is long');
    log.note(retry('last'));
    await until(() => told.length > 0, 'it is told');
    assert.deepEqual(readdirSync(join(home.directory, 'pulls')), []);
    await log.end({ type: 'ended', outcome: 'done' });
  });
});
