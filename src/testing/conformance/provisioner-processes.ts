/** Several processes, and processes that are killed: cases of the provisioner's suite. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ContainerJob,
  type ContainerProcess,
  type ProvisionerCase,
  type ProvisionerFixture,
  requireNothing,
  rootfsOf,
} from './provisioner-fixture.js';

const ROUNDS = 20;

export const processCases: Record<string, ProvisionerCase> = {
  'a container outlives the process that made it': async (fixture) => {
    if (fixture.inProcess === undefined) return;
    await requireEnd(start(fixture, 'provision', 'c'));
    const rootfs = await rootfsOf(fixture, 'c');
    assert.equal(readFileSync(join(rootfs, 'image'), 'utf8'), 'this is image\n');
    await fixture.provisioner.recover(['c']);
    assert.equal(readFileSync(join(rootfs, 'image'), 'utf8'), 'this is image\n');
    assert.equal(await fixture.provisioner.destroy('c'), true);
  },
  'eight processes make and destroy containers of one image, and no mount is left': async (fixture) => {
    if (fixture.inProcess === undefined) return;
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, fixture.state().imageMounts.length);
    }, 5);
    const processes = Array.from({ length: 8 }, (_, i) => start(fixture, 'cycle', `c${i}`, 4));
    try {
      for (const process of processes) await requireEnd(process);
    } finally {
      clearInterval(watch);
    }
    if (fixture.sharesMounts) assert.equal(most, 1);
    await requireNothing(fixture);
  },
  'a process that is killed anywhere in provision leaves nothing that destroy does not undo': async (fixture) => {
    if (fixture.inProcess === undefined) return;
    const length = await lengthOf(fixture, 'provision');
    let halves = 0;
    // Others may have been let run since that was measured: then later and later.
    for (let round = 0; round < ROUNDS || (halves === 0 && round < 5 * ROUNDS); round++) {
      await killedAfter(start(fixture, 'provision', 'c'), (length * 1.2 * (round + Math.random())) / ROUNDS);
      if ((await fixture.provisioner.list()).length > 0) halves++;
      await fixture.provisioner.destroy('c');
      await requireNothing(fixture);
    }
    assert.ok(halves > 0, 'no process was killed after its claim');
  },
  'a process that is killed anywhere in destroy leaves nothing that recover does not undo': async (fixture) => {
    if (fixture.inProcess === undefined) return;
    const length = await lengthOf(fixture, 'destroy');
    for (let round = 0; round < ROUNDS / 2; round++) {
      await killedAfter(start(fixture, 'destroy', 'c'), (length * 2 * (round + Math.random())) / ROUNDS);
      await fixture.provisioner.recover([]);
      await requireNothing(fixture);
    }
  },
};

function start(fixture: ProvisionerFixture, what: ContainerJob['what'], id: string, rounds = 1): ContainerProcess {
  fixture.publish();
  const { inProcess, backend } = fixture;
  if (inProcess === undefined) assert.fail('no processes');
  return inProcess({ what, id, image: fixture.image('image'), backend, rounds });
}

async function requireEnd({ ended }: ContainerProcess): Promise<void> {
  const { status, stderr } = await ended;
  assert.equal(status, 0, stderr);
}

/** How long the work takes, with the image here. */
async function lengthOf(fixture: ProvisionerFixture, what: 'provision' | 'destroy'): Promise<number> {
  let ms = 0;
  for (const _ of ['fetches the image', 'counts']) {
    const process = start(fixture, what, 'c');
    await process.ready;
    const since = performance.now();
    await requireEnd(process);
    ms = performance.now() - since;
    await fixture.provisioner.destroy('c');
  }
  return ms;
}

async function killedAfter(process: ContainerProcess, ms: number): Promise<void> {
  await process.ready;
  await sleep(ms);
  process.kill();
  const { status, stderr } = await process.ended;
  assert.ok(status === 'SIGKILL' || status === 0, stderr);
}
