import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Claims } from '../../src/metadata/claims.js';
import { Database } from '../../src/metadata/database.js';
import { Grants } from '../../src/metadata/grants.js';
import { History } from '../../src/metadata/history.js';
import { Layers } from '../../src/metadata/layers.js';
import { MetadataManager } from '../../src/metadata/metadata-manager.js';
import { openSqlite } from '../../src/metadata/sqlite.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

/** As the first version made it. */
const SCHEMA_1 = `
  -- One image under one reference and platform. Its row is the commit of a pull (I3).
  CREATE TABLE images (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so that a stale id cannot name a newer record
    type       TEXT NOT NULL,                     -- docker, appc
    reference  TEXT NOT NULL,                     -- canonical
    platform   TEXT NOT NULL,                     -- os/arch[/variant]
    digest     TEXT NOT NULL,                     -- what the reference resolved to
    manifest   TEXT NOT NULL,
    config     TEXT NOT NULL,
    created    INTEGER NOT NULL,
    last_used  INTEGER NOT NULL,
    UNIQUE (type, reference, platform)
  ) STRICT;

  CREATE TABLE image_layers (
    image      INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,                  -- 0 is the base layer (I7)
    diff_id    TEXT NOT NULL,
    digest     TEXT NOT NULL,                     -- as transferred
    size       INTEGER NOT NULL,                  -- as transferred
    media_type TEXT NOT NULL,
    PRIMARY KEY (image, position),
    UNIQUE (image, diff_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);

  -- Layers that were adopted, whether or not an image names them.
  CREATE TABLE layers (
    diff_id        TEXT PRIMARY KEY,
    tar_size       INTEGER NOT NULL,
    entries        INTEGER NOT NULL,
    index_sha256   TEXT NOT NULL,
    index_size     INTEGER NOT NULL,
    extra_sha256   TEXT,                          -- NULL: no layer.extra
    extra_size     INTEGER NOT NULL,
    derived_format INTEGER NOT NULL               -- what the checksums are of (I10)
  ) STRICT, WITHOUT ROWID;

  -- What was made from several layers.
  CREATE TABLE derived (
    kind   TEXT NOT NULL,                         -- merged, chain
    key    TEXT NOT NULL,
    sha256 TEXT NOT NULL,                         -- '' for a directory
    size   INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE derived_layers (
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    position INTEGER NOT NULL,
    diff_id  TEXT NOT NULL,
    PRIMARY KEY (kind, key, position),
    FOREIGN KEY (kind, key) REFERENCES derived (kind, key) ON DELETE CASCADE
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX derived_layers_by_diff_id ON derived_layers (diff_id);

  -- A container's hold; durable before its mount (I4).
  CREATE TABLE claims (
    container  TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    backend    TEXT NOT NULL,
    rootfs     TEXT NOT NULL,
    merged_key TEXT,                              -- the shared mount that it uses
    created    INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX claims_by_merged_key ON claims (merged_key);

  CREATE TABLE claim_images (
    container TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    type      TEXT NOT NULL,
    reference TEXT NOT NULL,
    platform  TEXT NOT NULL,
    PRIMARY KEY (container, position)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE claim_layers (
    container TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    diff_id   TEXT NOT NULL,
    PRIMARY KEY (container, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX claim_layers_by_diff_id ON claim_layers (diff_id);

  CREATE TABLE claim_blobs (
    container TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    digest    TEXT NOT NULL,
    PRIMARY KEY (container, position)
  ) STRICT, WITHOUT ROWID;

  -- A pull's hold; counts only while its handle's lock file is locked.
  CREATE TABLE leases (
    id      TEXT PRIMARY KEY,
    handle  TEXT NOT NULL,
    created INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE lease_layers (
    lease   TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (lease, diff_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE lease_blobs (
    lease  TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY (lease, digest)
  ) STRICT, WITHOUT ROWID;

  -- What references resolved to, and when: who asks why an image changed reads it here.
  CREATE TABLE history (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    reference TEXT NOT NULL,
    digest    TEXT NOT NULL,
    at        INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX history_by_reference ON history (reference, id);
`;

const hex = (digit: string): string => `sha256:${digit.repeat(64)}`;

test('a database of the first version is upgraded in place, with its images and claims', async () => {
  const directory = makeDirectory();
  const path = join(directory, 'metadata', 'larder.db');
  mkdirSync(join(directory, 'metadata'));
  const old = openSqlite(path, false);
  old.exec(
    `PRAGMA journal_mode = WAL; BEGIN; ${SCHEMA_1}; PRAGMA application_id = ${0x6c726472}; PRAGMA user_version = 1; COMMIT`,
  );
  old.exec(`
    INSERT INTO images VALUES (7, 'docker', 'docker.io/library/a:1', 'linux/amd64', '${hex('1')}', '${hex('2')}', '${hex('3')}', 10, 20);
    INSERT INTO image_layers VALUES (7, 0, '${hex('a')}', '${hex('b')}', 5, 'application/vnd.oci.image.layer.v1.tar');
    INSERT INTO claims VALUES ('c', 'me', 'erofs', '/store/containers/c/rootfs', 'k1', 30);
    INSERT INTO claim_images VALUES ('c', 0, 'docker', 'docker.io/library/a:1', 'linux/amd64');
    INSERT INTO claim_layers VALUES ('c', 0, '${hex('a')}');
    INSERT INTO claim_blobs VALUES ('c', 0, '${hex('2')}');
    INSERT INTO layers VALUES ('${hex('a')}', 512, 1, 'i', 2, NULL, 0, 1);
    INSERT INTO history VALUES (4, 'docker.io/library/a:1', '${hex('1')}', 10);
  `);
  old.close();
  try {
    const opened = await Promise.all([1, 2, 3].map(() => Database.open(path)));
    const [database = assert.fail()] = opened;
    const image = MetadataManager.create({ database, type: 'docker' }).get(
      'docker.io/library/a:1',
      true,
      'linux/amd64',
    );
    assert.deepEqual(
      image?.layers.map(({ diffId }) => diffId),
      [hex('a')],
    );
    assert.equal(image?.pinned, undefined);
    const [claim = assert.fail('no claim')] = new Claims(database).list();
    assert.equal(claim.container, 'c');
    assert.deepEqual(claim.blobs, [hex('2')]);
    assert.deepEqual(claim.images, [
      {
        name: '',
        type: 'docker',
        reference: 'docker.io/library/a:1',
        platform: 'linux/amd64',
        backend: 'erofs',
        rootfs: '/store/containers/c/rootfs',
        layers: [{ diffId: hex('a') }],
        mergedKey: 'k1',
      },
    ]);
    const grants = new Grants(database, 1000);
    await grants.put(7, 'quay.io/team/app');
    assert.ok(grants.has(7, 'quay.io/team/app'));
    assert.equal(new Layers(database).list()[0]?.suspect, undefined);
    assert.deepEqual(new History(database).list('docker.io/library/a:1', 'linux/amd64'), [
      {
        reference: 'docker.io/library/a:1',
        platform: '',
        digest: hex('1'),
        imageId: '',
        how: 'resolved',
        atMs: 10,
        seenMs: 10,
      },
    ]);
    assert.deepEqual(database.integrity(), []);
    for (const one of opened) one.close();
  } finally {
    removeDirectory(directory);
  }
});
