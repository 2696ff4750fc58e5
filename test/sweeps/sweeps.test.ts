import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { randomOf } from '../nemesis/words.js';
import { MUTANTS, sweepMutant } from './mutants.js';
import { whyNoSweep } from './seccomp.js';
import { errorSweep, FAULTS, killSweep, type SweepOptions, type SweepResult } from './sweep.js';
import { Tracer } from './tracer.js';
import { type StoreType, World } from './world.js';

const skip = whyNoSweep();

let docker: World | undefined;

before(async () => {
  if (skip === false) docker = await World.make('docker');
});

after(() => docker?.[Symbol.asyncDispose]());

/** The long form is `npm run sweep`; here are some points of it. */
async function sweeping(
  type: StoreType,
  work: (options: Pick<SweepOptions, 'world' | 'tracer'>) => Promise<readonly SweepResult[]>,
): Promise<void> {
  await using own = type === 'docker' ? undefined : await World.make(type);
  const world = own ?? docker;
  assert.ok(world !== undefined);
  await using tracer = new Tracer();
  const results = await work({ world, tracer });
  assert.deepEqual(
    results.flatMap(({ violations }) => violations),
    [],
  );
  assert.ok(results.every(({ points, swept }) => points > 5 && swept > 0));
}

function some(count: number, seed: number): (points: number) => readonly number[] {
  const random = randomOf(seed);
  return (points) => Array.from({ length: count }, () => 1 + random(points));
}

test('a process killed in front of a change leaves a sound store of Docker images', { skip }, () =>
  sweeping('docker', async (parts) => [
    await killSweep({ ...parts, operation: 'pull', choose: some(3, 1) }),
    await killSweep({ ...parts, operation: 'provision-copy', choose: some(2, 2) }),
    await killSweep({ ...parts, operation: 'prune', choose: some(1, 3) }),
    await killSweep({ ...parts, operation: 'recover', choose: some(1, 4) }, { operation: 'provision-erofs', at: 0.8 }),
  ]),
);

test('a process killed in front of a change leaves a sound store of Appc images', { skip }, () =>
  sweeping('appc', async (parts) => [await killSweep({ ...parts, operation: 'pull', choose: some(2, 5) })]),
);

const [spaceOnce, space, quota] = FAULTS;

test('an image is provisioned or not on a full disk, and the caller hears the first reason', { skip }, () =>
  sweeping('docker', async (parts) => {
    assert.ok(spaceOnce !== undefined && space !== undefined && quota !== undefined);
    const operation = 'provision-copy';
    return [
      // The last change is of the lease, when everything is done.
      await errorSweep({ ...parts, operation, choose: (points) => [points - 3, points - 1] }, spaceOnce),
      await errorSweep({ ...parts, operation, choose: (points) => [points >> 1] }, space),
      await errorSweep({ ...parts, operation, choose: some(1, 6) }, quota),
    ];
  }),
);

test('a record that outlives its layer, and a failure that is kept, do not get past the sweeps', { skip }, async () => {
  const world = docker;
  assert.ok(world !== undefined);
  const mutants = MUTANTS.filter(({ name }) => /^a layer goes before|^what could not be made/.test(name));
  assert.equal(mutants.length, 2);
  for (const mutant of mutants) {
    const { violations } = await sweepMutant(world, mutant, 2);
    assert.ok(violations.length > 0, mutant.name);
  }
});
