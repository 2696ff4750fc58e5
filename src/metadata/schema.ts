/** The tables, drawn once. Times are milliseconds since the epoch; digests and DiffIDs are `algorithm:hex`. */

/** Raise it with every change, and teach `database.ts` the way from the version before. */
export const SCHEMA_VERSION = 1;

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
