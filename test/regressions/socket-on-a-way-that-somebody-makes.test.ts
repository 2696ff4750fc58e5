import assert from 'node:assert/strict';
import fs, { lchownSync, mkdirSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { takeSocket } from '../../src/daemon/socket-place.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

/** He could put a socket of his own in its place, to which clients send logins. */
describe('a socket below directories that are missing', { skip: needsRoot }, () => {
  const real = fs.mkdirSync;
  let directory: string;

  beforeEach(() => {
    directory = makeDirectory();
  });

  afterEach(() => {
    fs.mkdirSync = real;
    syncBuiltinESMExports();
    removeDirectory(directory);
  });

  it('is not made where another user is faster to make one of them', async () => {
    const [his, ours] = [join(directory, 'his'), join(directory, 'his', 'ours')];
    let made = false;
    fs.mkdirSync = ((...values: Parameters<typeof real>) => {
      if (!made && String(values[0]).startsWith(his)) {
        made = true;
        real(his, 0o755);
        lchownSync(his, 54_001, 54_001);
      }
      return real(...values);
    }) as typeof real;
    syncBuiltinESMExports();
    await assert.rejects(takeSocket(join(ours, 'larder.sock')), {
      code: 'LARDER_STORE_UNSAFE',
      message: /another one could be put in its place at \S+\/his: it belongs to user 54001/,
    });
    assert.ok(made);
    fs.mkdirSync = real;
    syncBuiltinESMExports();
    mkdirSync(join(directory, 'own'), { mode: 0o700 });
    (await takeSocket(join(directory, 'own', 'larder.sock'))).release();
  });
});
