import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Layout } from '../../src/layout.js';
import { lockFile } from '../../src/linux/file-lock.js';
import { Database, writerLockOf } from '../../src/metadata/database.js';
import { openHandle } from '../../src/metadata/handles.js';
import { Leases } from '../../src/metadata/leases.js';
import { sampleDiffId } from '../../src/testing/conformance/metadata-manager.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('a store with leases, closed while another process makes its database again', () => {
  let directory: string;

  beforeEach(() => {
    directory = makeDirectory();
  });

  afterEach(() => removeDirectory(directory));

  it('does not wait for that; the leases end with the handle', async () => {
    const layout = new Layout(directory);
    const database = await Database.open(layout.database);
    try {
      const handle = await openHandle(layout);
      const leases = new Leases({ database, layout, handle });
      await leases.create({ layers: [sampleDiffId('held')] });
      {
        using _busy = await lockFile(writerLockOf(layout.database), 'exclusive');
        await leases.end();
      }
      handle.close();
      assert.equal(await new Leases({ database, layout, handle: await openHandle(layout) }).recover(), 1);
    } finally {
      database.close();
    }
  });
});
