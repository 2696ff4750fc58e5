import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Diagnosis, type ExamineOptions, examineErofs } from '../../src/backends/doctor.js';
import { listMounts } from '../../src/linux/mountinfo.js';
import { check, cString, kernel } from '../../src/linux/syscalls.js';
import { CommandHome } from '../helpers/command.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

describe('examining what the kernel makes of images', { skip: needsRoot }, () => {
  let directory: string;
  beforeEach(() => {
    directory = makeDirectory();
  });
  afterEach(() => removeDirectory(directory));

  async function examine(options: ExamineOptions = {}, at = directory): Promise<Diagnosis[]> {
    const all: Diagnosis[] = [];
    for await (const one of examineErofs(at, options)) all.push(one);
    assert.ok(!listMounts().some(({ mountPoint }) => mountPoint.startsWith(`${at}/`)), 'a mount is left');
    assert.deepEqual(readdirSync(at), [], 'a file is left');
    return all;
  }
  const brokenIn = (all: readonly Diagnosis[]): string[] =>
    all.filter(({ outcome }) => outcome === 'broken').map(({ name }) => name);
  /** Just before the examination. */
  const spoiling = (name: Diagnosis['name'], spoil: (directory: string) => void): ExamineOptions => ({
    step: (next, at) => {
      if (next === name) spoil(at);
    },
  });

  it('finds it sound here, one sentence for each thing that it tried, and leaves nothing', async () => {
    const all = await examine();
    assert.deepEqual(brokenIn(all), []);
    assert.deepEqual(
      all.map(({ name }) => name),
      ['mount', 'reads', 'killed-readers', 'overlay', 'direct-reads', 'short-file'],
    );
    const killed = all.find(({ name }) => name === 'killed-readers')?.message ?? '';
    assert.ok(Number(/^\d+/.exec(killed)?.[0]) > 5, killed);
  });

  it('notices files that read otherwise than they were written', async () => {
    const otherBytes = (at: string): void => writeFileSync(join(at, 'data'), Buffer.alloc(9 * 2 ** 20, 1));
    assert.deepEqual(brokenIn(await examine(spoiling('reads', otherBytes))), ['reads', 'killed-readers', 'overlay']);
  });

  it('notices images that cannot be mounted, and stops there', async () => {
    const all = await examine(spoiling('mount', (at) => truncateSync(join(at, 'image'), 1000)));
    assert.deepEqual(
      all.map(({ name, outcome }) => `${name} ${outcome}`),
      ['mount broken'],
    );
  });

  it('notices an overlay that refuses what containers do', async () => {
    const inTheWay = (at: string): void => mkdirSync(join(at, 'work'));
    assert.deepEqual(brokenIn(await examine(spoiling('overlay', inTheWay))), ['overlay']);
  });

  it('says so where images mount through loop devices only', async () => {
    const root = join(directory, 'tmpfs');
    mkdirSync(root);
    check(kernel().mount(cString('none'), cString(root), cString('tmpfs'), 0, null), 'mount', root);
    const all = await examine({}, root);
    assert.deepEqual(brokenIn(all), []);
    assert.match(all[0]?.message ?? '', /through loop devices/);
    assert.equal(all[0]?.outcome, 'note');
  });

  it('ends when it is cancelled, and leaves nothing', async () => {
    const controller = new AbortController();
    const step = (): void => controller.abort();
    await assert.rejects(examine({ signal: controller.signal, step }), { code: 'LARDER_ABORTED' });
    assert.deepEqual(readdirSync(directory), []);
  });

  it('is a command', async () => {
    const home = new CommandHome();
    try {
      const { sound, diagnoses } = JSON.parse(await home.ok('--json', 'doctor'));
      assert.equal(sound, true);
      assert.equal(diagnoses.length, 6);
      assert.deepEqual(readdirSync(join(home.root, 'staging')), []);
    } finally {
      home.dispose();
    }
  });
});
