import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { ErrorCode } from '../../src/errors.js';
import { Database } from '../../src/metadata/database.js';
import { MetadataManager } from '../../src/metadata/metadata-manager.js';
import { openSqlite } from '../../src/metadata/sqlite.js';
import { sampleRecord } from '../../src/testing/conformance/metadata-manager.js';
import { type Place, place } from './fixture.js';

async function withPlace(body: (here: Place, path: string) => Promise<void>): Promise<void> {
  const here = await place();
  try {
    await body(here, here.layout.database);
  } finally {
    await here.dispose();
  }
}

const REFERENCE = 'docker.io/library/a:1';

/** A closed database with 300 images, all of it in the one file. */
async function filled(here: Place): Promise<void> {
  const database = await here.open();
  const metadata = MetadataManager.create({ database, type: 'docker' });
  await Promise.all(
    Array.from({ length: 300 }, (_, i) => metadata.put(sampleRecord(i === 0 ? REFERENCE : `r${i}`, ['base', `${i}`]))),
  );
  database.get('PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
}

async function opensWith(code: ErrorCode, here: Place): Promise<void> {
  for (const readOnly of [false, true]) {
    await assert.rejects(
      here.open({ readOnly }),
      (error: { code: string; hint?: string }) => error.code === code && error.hint !== undefined,
    );
  }
}

test('a new database is one whole file, and its directory is private', () =>
  withPlace(async (here, path) => {
    const database = await here.open();
    assert.deepEqual(database.integrity(), []);
    const names = readdirSync(join(path, '..')).filter((name) => !/-(wal|shm)$/.test(name));
    assert.deepEqual(names.sort(), ['larder.db', 'writer.lock']);
  }));

test('ten handles that open a new store at once all get the same database', () =>
  withPlace(async (here) => {
    const databases = await Promise.all(Array.from({ length: 10 }, () => here.open()));
    const managers = databases.map((database) => MetadataManager.create({ database, type: 'docker' }));
    await Promise.all(managers.map((metadata, i) => metadata.put(sampleRecord(`r${i}`, ['base']))));
    for (const metadata of managers) assert.equal([...metadata.list()].length, 10);
  }));

test('writes are durable: WAL, synchronous=FULL, foreign keys', () =>
  withPlace(async (here) => {
    const database = await here.open();
    assert.equal(database.get('PRAGMA journal_mode')?.['journal_mode'], 'wal');
    assert.equal(database.get('PRAGMA synchronous')?.['synchronous'], 2);
    assert.equal(database.get('PRAGMA foreign_keys')?.['foreign_keys'], 1);
  }));

test('a transaction that throws changes nothing, and the next one works', () =>
  withPlace(async (here) => {
    const database = await here.open();
    const add = (): Promise<unknown> =>
      database.transaction((writer) => writer.run("INSERT INTO leases VALUES ('l', 'h', 1)"));
    const failing = database.transaction((writer) => {
      writer.run("INSERT INTO leases VALUES ('l', 'h', 1)");
      assert.equal(database.all('SELECT * FROM leases').length, 1, 'it sees its own writes');
      throw new Error('second thoughts');
    });
    await assert.rejects(failing, /second thoughts/);
    assert.deepEqual(database.all('SELECT * FROM leases'), []);
    await add();
    assert.equal(database.all('SELECT * FROM leases').length, 1);
  }));

test('a transaction that waits for its turn can be cancelled', () =>
  withPlace(async (here) => {
    const [one, two] = [await here.open(), await here.open()];
    const controller = new AbortController();
    const first = one.transaction(() => controller.abort());
    await assert.rejects(
      two.transaction(() => assert.fail('ran'), { signal: controller.signal }),
      { code: 'LARDER_ABORTED' },
    );
    await first;
  }));

test('a snapshot does not see what others commit meanwhile', () =>
  withPlace(async (here, path) => {
    const database = await here.open();
    const other = openSqlite(path, false);
    const count = (): unknown => database.get('SELECT count(*) AS n FROM leases')?.['n'];
    database.snapshot(() => {
      assert.equal(count(), 0);
      other.exec("INSERT INTO leases VALUES ('l', 'h', 1)");
      assert.equal(count(), 0);
    });
    assert.equal(count(), 1);
    other.close();
  }));

test('a database that was opened for reading refuses to write, and takes no lock', () =>
  withPlace(async (here) => {
    await filled(here);
    const readers = await Promise.all(Array.from({ length: 5 }, () => here.open({ readOnly: true })));
    for (const database of readers) {
      const metadata = MetadataManager.create({ database, type: 'docker' });
      assert.equal([...metadata.list()].length, 300);
      await assert.rejects(metadata.remove(REFERENCE), { code: 'LARDER_PERMISSION' });
    }
  }));

test('readers in other processes see one state each while a writer commits', () =>
  withPlace(async (here, path) => {
    const database = await here.open();
    const metadata = MetadataManager.create({ database, type: 'docker' });
    await metadata.put(sampleRecord(REFERENCE, ['0', 'x', 'y']));
    const script = join(import.meta.dirname, 'reader-child.js');
    const readers = [1, 2, 3].map(() =>
      spawn(process.execPath, [script, path], { stdio: ['ignore', 'ignore', 'inherit'] }),
    );
    const ended = Promise.all(readers.map((reader) => once(reader, 'exit')));
    let writing = true;
    void ended.then(() => {
      writing = false;
    });
    for (let i = 1; writing; i++) await metadata.put(sampleRecord(REFERENCE, [`${i}`, `x${i}`, `y${i}`]));
    assert.deepEqual(
      (await ended).map(([code]) => code),
      [0, 0, 0],
    );
  }));

test('opening for reading where there is no store is an error, and creates nothing', () =>
  withPlace(async (here, path) => {
    await assert.rejects(here.open({ readOnly: true }), { code: 'LARDER_PATH_NOT_FOUND' });
    assert.equal(existsSync(join(path, '..')), false);
  }));

test('a newer schema is refused, and the file stays as it is', () =>
  withPlace(async (here, path) => {
    await filled(here);
    const sqlite = openSqlite(path, false);
    sqlite.exec('PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)');
    sqlite.close();
    const before = readFileSync(path);
    await opensWith('LARDER_FORMAT_VERSION', here);
    assert.deepEqual(readFileSync(path), before);
  }));

test('a file that is not a database is reported as damaged', () =>
  withPlace(async (here, path) => {
    mkdirSync(join(path, '..'));
    writeFileSync(path, 'a'.repeat(10_000));
    await opensWith('LARDER_METADATA_CORRUPT', here);
  }));

test('an empty file is reported as damaged, not taken for a new store', () =>
  withPlace(async (here, path) => {
    mkdirSync(join(path, '..'));
    writeFileSync(path, '');
    await opensWith('LARDER_METADATA_CORRUPT', here);
  }));

test("another program's database is reported as damaged", () =>
  withPlace(async (here, path) => {
    mkdirSync(join(path, '..'));
    const sqlite = openSqlite(path, false);
    sqlite.exec('CREATE TABLE t (x)');
    sqlite.close();
    await opensWith('LARDER_METADATA_CORRUPT', here);
  }));

test('a database that was cut is reported as damaged when it is read', () =>
  withPlace(async (here, path) => {
    await filled(here);
    removeLog(path);
    truncateSync(path, 40_960);
    await reportsDamage(here);
  }));

test('a database with a page of noise is reported as damaged when it is read', () =>
  withPlace(async (here, path) => {
    await filled(here);
    removeLog(path);
    const bytes = readFileSync(path);
    for (let page = 2; page * 4096 < bytes.length; page++) bytes.fill(0xa5, page * 4096, page * 4096 + 200);
    writeFileSync(path, bytes);
    await reportsDamage(here);
  }));

test('a column that is no digest is reported as damaged', () =>
  withPlace(async (here, path) => {
    await filled(here);
    const sqlite = openSqlite(path, false);
    sqlite.exec("UPDATE images SET manifest = '../../etc/passwd'");
    sqlite.close();
    const metadata = MetadataManager.create({ database: await here.open(), type: 'docker' });
    assert.throws(() => metadata.get(REFERENCE, true, 'linux/amd64'), { code: 'LARDER_METADATA_CORRUPT' });
  }));

test('integrity tells of a row whose owner is gone', () =>
  withPlace(async (here, path) => {
    await filled(here);
    const sqlite = openSqlite(path, false);
    sqlite.exec(
      `PRAGMA foreign_keys = OFF; INSERT INTO claim_blobs VALUES ('gone', 0, 'sha256:0'), ('gone', 1, 'sha256:0')`,
    );
    sqlite.close();
    assert.equal((await here.open()).integrity().length, 2);
  }));

test('loading SQLite prints no warning of its own, and does not swallow those of others', () =>
  withPlace(async (_here, path) => {
    const script = `
      const { Database } = await import(${JSON.stringify(import.meta.resolve('../../src/metadata/database.js'))});
      (await Database.open(${JSON.stringify(path)})).close();
      process.emitWarning('something else', 'ExperimentalWarning');`;
    const { stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    assert.doesNotMatch(stderr, /SQLite/);
    assert.match(stderr, /something else/);
  }));

test('closing twice is one close, and using a closed database is an error', () =>
  withPlace(async (here) => {
    const database = await here.open();
    database.close();
    database.close();
    assert.throws(() => database.all('SELECT 1'), { code: 'LARDER_INTERNAL' });
  }));

/** Each time another file, as when it is made again; the `old` ones stay, so that none has the number of another. */
const REPLACE = `
  const { copyFileSync, renameSync } = require('node:fs');
  const { workerData: path } = require('node:worker_threads');
  for (let i = 0; ; i++) {
    copyFileSync(path, path + '.next');
    renameSync(path, path + '.old' + i);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    renameSync(path + '.next', path);
  }`;

test('who opens a database while it is made again is told to open it again, and of no error of the disk', () =>
  withPlace(async (_, path) => {
    (await Database.open(path)).close();
    const replacing = new Worker(REPLACE, { eval: true, workerData: path });
    try {
      await once(replacing, 'online');
      let replaced = 0;
      for (const endMs = performance.now() + 300; performance.now() < endMs || replaced === 0; ) {
        try {
          (await Database.open(path, { isLost: async () => true })).close();
        } catch (error) {
          assert.equal((error as { code?: ErrorCode }).code, 'LARDER_METADATA_CORRUPT', String(error));
          replaced++;
        }
      }
    } finally {
      await replacing.terminate();
    }
  }));

test('a database that was moved elsewhere whole is the same database', () =>
  withPlace(async (here, path) => {
    await filled(here);
    const copy = join(here.layout.root, 'copy', 'larder.db');
    mkdirSync(join(copy, '..'));
    copyFileSync(path, copy);
    const database = await Database.open(copy);
    assert.equal([...MetadataManager.create({ database, type: 'docker' }).list()].length, 300);
    database.close();
  }));

/** As after an orderly end of the last process; what the tests damage is then all there is. */
function removeLog(path: string): void {
  for (const suffix of ['-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
}

async function reportsDamage(here: Place): Promise<void> {
  const readAll = async (): Promise<void> => {
    const metadata = MetadataManager.create({ database: await here.open(), type: 'docker' });
    [...metadata.list()];
  };
  await assert.rejects(readAll(), (error: { code: string; hint?: string }) => {
    return error.code === 'LARDER_METADATA_CORRUPT' && error.hint !== undefined;
  });
}
