import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { Database } from '../../src/metadata/database.js';
import { Grants } from '../../src/metadata/grants.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const APP = 'quay.io/team/app';

describe('grants', () => {
  let directory: string;
  let database: Database;
  let grants: Grants;
  beforeEach(async () => {
    directory = makeDirectory();
    database = await Database.open(join(directory, 'metadata', 'larder.db'));
    grants = new Grants(database, 1000);
  });
  afterEach(() => {
    database.close();
    removeDirectory(directory);
  });

  test('are of one user and one repository', async () => {
    await grants.put(7, APP);
    assert.ok(grants.has(7, APP));
    for (const [uid, repository] of [
      [8, APP],
      [0, APP],
      [7, 'quay.io/team'],
      [7, 'quay.io/team/app/x'],
      [7, 'QUAY.io/team/app'],
    ] as const)
      assert.ok(!grants.has(uid, repository), `${uid} ${repository}`);
  });

  test('count for their time, from the last proof on, and not before it', async () => {
    await grants.put(7, APP, 5000);
    assert.ok(grants.has(7, APP, 5999));
    assert.ok(!grants.has(7, APP, 6000));
    assert.ok(!grants.has(7, APP, 4999));
    await grants.put(7, APP, 6000);
    assert.ok(grants.has(7, APP, 6999));
  });

  test('can be taken back', async () => {
    await grants.put(7, APP);
    await grants.put(8, APP);
    await grants.revoke(7, APP);
    await grants.revoke(7, APP);
    assert.ok(!grants.has(7, APP));
    assert.ok(grants.has(8, APP));
  });

  test('are there after the database was opened again', async () => {
    await grants.put(7, APP);
    database.close();
    database = await Database.open(join(directory, 'metadata', 'larder.db'));
    assert.ok(new Grants(database, 60_000).has(7, APP));
  });

  test('from before the clock was set back make room for those of today', async () => {
    await database.transaction((writer) => {
      for (let i = 0; i < 10_000; i++) writer.run('INSERT INTO grants VALUES (7, ?, ?)', `r/${i}`, 9_000_000 + i);
    });
    await grants.put(7, APP, 5000);
    assert.ok(grants.has(7, APP, 5000));
  });

  test('of one user are bounded: the oldest go', async () => {
    await database.transaction((writer) => {
      for (let i = 0; i < 10_000; i++) writer.run('INSERT INTO grants VALUES (7, ?, ?)', `r/${i}`, 1000 + i);
      writer.run('INSERT INTO grants VALUES (8, ?, ?)', APP, 1);
    });
    await grants.put(7, APP, 20_000);
    const count = database.get('SELECT count(*) AS n FROM grants WHERE uid = 7');
    assert.equal(count?.['n'], 10_000);
    assert.ok(!grants.has(7, 'r/0', 1000));
    assert.ok(grants.has(7, 'r/1', 1001));
    assert.ok(grants.has(8, APP, 1));
  });
});
