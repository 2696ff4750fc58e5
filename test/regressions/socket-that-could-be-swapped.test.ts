import assert from 'node:assert/strict';
import { lchownSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { takeSocket } from '../../src/daemon/socket-place.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

let directory: string;
beforeEach(() => {
  directory = makeDirectory();
});
afterEach(() => removeDirectory(directory));

test('a socket is not made where the owner of a directory above it could put his own', {
  skip: needsRoot,
}, async () => {
  const ours = join(directory, 'his', 'ours');
  mkdirSync(ours, { recursive: true, mode: 0o700 });
  lchownSync(join(directory, 'his'), 65_534, 65_534);
  for (const name of ['x.sock', 'new/x.sock']) {
    await assert.rejects(takeSocket(join(ours, name)), {
      code: 'LARDER_STORE_UNSAFE',
      message: /belongs to user 65534/,
    });
  }
  assert.deepEqual(readdirSync(ours), []);
  lchownSync(join(directory, 'his'), 0, 0);
  (await takeSocket(join(ours, 'x.sock'))).release();
});
