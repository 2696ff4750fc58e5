import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { prepareRoot } from '../../src/store-root.js';
import { start } from '../helpers/child.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const SOURCE = new URL('../../src/store-root.js', import.meta.url).href;
const PREPARE = `const { prepareRoot } = await import(${JSON.stringify(SOURCE)}); await prepareRoot(process.argv[1]);`;

const canDelay = spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0;

test('a store that others make while it is opened for the first time is a store', {
  skip: canDelay ? false : 'needs strace',
}, async () => {
  const directory = makeDirectory();
  const root = join(directory, 'store');
  try {
    // It sees that there is no format, and comes to look at the directory's names only when others have filled it.
    const late = ['-f', '-qq', '-o', '/dev/null', '-P', join(root, 'format'), '-e', 'inject=openat:delay_exit=1000000'];
    const child = start('strace', [...late, process.execPath, '--input-type=module', '-e', PREPARE, root]);
    while (!existsSync(root) && child.process.exitCode === null) await sleep(1);
    await sleep(100);
    await prepareRoot(root);
    mkdirSync(join(root, 'blobs'), { mode: 0o700 });
    assert.deepEqual(await child.ended, { status: 0, stdout: '', stderr: '' });
  } finally {
    removeDirectory(directory);
  }
});
