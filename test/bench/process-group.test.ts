/** What a program uses is counted with all that it starts. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ProcessGroup } from '../../bench/tools/process-group.js';
import { needsRoot } from '../helpers/temporary.js';

/** Shell that uses a fifth of a second of processor time, in a child of a child. */
const BUSY = `sh -c '${process.execPath} -e "while (process.cpuUsage().user < 200_000);"'`;

/** Containers often have the control groups read-only. */
async function needsGroups(): Promise<string | false> {
  try {
    const probe = new ProcessGroup('probe');
    probe.create();
    await probe.remove();
    return false;
  } catch (error) {
    return `needs a control group that can be written: ${String(error)}`;
  }
}

describe('a process group', { skip: needsRoot || (await needsGroups()) }, () => {
  let group: ProcessGroup;
  before(() => {
    group = new ProcessGroup('test');
    group.create();
  });
  after(() => group.remove());

  test('counts the processor time of children that have ended', async () => {
    const { userMs, systemMs } = await group.watch(async () => {
      await group.call('/bin/sh', ['-c', `${BUSY}; true`]);
    });
    assert.ok(userMs + systemMs >= 150, `${userMs} + ${systemMs} ms`);
  });

  test('does not count what ran before', async () => {
    await group.call('/bin/sh', ['-c', BUSY]);
    const { userMs, systemMs } = await group.watch(async () => {
      await group.call('true', []);
    });
    assert.ok(userMs + systemMs < 150, `${userMs} + ${systemMs} ms`);
  });

  test('sees the memory of a child', async () => {
    const hungry = 'const kept = Buffer.alloc(150e6, 1); setTimeout(() => kept, 150);';
    const { peakBytes } = await group.watch(async () => {
      await group.call(process.execPath, ['-e', hungry]);
    });
    assert.ok(peakBytes > 150e6 && peakBytes < 400e6, `${peakBytes} bytes`);
  });

  test('a failure carries what the program said', async () => {
    await assert.rejects(group.call('/bin/sh', ['-c', 'echo no such thing >&2; exit 3']), /exit 3: no such thing/);
  });

  test('a program that is missing is told as one', async () => {
    await assert.rejects(group.call('no-such-program', []), /no-such-program.*exit 127/);
  });

  test('goes away when its last process has', async () => {
    const other = new ProcessGroup('gone');
    other.create();
    await other.call('true', []);
    assert.equal(await other.remove(), true);
  });
});
