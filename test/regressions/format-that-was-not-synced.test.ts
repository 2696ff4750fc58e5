import assert from 'node:assert/strict';
import { promises } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { prepareRoot } from '../../src/store-root.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

/** A power cut would leave a store without its format, which nobody opens any more. */
describe('a new store', () => {
  const { open } = promises;
  let directory: string;

  beforeEach(() => {
    directory = makeDirectory();
  });

  afterEach(() => {
    promises.open = open;
    syncBuiltinESMExports();
    removeDirectory(directory);
  });

  it('whose directory the disk does not sync is none', async () => {
    const root = join(directory, 'store');
    promises.open = async (...values) => {
      const handle = await open(...values);
      if (values[0] === root)
        handle.sync = async () => {
          throw Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO', errno: -5, syscall: 'fsync' });
        };
      return handle;
    };
    syncBuiltinESMExports();
    await assert.rejects(prepareRoot(root), { code: 'LARDER_INTERNAL', details: { errno: 'EIO' } });
  });
});
