import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { needsRoot } from '../helpers/temporary.js';
import { Disk } from './attached-disk.js';
import { type CrashState, crashStates } from './crash-states.js';
import { appendEvent, type DiskEvent, readEvents } from './disk-log.js';
import { History, isAllowed, NONE } from './history.js';
import { type Below, ImageFile, Medium } from './medium.js';
import { MUTANTS, missingIn } from './mutants.js';
import { type PowerOptions, runMutant, runPower } from './power.js';

const skip = needsRoot || (existsSync('/dev/fuse') ? false : 'needs /dev/fuse');
const SHORT: PowerOptions = {
  fileSystem: 'ext4',
  seed: 1,
  lives: 2,
  subsets: 2,
  torn: 1,
  states: 20,
  deepEvery: 1,
  twiceEvery: 6,
};

test('a power cut loses nothing that was acknowledged, and leaves no wrong layer', { skip }, async () => {
  const { faults, unmountable, judged, promises } = await runPower(SHORT);
  assert.deepEqual([...faults, ...unmountable], []);
  assert.equal(
    Object.values(judged).reduce((sum, count) => sum + count),
    SHORT.states,
  );
  assert.ok(promises > 5, `${promises} promises`);
});

for (const name of ['layer.tar is not synced', 'a transaction answers before it is on the disk']) {
  test(`a power cut shows that ${name}`, { skip }, async () => {
    const mutant = MUTANTS.find((one) => one.name === name) ?? assert.fail();
    assert.ok(await runMutant(mutant, SHORT));
  });
}

test('each mistake of the long form can be made in what the code says now', () => {
  assert.deepEqual(MUTANTS.flatMap(missingIn), []);
});

const ZEROS: Below = { signature: 0n, readPage: (_, target) => void target.fill(0), hashOf: () => 0n };
const FLUSH: DiskEvent = { kind: 'flush' };

function write(offset: number, text: string, length = 512): DiskEvent {
  return { kind: 'write', offset, bytes: Buffer.alloc(length, text) };
}

function states(events: readonly DiskEvent[], subsets = 0, torn = 0): CrashState[] {
  return [...crashStates(events, ZEROS, { seed: 1, subsets, torn })];
}

test('between two flushes there is each number of writes in their order', () => {
  const events = [write(0, 'a'), FLUSH, write(512, 'b'), write(1024, 'c'), FLUSH];
  assert.deepEqual(
    states(events).map(({ epoch, events: arrived }) => [epoch, arrived]),
    [
      [0, []],
      [1, []],
      [1, [2]],
      [2, []],
    ],
  );
});

test('what comes later may arrive alone, and what is long in part', () => {
  const events = [write(0, 'a'), write(8192, 'b', 4096), FLUSH];
  const found = states(events, 20, 20);
  assert.ok(found.some(({ kind, events: arrived }) => kind === 'subset' && arrived.join() === '1'));
  assert.ok(found.some(({ torn }) => torn?.event === 1 && torn.sectors.length > 0 && torn.sectors.length < 8));
});

test('states that leave the same on the disk are one, unless more was promised meanwhile', () => {
  const again = [write(0, 'a'), FLUSH, write(0, 'a'), write(0, 'a'), FLUSH];
  assert.equal(states(again).length, 2);
  assert.equal(states([...again, { kind: 'mark', text: '' }, FLUSH]).length, 3);
});

test('what was begun may be so or not, and what has answered is so', () => {
  const history = new History();
  const allowed = (state: string): boolean => isAllowed(history.images, 'image', state);
  history.take({ what: 'begin', op: 'pull', images: { image: ['a', 'b'] } });
  assert.ok(allowed(NONE) && allowed('a b') && !allowed('a'));
  history.take({ what: 'ok', op: 'pull', images: { image: ['a', 'b'] } });
  assert.ok(!allowed(NONE) && allowed('a b'));
  history.take({ what: 'begin', op: 'remove', images: { image: null } });
  assert.ok(allowed(NONE) && allowed('a b'));
});

test('a disk is what its state says, byte for byte, and forgets what was written to it since', { skip }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'larder-disk-'));
  try {
    const [image, log] = [join(directory, 'image'), join(directory, 'log')];
    closeSync(openSync(image, 'w'));
    truncateSync(image, 1 << 20);
    const events = [write(0, 'a'), write(4096, 'b', 8192), FLUSH, write(512, 'c', 70_000), write(300_000, 'd'), FLUSH];
    const to = openSync(log, 'w');
    for (const event of events) appendEvent(to, event);
    closeSync(to);
    assert.deepEqual(readEvents(log), events);
    const fd = openSync(image, 'r');
    mkdirSync(join(directory, 'disk'));
    await using disk = await Disk.attach({ mode: 'replay', directory: join(directory, 'disk'), image, log });
    for (const state of states(events, 3, 3)) {
      disk.become(state);
      const expected = new Medium(new ImageFile(fd));
      for (let i = 0; i < 3 && state.epoch > 0; i++) expected.apply(events[i] ?? FLUSH);
      for (const i of state.events) expected.apply(events[i] ?? FLUSH);
      if (state.epoch > 1) for (const i of [3, 4]) expected.apply(events[i] ?? FLUSH);
      const sectors = new Set(state.torn?.sectors);
      if (state.torn !== undefined) expected.apply(events[state.torn.event] ?? FLUSH, (one) => sectors.has(one));
      const [is, must] = [readAll(disk.device), Buffer.alloc(1 << 20)];
      expected.read(must, 0);
      assert.ok(is.equals(must), JSON.stringify(state));
      overwrite(disk.device);
    }
    closeSync(fd);
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
});

function readAll(device: string): Buffer {
  const bytes = Buffer.alloc(1 << 20);
  const fd = openSync(device, 'r');
  for (let at = 0; at < bytes.length; ) at += readSync(fd, bytes, at, bytes.length - at, at);
  closeSync(fd);
  return bytes;
}

function overwrite(device: string): void {
  const fd = openSync(device, 'r+');
  for (let at = 0; at < 1 << 20; at += 65_536) writeSync(fd, Buffer.alloc(65_536, 'x'), 0, 65_536, at);
  closeSync(fd);
}
