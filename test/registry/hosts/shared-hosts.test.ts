import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { LarderEvent } from '../../../src/events.js';
import { Layout } from '../../../src/layout.js';
import { HostHealth } from '../../../src/registry/hosts/host-health.js';
import { SharedHosts } from '../../../src/registry/hosts/shared-hosts.js';
import { digestOf } from '../../../src/spec/digest.js';
import { makeDirectory, removeDirectory } from '../../helpers/temporary.js';

let root: string;
let clock: { ms: number; wallMs: number };

/** As another process would have it: with a clock of its own, which began some other time. */
function processAt(startedMs = 0, at = root): HostHealth {
  return new HostHealth(new SharedHosts(new Layout(at)), {
    now: () => clock.ms + startedMs,
    wall: () => clock.wallMs,
  });
}

function pass(ms: number): void {
  clock.ms += ms;
  clock.wallMs += ms;
}

const pathOf = (host: string) => new Layout(root).host(digestOf(Buffer.from(host)));

function say(host: string, text: string): void {
  mkdirSync(new Layout(root).hosts, { recursive: true });
  writeFileSync(pathOf(host), text);
}

beforeEach(() => {
  root = makeDirectory();
  clock = { ms: 5000, wallMs: Date.now() };
});
afterEach(() => removeDirectory(root));

describe('processes of one store', () => {
  it('know of the pause that a host asked one of them for', () => {
    processAt().pause('registry.example', 20_000);
    const other = processAt(7_000_000);
    assert.equal(other.pausedMs('registry.example'), 20_000);
    assert.equal(other.pausedMs('other.example'), 0);
    pass(15_000);
    assert.equal(other.pausedMs('registry.example'), 5_000);
    pass(6_000);
    assert.equal(other.pausedMs('registry.example'), 0);
  });

  it('hear of it although they have asked before', () => {
    const [one, other] = [processAt(), processAt(1)];
    assert.equal(other.pausedMs('registry.example'), 0);
    one.pause('registry.example', 3_000);
    assert.equal(other.pausedMs('registry.example'), 3_000);
    other.pause('registry.example', 9_000);
    assert.equal(one.pausedMs('registry.example'), 9_000);
  });

  it('let a host rest that failed for one, longer each time whoever finds out', () => {
    processAt().failed('mirror.example');
    assert.equal(processAt(1).isResting('mirror.example'), true);
    pass(30_001);
    assert.equal(processAt(1).isResting('mirror.example'), false);
    processAt(2).failed('mirror.example');
    pass(45_000);
    assert.equal(processAt(3).isResting('mirror.example'), true);
    pass(15_001);
    assert.equal(processAt(3).isResting('mirror.example'), false);
  });

  it('forget what was long ago', () => {
    for (let i = 0; i < 4; i++) {
      processAt(i).failed('mirror.example');
      pass(300_001);
    }
    pass(600_000);
    processAt().failed('mirror.example');
    pass(30_001);
    assert.equal(processAt(1).isResting('mirror.example'), false);
  });

  it('keep a rest when another process tells of a pause, and the other way', () => {
    processAt().failed('a');
    processAt(1).pause('a', 10_000);
    const third = processAt(2);
    assert.deepEqual([third.isResting('a'), third.pausedMs('a')], [true, 10_000]);
  });
});

describe('a clock that jumps', () => {
  it('back makes nobody wait for longer than a pause can be', () => {
    processAt().pause('a', 60_000);
    clock.wallMs -= 3_600_000;
    assert.equal(processAt(1).pausedMs('a'), 0);
    clock.wallMs += 3_600_000 - 30_000;
    assert.ok(processAt(2).pausedMs('a') <= 60_000);
  });

  it('forward ends what was said, but not for the process that heard it', () => {
    const one = processAt();
    one.pause('a', 60_000);
    clock.wallMs += 3_600_000;
    assert.equal(processAt(1).pausedMs('a'), 0);
    assert.equal(one.pausedMs('a'), 60_000);
  });
});

describe('a file that says what it may not', () => {
  const until = Date.now() + 30_000;
  const good = { host: 'a', restsUntil: until, pausedUntil: until, failures: 1 };
  for (const [what, text] of [
    ['nothing', ''],
    ['half of it', JSON.stringify(good).slice(0, 30)],
    ['no object', '[1]'],
    ['null', 'null'],
    ['another host', JSON.stringify({ ...good, host: 'b' })],
    ['a text', JSON.stringify({ ...good, pausedUntil: 'x', restsUntil: String(until) })],
    ['a negative instant', JSON.stringify({ ...good, pausedUntil: -1 })],
    ['no instant that there is', '{"host":"a","restsUntil":1e999,"pausedUntil":1e999,"failures":1}'],
    ['the far future', JSON.stringify({ ...good, pausedUntil: until + 1e9, restsUntil: Number.MAX_SAFE_INTEGER })],
    ['a great deal', JSON.stringify({ ...good, more: 'x'.repeat(100_000) })],
  ] as const) {
    it(`(${what}) says nothing`, () => {
      say('a', text);
      const health = processAt();
      assert.deepEqual([health.pausedMs('a'), health.isResting('a')], [0, false]);
      health.pause('a', 1000);
      assert.equal(processAt(1).pausedMs('a'), 1000);
    });
  }

  it('and counts a million failures makes a host rest for five minutes', () => {
    say('a', JSON.stringify({ ...good, restsUntil: Date.now() - 1, failures: 1e6 }));
    processAt().failed('a');
    pass(300_001);
    assert.equal(processAt(1).isResting('a'), false);
  });

  it('is a link, a directory or a FIFO: it is not followed, and nobody waits for it', () => {
    say('elsewhere', JSON.stringify({ ...good, pausedUntil: Date.now() + 30_000 }));
    symlinkSync(pathOf('elsewhere'), pathOf('a'));
    mkdirSync(pathOf('b'));
    execFileSync('mkfifo', [pathOf('c')]);
    for (const host of ['a', 'b', 'c']) assert.equal(processAt().pausedMs(host), 0);
    processAt().pause('a', 1000);
    assert.equal(statSync(pathOf('elsewhere')).size > 0, true);
    assert.equal(processAt(1).pausedMs('a'), 1000);
  });
});

describe('the files', () => {
  it('are for nobody else, and hold a name and instants', () => {
    processAt().pause('registry.example:5000', 1000);
    const [name = ''] = readdirSync(join(root, 'hosts'));
    assert.match(name, /^[0-9a-f]{64}$/);
    assert.equal(statSync(join(root, 'hosts', name)).mode & 0o777, 0o600);
    assert.equal(statSync(join(root, 'hosts')).mode & 0o777, 0o700);
    const said = JSON.parse(readFileSync(join(root, 'hosts', name), 'utf8'));
    assert.deepEqual(Object.keys(said), ['host', 'failures', 'restsUntil', 'pausedUntil']);
  });

  it('go when they are old, those of who was killed while writing too', () => {
    processAt().pause('old', 1000);
    say('half', 'x');
    const past = (Date.now() - 3_600_000) / 1000;
    for (const host of ['old', 'half']) utimesSync(pathOf(host), past, past);
    processAt().pause('new', 1000);
    assert.equal(readdirSync(join(root, 'hosts')).length, 1);
  });

  it('are a thousand at most: of further hosts each process knows for itself, and says so once', () => {
    mkdirSync(join(root, 'hosts'));
    for (let i = 0; i < 1000; i++) writeFileSync(join(root, 'hosts', String(i)), '');
    const events: LarderEvent[] = [];
    const health = processAt();
    for (const host of ['a', 'b']) health.pause(host, 1000, (event) => events.push(event));
    assert.equal(health.pausedMs('b'), 1000);
    assert.equal(readdirSync(join(root, 'hosts')).length, 1000);
    assert.deepEqual(
      events.map((event) => event.type === 'warning' && event.message),
      ['tell other processes about a: ENOSPC'],
    );
  });

  it('that cannot be written cost the sharing and nothing else, and that is said once', () => {
    writeFileSync(join(root, 'hosts'), 'not a directory');
    const events: LarderEvent[] = [];
    const health = processAt();
    for (const host of ['a', 'b']) health.failed(host, (event) => events.push(event));
    assert.equal(health.isResting('a'), true);
    assert.equal(processAt(1).isResting('a'), false);
    assert.equal(events.length, 1);
    assert.match(JSON.stringify(events), /tell other processes about a: (ENOTDIR|EEXIST)/);
  });
});
