import assert from 'node:assert/strict';
import fs, { closeSync, readdirSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Layout } from '../../src/layout.js';
import { type FileLock, tryLockFile } from '../../src/linux/file-lock.js';
import { flock } from '../../src/linux/flock.js';
import { isHandleAlive, openHandle } from '../../src/metadata/handles.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

/** Sixteen processes on two cores: who looked was not let run for longer than a thousand tries took. */
describe('a store that is opened while somebody looks who else has it open', () => {
  const { openSync } = fs;
  let directory: string;
  let looking: number | undefined;

  beforeEach(() => {
    directory = makeDirectory();
    looking = undefined;
  });

  afterEach(() => {
    fs.openSync = openSync;
    syncBuiltinESMExports();
    if (looking !== undefined) closeSync(looking);
    removeDirectory(directory);
  });

  it('is opened, however long he takes', async () => {
    const layout = new Layout(directory);
    fs.openSync = (path, ...more) => {
      const fd = openSync(path, ...more);
      if (looking === undefined && String(path).startsWith(`${layout.handles}/`)) {
        looking = openSync(path, 'r');
        assert.ok(flock(looking, 'shared'));
      }
      return fd;
    };
    syncBuiltinESMExports();
    using handle = await openHandle(layout);
    assert.notEqual(looking, undefined);
    assert.ok(isHandleAlive(layout, handle.id));
    assert.deepEqual(readdirSync(layout.handles), [handle.id]);
  });

  it('is opened by another handle while its first one is taken for dead', async () => {
    const layout = new Layout(directory);
    let dead: FileLock | undefined;
    fs.openSync = (path, ...more) => {
      const fd = openSync(path, ...more);
      if (dead === undefined && String(path).startsWith(`${layout.handles}/`)) {
        fs.openSync = openSync;
        syncBuiltinESMExports();
        dead = tryLockFile(String(path), 'exclusive', { create: false });
      }
      return fd;
    };
    syncBuiltinESMExports();
    using handle = await openHandle(layout);
    // As `recover` of another process does; by now the file has gone.
    dead?.release({ unlink: true });
    assert.notEqual(dead, undefined);
    assert.deepEqual(readdirSync(layout.handles), [handle.id]);
  });
});
