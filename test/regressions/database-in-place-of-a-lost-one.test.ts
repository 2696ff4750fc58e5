import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Database } from '../../src/metadata/database.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('where there is no database', () => {
  let directory: string;
  let path: string;

  beforeEach(() => {
    directory = makeDirectory();
    path = join(directory, 'metadata', 'larder.db');
  });
  afterEach(() => removeDirectory(directory));

  it('none is made when a rebuild was killed between moving the old one away and naming the new one', async () => {
    const isLost = async (): Promise<boolean> => true;
    await assert.rejects(Database.open(path, { isLost }), { code: 'LARDER_METADATA_CORRUPT' });
    assert.equal(existsSync(path), false);
  });

  it('a new one takes nothing from the log of the one before, and what killed creators left is gone', async () => {
    const old = await Database.open(path);
    await old.transaction((writer) => writer.run('INSERT INTO active_layers VALUES (?)', 'sha256:old'));
    copyFileSync(`${path}-wal`, join(directory, 'log'));
    old.close();
    rmSync(path);
    renameSync(join(directory, 'log'), `${path}-wal`);
    writeFileSync(`${path}.killed.tmp`, 'half');
    mkdirSync(join(directory, 'metadata', 'damaged-once'));
    const fresh = await Database.open(path);
    try {
      assert.deepEqual(fresh.integrity(), []);
      assert.deepEqual(fresh.all('SELECT * FROM active_layers'), []);
    } finally {
      fresh.close();
    }
    assert.equal(existsSync(`${path}.killed.tmp`), false);
    assert.equal(existsSync(join(directory, 'metadata', 'damaged-once')), true);
  });
});
