import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { hexOf } from '../../src/spec/digest.js';
import { ACTIONS, LAYERS } from './crash-actions.js';
import { Lab } from './lab.js';

const child = fileURLToPath(new URL('./crash-child.js', import.meta.url));

/** The steps that an action goes through, in order, and how it ended. */
async function run(root: string, action: string, step?: string): Promise<{ steps: string[]; killed: boolean }> {
  const args = [child, root, action, ...(step === undefined ? [] : [step])];
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args);
    return { steps: stdout.trim().split('\n'), killed: false };
  } catch (error) {
    const { signal, stdout, stderr } = error as { signal: string; stdout: string; stderr: string };
    assert.equal(signal, 'SIGKILL', stderr);
    return { steps: stdout.trim().split('\n'), killed: true };
  }
}

/** I2: what is under layers/ hashes to its name. I3, as far as it is ours: a record has its tar. */
function checkInvariants(lab: Lab): void {
  const names = readdirSync(lab.layout.layers);
  for (const name of names) {
    assert.deepEqual(readdirSync(join(lab.layout.layers, name)), ['layer.tar']);
    const bytes = readFileSync(join(lab.layout.layers, name, 'layer.tar'));
    assert.equal(createHash('sha256').update(bytes).digest('hex'), name);
  }
  for (const record of lab.layerRecords.values())
    assert.ok(names.includes(hexOf(record.diffId)), 'a record without tar');
  for (const { key, sha256 } of lab.derivedRecords.values()) {
    assert.equal(
      createHash('sha256')
        .update(readFileSync(lab.layout.merged(key)))
        .digest('hex'),
      sha256,
    );
  }
}

describe('a process that is killed', () => {
  let seeds: string;
  before(async () => {
    seeds = await mkdtemp(join(tmpdir(), 'larder-crash-'));
    await run(join(seeds, 'empty'), 'none');
    await run(join(seeds, 'full'), 'adopt');
  });
  after(() => rm(seeds, { recursive: true, force: true }));

  for (const [action, seed] of [
    ['adopt', 'empty'],
    ['merge', 'full'],
    ['retire', 'full'],
  ] as const) {
    it(`before any step of ${action} leaves a sound store, and ${action} can be done again`, async () => {
      const whole = join(seeds, `${action}-whole`);
      await cp(join(seeds, seed), whole, { recursive: true });
      const steps = [...new Set((await run(whole, action)).steps)];
      assert.ok(steps.length >= 4, steps.join());
      for (const step of steps) {
        const root = join(seeds, `${action}-${steps.indexOf(step)}`);
        await cp(join(seeds, seed), root, { recursive: true });
        assert.equal((await run(root, action, step)).killed, true);
        const lab = new Lab(root);
        try {
          checkInvariants(lab);
          await lab.layers.recover(async () => false);
          checkInvariants(lab);
          assert.deepEqual(await lab.leftovers(), []);
          await ACTIONS[action]?.(lab);
          checkInvariants(lab);
          assert.deepEqual(await lab.leftovers(), []);
          assert.equal(await lab.layers.has(LAYERS[0] ?? assert.fail()), action !== 'retire');
        } finally {
          await lab[Symbol.asyncDispose]();
        }
      }
    });
  }

  it('at any moment of a pull leaves a sound store', async () => {
    for (let afterMs = 60; afterMs < 260; afterMs += 25) {
      const root = join(seeds, `pull-${afterMs}`);
      await cp(join(seeds, 'empty'), root, { recursive: true });
      const process_ = spawn(process.execPath, [child, root, 'adopt'], { stdio: 'ignore' });
      const ended = new Promise((resolve) => process_.once('exit', resolve));
      await sleep(afterMs);
      process_.kill('SIGKILL');
      await ended;
      const lab = new Lab(root);
      try {
        checkInvariants(lab);
        await lab.layers.recover(async () => false);
        assert.deepEqual(await lab.leftovers(), []);
        await ACTIONS['adopt']?.(lab);
        checkInvariants(lab);
      } finally {
        await lab[Symbol.asyncDispose]();
      }
    }
  });
});
