import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const MAIN = fileURLToPath(new URL('../helpers/larder-main.js', import.meta.url));

test('no image is mounted in the place of what the runtime mounts itself', () => {
  const directory = makeDirectory();
  try {
    const refused: Readonly<Record<string, RegExp>> = {
      '/proc': /its own \/proc/,
      '//./dev/': /its own \/proc/,
      '/sys/fs': /its own \/proc/,
      '/': /not a path below \//,
      '/./': /not a path below \//,
      '/a/../proc': /not a path below \//,
      a: /not an absolute path/,
    };
    for (const [place, message] of Object.entries(refused)) {
      const args = ['--root', join(directory, 'store'), '--socket', 'none', 'run', '--volume', `${place}=b:1`, 'a:1'];
      const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' });
      assert.equal(status, 125, stderr);
      assert.match(stderr, message);
    }
  } finally {
    removeDirectory(directory);
  }
});
