import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { startNode } from '../helpers/child.js';
import { BIN_PATH, CommandHome } from '../helpers/command.js';
import { needsRoot } from '../helpers/temporary.js';

const ANNA = 54_001;

describe('larder doctor', { skip: needsRoot }, () => {
  let home: CommandHome;

  beforeEach(() => {
    home = new CommandHome();
  });
  afterEach(() => home.dispose());

  test('says what it found', async () => {
    assert.match(await home.ok('doctor'), /^works +mount: .*\nEROFS is sound here$/s);
    assert.equal(await home.ok('check'), 'clean');
  });

  test('tells an ordinary user that it needs root to look', async () => {
    mkdirSync(home.root, { mode: 0o700 });
    chmodSync(home.directory, 0o711);
    chownSync(home.root, ANNA, ANNA);
    const run = (command: string) =>
      startNode(BIN_PATH, ['--root', home.root, command], { cwd: '/', uid: ANNA, gid: ANNA, env: home.environment() })
        .ended;
    const { status, stderr } = await run('doctor');
    assert.notEqual(status, 0);
    assert.match(stderr, /^larder: doctor: look at what the kernel makes of EROFS: mounting needs root\n/);
    assert.equal((await run('check')).stdout, 'clean\n');
  });
});
