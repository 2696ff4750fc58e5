import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isLarderError, systemError } from '../../src/errors.js';
import { makeDirectories } from '../../src/linux/make-directories.js';
import { removeTree } from '../../src/linux/remove-tree.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

test('a quota that is reached is no space, though libuv has no name for it', () => {
  const error = Object.assign(new Error('Unknown system error -122, write'), {
    code: 'Unknown system error -122',
    errno: -122,
  });
  assert.equal(systemError('write', error).code, 'LARDER_NO_SPACE');
});

/** A file system of its own. */
function withTmpfs(options: string, body: (mount: string) => void): void {
  const directory = makeDirectory();
  try {
    const mount = join(directory, 'mount');
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', mount]);
    body(mount);
  } finally {
    removeDirectory(directory);
  }
}

test('a directory that there is no inode for is refused for want of space', { skip: needsRoot }, () =>
  withTmpfs('size=1m,nr_inodes=3', (mount) => {
    assert.throws(
      () => makeDirectories(join(mount, 'a', 'b', 'c', 'd')),
      (error: unknown) => isLarderError(error, 'LARDER_NO_SPACE'),
    );
    assert.equal(statSync(join(mount, 'a', 'b')).mode & 0o777, 0o700);
  }),
);

test('a tree that cannot be removed is not left open', { skip: needsRoot }, () =>
  withTmpfs('size=1m', (mount) => {
    mkdirSync(join(mount, 'tree', 'below'), { recursive: true });
    writeFileSync(join(mount, 'tree', 'file'), '');
    execFileSync('mount', ['-o', 'remount,ro', mount]);
    const before = readdirSync('/proc/self/fd').length;
    assert.throws(() => removeTree(join(mount, 'tree')), { code: 'EROFS' });
    assert.equal(readdirSync('/proc/self/fd').length, before);
  }),
);
