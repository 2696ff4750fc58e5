/** The tables, drawn once. Times are milliseconds since the epoch; digests and DiffIDs are `algorithm:hex`. */

/** Raise it with every change, and teach `database.ts` the way from the version before. */
export const SCHEMA_VERSION = 3;

export const SCHEMA = `
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
    pinned     INTEGER NOT NULL DEFAULT 0,        -- 1: only unpin and remove let it go
    UNIQUE (type, reference, platform)
  ) STRICT;

  -- Rows of an image that is gone count for nothing. They go when they are swept: thousands of them would make the
  -- transaction long that forgets an image, and that one runs under the store lock.
  CREATE TABLE image_layers (
    image      INTEGER NOT NULL,
    position   INTEGER NOT NULL,                  -- 0 is the base layer (I7)
    diff_id    TEXT NOT NULL,
    digest     TEXT NOT NULL,                     -- as transferred
    size       INTEGER NOT NULL,                  -- as transferred
    media_type TEXT NOT NULL,
    view       TEXT,                              -- how its entries are read; NULL: as OCI does
    PRIMARY KEY (image, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);

  -- Documents that an image needs beside digest, manifest and config; swept as image_layers are.
  CREATE TABLE image_blobs (
    image    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    digest   TEXT NOT NULL,
    PRIMARY KEY (image, position)
  ) STRICT, WITHOUT ROWID;

  -- Layers that were adopted, whether or not an image names them.
  CREATE TABLE layers (
    diff_id        TEXT PRIMARY KEY,
    tar_size       INTEGER NOT NULL,
    entries        INTEGER NOT NULL,
    index_sha256   TEXT NOT NULL,
    index_size     INTEGER NOT NULL,
    extra_sha256   TEXT,                          -- NULL: no layer.extra
    extra_size     INTEGER NOT NULL,
    derived_format INTEGER NOT NULL,              -- what the checksums are of (I10)
    suspect        INTEGER NOT NULL DEFAULT 0     -- 1: a check read bytes that are not the layer's; read again before use
  ) STRICT, WITHOUT ROWID;

  CREATE INDEX suspect_layers ON layers (diff_id) WHERE suspect = 1;

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
    container TEXT PRIMARY KEY,
    owner     TEXT NOT NULL,
    created   INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- Each root filesystem of a container: its own, whose name is empty, and its image volumes'.
  CREATE TABLE claim_images (
    container  TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    name       TEXT NOT NULL,
    type       TEXT NOT NULL,
    reference  TEXT NOT NULL,
    platform   TEXT NOT NULL,
    backend    TEXT NOT NULL,
    rootfs     TEXT NOT NULL,
    merged_key TEXT,                              -- the shared mount that it uses
    PRIMARY KEY (container, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX claim_images_by_merged_key ON claim_images (merged_key);

  CREATE TABLE claim_layers (
    container TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE,
    image     INTEGER NOT NULL,                   -- the position in claim_images
    position  INTEGER NOT NULL,
    diff_id   TEXT NOT NULL,
    view      TEXT,
    PRIMARY KEY (container, image, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX claim_layers_by_diff_id ON claim_layers (diff_id);

  CREATE TABLE claim_blobs (
    container TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    digest    TEXT NOT NULL,
    PRIMARY KEY (container, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX claim_blobs_by_digest ON claim_blobs (digest);

  -- Layers that the last prune was told to be in use although no claim names them; they stay until the next one.
  CREATE TABLE active_layers (diff_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

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

  -- What references resolved to, and when: who asks why an image changed, or wants the old one back, reads it here.
  CREATE TABLE history (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    reference TEXT NOT NULL,
    digest    TEXT NOT NULL,
    at        INTEGER NOT NULL,
    seen      INTEGER NOT NULL,                   -- when it was last found to be so
    platform  TEXT NOT NULL DEFAULT '',           -- '': of a time when nobody wrote it down
    image_id  TEXT NOT NULL DEFAULT '',           -- the same
    how       TEXT NOT NULL DEFAULT 'resolved'    -- resolved, taken-back
  ) STRICT;
  CREATE INDEX history_by_reference ON history (reference, id);

  -- Whose logins have reached which repositories: only these users are served what is here of them.
  CREATE TABLE grants (
    uid        INTEGER NOT NULL,
    repository TEXT NOT NULL,                     -- domain/path
    proven     INTEGER NOT NULL,
    PRIMARY KEY (uid, repository)
  ) STRICT, WITHOUT ROWID;
`;

/** From each version to the next; run in one transaction. */
export const MIGRATIONS: Readonly<Record<number, string>> = {
  1: `
    ALTER TABLE images ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE image_layers RENAME TO old_image_layers;
    CREATE TABLE image_layers (
      image INTEGER NOT NULL, position INTEGER NOT NULL, diff_id TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
      media_type TEXT NOT NULL, view TEXT, PRIMARY KEY (image, position)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO image_layers SELECT image, position, diff_id, digest, size, media_type, NULL FROM old_image_layers;
    DROP TABLE old_image_layers;
    CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);
    CREATE TABLE image_blobs (
      image    INTEGER NOT NULL,
      position INTEGER NOT NULL,
      digest   TEXT NOT NULL,
      PRIMARY KEY (image, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE active_layers (diff_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

    CREATE TEMP TABLE old_claims AS SELECT * FROM claims;
    CREATE TEMP TABLE old_claim_images AS SELECT * FROM claim_images;
    CREATE TEMP TABLE old_claim_layers AS SELECT * FROM claim_layers;
    CREATE TEMP TABLE old_claim_blobs AS SELECT * FROM claim_blobs;
    DROP TABLE claim_images;
    DROP TABLE claim_layers;
    DROP TABLE claim_blobs;
    DROP TABLE claims;
    CREATE TABLE claims (container TEXT PRIMARY KEY, owner TEXT NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE claim_images (
      container TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE, position INTEGER NOT NULL,
      name TEXT NOT NULL, type TEXT NOT NULL, reference TEXT NOT NULL, platform TEXT NOT NULL, backend TEXT NOT NULL,
      rootfs TEXT NOT NULL, merged_key TEXT, PRIMARY KEY (container, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claim_images_by_merged_key ON claim_images (merged_key);
    CREATE TABLE claim_layers (
      container TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE, image INTEGER NOT NULL,
      position INTEGER NOT NULL, diff_id TEXT NOT NULL, view TEXT, PRIMARY KEY (container, image, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claim_layers_by_diff_id ON claim_layers (diff_id);
    CREATE TABLE claim_blobs (
      container TEXT NOT NULL REFERENCES claims (container) ON DELETE CASCADE, position INTEGER NOT NULL,
      digest TEXT NOT NULL, PRIMARY KEY (container, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claim_blobs_by_digest ON claim_blobs (digest);
    INSERT INTO claims SELECT container, owner, created FROM old_claims;
    INSERT INTO claim_images
      SELECT i.container, i.position, '', i.type, i.reference, i.platform, c.backend, c.rootfs, c.merged_key
      FROM old_claim_images i JOIN old_claims c USING (container) WHERE i.position = 0;
    INSERT INTO claim_layers SELECT container, 0, position, diff_id, NULL FROM old_claim_layers;
    INSERT INTO claim_blobs SELECT * FROM old_claim_blobs;
    DROP TABLE old_claims;
    DROP TABLE old_claim_images;
    DROP TABLE old_claim_layers;
    DROP TABLE old_claim_blobs;
  `,
  2: `
    CREATE TABLE grants (
      uid INTEGER NOT NULL, repository TEXT NOT NULL, proven INTEGER NOT NULL, PRIMARY KEY (uid, repository)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE layers ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX suspect_layers ON layers (diff_id) WHERE suspect = 1;
    ALTER TABLE history RENAME TO old_history;
    DROP INDEX history_by_reference;
    CREATE TABLE history (
      id INTEGER PRIMARY KEY AUTOINCREMENT, reference TEXT NOT NULL, digest TEXT NOT NULL, at INTEGER NOT NULL,
      seen INTEGER NOT NULL, platform TEXT NOT NULL DEFAULT '', image_id TEXT NOT NULL DEFAULT '',
      how TEXT NOT NULL DEFAULT 'resolved'
    ) STRICT;
    INSERT INTO history (id, reference, digest, at, seen) SELECT id, reference, digest, at, at FROM old_history;
    DROP TABLE old_history;
    CREATE INDEX history_by_reference ON history (reference, id);
  `,
};
