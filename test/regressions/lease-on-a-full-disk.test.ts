import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LarderError } from '../../src/errors.js';
import { openHandle } from '../../src/metadata/handles.js';
import { Leases } from '../../src/metadata/leases.js';
import { sampleDiffId } from '../../src/testing/conformance/metadata-manager.js';
import { place } from '../metadata/fixture.js';

test('a lease that a full disk does not let go of fails nobody, and goes with the next change', async () => {
  const here = await place();
  try {
    const database = await here.open();
    const handle = await openHandle(here.layout);
    const leases = new Leases({ database, layout: here.layout, handle });
    const first = await leases.create({ layers: [sampleDiffId('first')] });
    const { transaction } = database;
    database.transaction = async () => {
      throw new LarderError('LARDER_NO_SPACE', 'write metadata: the disk is full');
    };
    await first.release();
    assert.deepEqual(
      leases.listLive().map(({ id }) => id),
      [first.id],
    );

    database.transaction = transaction;
    const second = await leases.create({ layers: [sampleDiffId('second')] });
    assert.deepEqual(
      leases.listLive().map(({ id }) => id),
      [second.id],
    );
    await second.release();
    assert.deepEqual(leases.listLive(), []);
    handle.close();
  } finally {
    await here.dispose();
  }
});
