/** What stays and what goes when a containerizer starts anew: cases of the provisioner's suite. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LarderEvent } from '../../events.js';
import { namesOf, type ProvisionerCase, provisionIt, requireNothing, rootfsOf } from './provisioner-fixture.js';

export const recoverCases: Record<string, ProvisionerCase> = {
  'recover destroys the unknown, keeps the known, and lets other owners be': async (fixture) => {
    const other = await fixture.open('another owner');
    await provisionIt(fixture, 'known');
    await provisionIt(fixture, 'unknown');
    await other.provision('foreign', fixture.image('image'), { backend: fixture.backend });
    await fixture.provisioner.recover(['known', 'never-heard-of']);
    assert.deepEqual(
      (await fixture.provisioner.list()).map(({ container }) => container),
      ['foreign', 'known'],
    );
    for (const id of ['foreign', 'known']) {
      assert.equal(readFileSync(join(await rootfsOf(fixture, id), 'image'), 'utf8'), 'this is image\n');
    }
    assert.deepEqual(fixture.state().directories, ['foreign', 'known']);
    await other.recover([]);
    assert.deepEqual(
      (await fixture.provisioner.list()).map(({ container }) => container),
      ['known'],
    );
  },
  'recover keeps a known container whose parent is unknown, and takes only the parent': async (fixture) => {
    for (const id of ['a', 'a/b', 'a/b/c']) await provisionIt(fixture, id);
    await fixture.provisioner.recover(['a/b/c']);
    assert.deepEqual(await namesOf(fixture), ['a/b/c']);
    assert.equal(readFileSync(join(await rootfsOf(fixture, 'a/b/c'), 'image'), 'utf8'), 'this is image\n');
    assert.equal(await fixture.provisioner.destroy('a'), true);
  },
  'recover takes an unknown container although its parent is known': async (fixture) => {
    for (const id of ['a', 'a/b', 'a/c']) await provisionIt(fixture, id);
    await fixture.provisioner.recover(['a', 'a/c']);
    assert.deepEqual(await namesOf(fixture), ['a', 'a/c']);
    for (const id of ['a', 'a/c']) assert.ok(existsSync(join(await rootfsOf(fixture, id), 'image')));
  },
  'recover takes the deepest first': async (fixture) => {
    for (const id of ['a/b', 'a', 'a/b/c']) await provisionIt(fixture, id);
    const gone: string[] = [];
    await fixture.provisioner.recover([], {
      onEvent: (event: LarderEvent) => event.type === 'destroyed' && gone.push(event.container),
    });
    assert.deepEqual(gone, ['a/b/c', 'a/b', 'a']);
    await requireNothing(fixture);
  },
  'recover twice does nothing more': async (fixture) => {
    const { rootfs } = await provisionIt(fixture, 'known');
    writeFileSync(join(rootfs, 'mine'), 'x');
    const mounts = fixture.state().mounts;
    for (let round = 0; round < 2; round++) await fixture.provisioner.recover(['known']);
    assert.equal(readFileSync(join(rootfs, 'mine'), 'utf8'), 'x');
    assert.deepEqual(fixture.state().mounts, mounts);
  },
  'after a reboot the known are as they were, with what they wrote, and the unknown go': async (fixture) => {
    if (fixture.reboot === undefined) return;
    const { rootfs } = await provisionIt(fixture, 'known');
    await provisionIt(fixture, 'unknown/child');
    writeFileSync(join(rootfs, 'mine'), 'x');
    writeFileSync(join(rootfs, 'image'), 'changed');
    const mounts = fixture.state().mounts.filter((path) => path.includes('/known/'));
    fixture.reboot();
    await fixture.provisioner.recover(['known']);
    assert.equal(readFileSync(join(rootfs, 'mine'), 'utf8'), 'x');
    assert.equal(readFileSync(join(rootfs, 'image'), 'utf8'), 'changed');
    assert.equal(readFileSync(join(rootfs, 'below'), 'utf8'), 'this is below\n');
    assert.deepEqual(fixture.state().mounts, mounts);
    assert.deepEqual(fixture.state().directories, ['known']);
  },
  'after a reboot destroy takes what is left': async (fixture) => {
    if (fixture.reboot === undefined) return;
    for (const id of ['a', 'a/b']) await provisionIt(fixture, id);
    fixture.reboot();
    assert.equal(await fixture.provisioner.destroy('a'), true);
    await requireNothing(fixture);
  },
};
