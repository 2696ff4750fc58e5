import assert from 'node:assert/strict';
import fs, { writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { indexTask } from '../../src/layers/index-task.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { file, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { diffIdOf } from '../layers/lab.js';

const TAR = tar([file('a', 'x'.repeat(5000))]);

/** That nothing can be removed there, either, was what the caller heard, without a code of larder's. */
describe('files of a layer that are made again on a disk which turns read-only', () => {
  const { fsyncSync, rmSync } = fs;
  let directory: string;

  beforeEach(() => {
    directory = makeDirectory();
  });

  afterEach(() => {
    Object.assign(fs, { fsyncSync, rmSync });
    syncBuiltinESMExports();
    removeDirectory(directory);
  });

  it('are refused with what was wrong first', async () => {
    const tarPath = join(directory, 'layer.tar');
    writeFileSync(tarPath, TAR);
    const refuse = (syscall: string) => () => {
      throw Object.assign(new Error(`EROFS: read-only file system, ${syscall}`), {
        code: 'EROFS',
        errno: -30,
        syscall,
      });
    };
    Object.assign(fs, { fsyncSync: refuse('fsync'), rmSync: refuse('rmdir') });
    syncBuiltinESMExports();
    const outDir = join(directory, 'out');
    const job = { diffId: diffIdOf(TAR), tarPath, tarSize: TAR.length, outDir, limits: DEFAULT_LAYER_LIMITS };
    const { signal } = new AbortController();
    await assert.rejects(indexTask(job, { signal, ask: async () => undefined, send: () => {} }), {
      code: 'LARDER_PERMISSION',
    });
  });
});
