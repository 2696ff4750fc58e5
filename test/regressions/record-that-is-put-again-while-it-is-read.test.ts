import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Database } from '../../src/metadata/database.js';
import { MetadataManager } from '../../src/metadata/metadata-manager.js';
import { openSqlite } from '../../src/metadata/sqlite.js';
import { sampleDigest, sampleRecord } from '../../src/testing/conformance/metadata-manager.js';
import { type Place, place } from '../metadata/fixture.js';

const RECORD = sampleRecord('docker.io/library/a:1', ['a'], { extraBlobs: [sampleDigest('whitelist')] });

/**
 * Its documents were read after it, and had gone with the old record: a container that was provisioned at that moment held
 * its layers and not what says which of their files it shows.
 */
describe('a record that another process puts again while it is read', () => {
  let here: Place;
  let metadata: MetadataManager;
  let interfere: () => void;

  beforeEach(async () => {
    here = await place();
    const database = await here.open();
    metadata = MetadataManager.create({ database, type: 'docker' });
    await metadata.put(RECORD);
    interfere = () => {
      interfere = () => {};
      const other = openSqlite(here.layout.database, false);
      other.exec('DELETE FROM image_blobs');
      other.close();
    };
    const all = database.all.bind(database);
    Object.assign(database, {
      all: (...values: Parameters<Database['all']>) => {
        const rows = all(...values);
        interfere();
        return rows;
      },
    });
  });

  afterEach(() => here.dispose());

  for (const [how, read] of Object.entries({
    'one record': () => [metadata.get(RECORD.reference, true, RECORD.platform)],
    'those of a reference': () => metadata.find(RECORD.reference),
    'those of a repository': () => metadata.inRepository('docker.io/library/a'),
    'all of them': () => [...metadata.list()],
  })) {
    it(`has its documents: ${how}`, () => {
      const [record] = read();
      assert.deepEqual(record?.extraBlobs, RECORD.extraBlobs);
      assert.equal(
        metadata.get(RECORD.reference, true, RECORD.platform)?.extraBlobs,
        undefined,
        'they have gone since',
      );
    });
  }

  it('has its documents however long who goes through all of them takes', async () => {
    const later = interfere;
    interfere = () => {};
    await metadata.put({ ...RECORD, reference: 'docker.io/library/b:1' });
    const records = metadata.list();
    records.next();
    later();
    assert.deepEqual(records.next().value.extraBlobs, RECORD.extraBlobs);
  });
});
