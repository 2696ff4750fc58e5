/**
 * ▸ The seed's `MetadataManager`: which image a reference means, and of which layers it is made. Its records are the
 * commit of a pull (I3): before them a layer is garbage, after them it is promised. It owns the tables images and
 * image_layers; there is one for each image type. All answers come from the database, so a failed write leaves the old
 * answer, and what another process wrote counts at once (I9).
 */

import { LarderError } from '../errors.js';
import type { DiffId, Digest } from '../spec/digest.js';
import type { ImageType } from '../spec/image.js';
import type { Database, Row, SqlValue, Writer } from './database.js';
import { NameFiles, type NamesSweep } from './names.js';
import type { ImageLayer, ImageRecord } from './records.js';
import { column, insertList, RowReader } from './rows.js';

export interface MetadataManagerOptions {
  readonly database: Database;
  /** The only type that it keeps, lists and prunes. */
  readonly type: ImageType;
  /** Where each record is said once more; default: beside the database. */
  readonly names?: NameFiles;
}

export interface ImageName {
  readonly reference: string;
  readonly platform: string;
}

export interface ExcludedImage {
  readonly reference: string;
  readonly platform?: string;
}

/** What is on disk, by name: one look for all layers, one for all blobs. */
export interface Presence {
  readonly layers: () => Promise<Pick<ReadonlySet<DiffId>, 'has'>>;
  readonly blobs: () => Promise<Pick<ReadonlySet<Digest>, 'has'>>;
}

/** A record that was dropped because the disk has not what it promises. */
export interface DroppedImage extends ImageName {
  /** DiffIDs and digests. */
  readonly missing: readonly string[];
}

/** What retained records refer to. */
export interface References {
  readonly layers: ReadonlySet<DiffId>;
  /** Of each: what the reference resolved to, the manifest, the config. */
  readonly blobs: ReadonlySet<Digest>;
}

interface StoredRecord {
  readonly id: number;
  readonly record: ImageRecord;
}

/** Times of use closer together than this are one. */
const TOUCH_GRANULARITY_MS = 60_000;

const SELECT = `
  SELECT i.id, i.type, i.reference, i.platform, i.digest, i.manifest, i.config, i.created, i.last_used, i.pinned,
         l.diff_id, l.digest AS layer_digest, l.size, l.media_type, l.view
  FROM images i LEFT JOIN image_layers l ON l.image = i.id
  WHERE i.type = ?`;
const INSERT_IMAGE = `
  INSERT INTO images (type, reference, platform, digest, manifest, config, created, last_used, pinned)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const INSERT_LAYER = `
  INSERT INTO image_layers (image, position, diff_id, digest, size, media_type, view) VALUES (?, ?, ?, ?, ?, ?, ?)`;
const LAYERS_BY_DIGEST = `
  SELECT l.diff_id, l.digest AS layer_digest, l.size, l.media_type, l.view
  FROM image_layers l JOIN images i ON i.id = l.image
  WHERE i.type = ? AND l.media_type = ? AND l.digest IN (SELECT value FROM json_each(?))
  GROUP BY l.digest`;
/** What has rows for each image. */
const LISTS = ['image_layers', 'image_blobs'];
/** Which records, up to an id, name one of these; layers first, in their order. */
const NAMED_BY = `
  WITH missing (name) AS (SELECT value FROM json_each(?)),
       named (id, name, part, position) AS (
         SELECT l.image, m.name, 0, l.position FROM missing m JOIN image_layers l ON l.diff_id = m.name
         UNION ALL SELECT id, manifest, 1, 0 FROM images WHERE manifest IN (SELECT name FROM missing)
         UNION ALL SELECT id, config, 2, 0 FROM images WHERE config IN (SELECT name FROM missing)
         UNION ALL SELECT image, digest, 3, position FROM image_blobs WHERE digest IN (SELECT name FROM missing)
       )
  SELECT DISTINCT i.id, i.reference, i.platform, n.name, n.part, n.position
  FROM named n JOIN images i ON i.id = n.id
  WHERE i.type = ? AND i.id <= ?
  ORDER BY i.reference, i.platform, n.part, n.position`;

export class MetadataManager {
  readonly #database: Database;
  readonly #type: ImageType;
  readonly #files: NameFiles;

  constructor(options: MetadataManagerOptions) {
    this.#database = options.database;
    this.#type = options.type;
    this.#files = options.names ?? NameFiles.beside(options.database.path);
  }

  get type(): ImageType {
    return this.#type;
  }

  static create(options: MetadataManagerOptions): MetadataManager {
    return new MetadataManager(options);
  }

  /**
   * Looks whether each layer, manifest and config of each record is on disk, and forgets the records of which
   * something is missing. Records that change meanwhile are left alone. Durable.
   */
  async recover(presence: Presence): Promise<readonly DroppedImage[]> {
    // 1. The youngest record, before looking: one that is put again from here on has a higher id.
    const last = this.#lastId();
    // 2. What the disk lacks of everything that some record names.
    const missing = await missingNames(this.#database, presence);
    if (missing.length === 0) return [];
    // 3. Who names it. The image index that led to an image may be gone: nothing is read from it.
    return this.#database.transaction((writer) => {
      const broken = this.#namedBy(missing, last);
      return [...broken].flatMap(([id, image]) =>
        writer.run('DELETE FROM images WHERE id = ?', id) > 0 ? [image] : [],
      );
    });
  }

  /**
   * Keeps the record, in place of one with the same reference and platform; durable when it resolves, and answers it.
   * Its layers, manifest and config must be on disk, durably (I3). Rejects with LARDER_NO_SPACE, LARDER_PERMISSION,
   * LARDER_METADATA_CORRUPT; then the old answer stands. LARDER_INTERNAL for a duplicate layer (I7). A pin stays.
   */
  async put(record: ImageRecord): Promise<ImageRecord> {
    this.#require(record);
    // Where there is no room for it, nothing has changed yet.
    const name = await this.#files.prepare(this.#isPinned(record) ? { ...record, pinned: true } : record);
    let stored: ImageRecord;
    try {
      stored = await this.#database.transaction((writer) => {
        const put = this.#isPinned(record) ? { ...record, pinned: true } : record;
        this.#delete(writer, record.reference, record.platform);
        this.#insertAll(writer, put);
        return put;
      });
    } catch (error) {
      await name.discard();
      throw error;
    }
    await name.commit();
    return stored;
  }

  /** For a new database: keeps those that it has no record for yet, as one change. */
  async restore(records: readonly ImageRecord[]): Promise<void> {
    for (const record of records) this.#require(record);
    const there = 'SELECT 1 FROM images WHERE type = ? AND reference = ? AND platform = ?';
    await this.#database.transaction((writer) => {
      for (const record of records) {
        const { type, reference, platform } = record;
        if (this.#database.get(there, type, reference, platform) === undefined) this.#insertAll(writer, record);
      }
    });
  }

  /** The record of exactly this reference and platform. `cached: false` asks for a fresh image: always undefined. */
  get(reference: string, cached: boolean, platform: string): ImageRecord | undefined {
    if (!cached) return undefined;
    const [found] = this.#read('AND i.reference = ? AND i.platform = ? ORDER BY l.position', reference, platform);
    return found;
  }

  /**
   * Forgets every image that is not excluded, durably, and answers what the retained ones need. Without a platform all
   * platforms of the reference are excluded. An excluded image that is not here is passed over.
   */
  async prune(excluded: Iterable<ExcludedImage>): Promise<References> {
    const kept = [...excluded];
    const references = new Set(kept.filter(({ platform }) => platform === undefined).map(({ reference }) => reference));
    const exact = new Set(kept.map(({ reference, platform }) => `${reference} ${platform}`));
    return this.#database.transaction((writer) => {
      for (const { id, reference, platform } of this.#names()) {
        const keep = references.has(reference) || exact.has(`${reference} ${platform}`);
        if (!keep) writer.run('DELETE FROM images WHERE id = ?', id);
      }
      for (const table of LISTS) writer.run(`DELETE FROM ${table} WHERE image NOT IN (SELECT id FROM images)`);
      return { layers: new Set(this.#layers()), blobs: new Set(this.#blobs()) };
    });
  }

  /** By reference, then platform; one state of the database, read at the first step. */
  *list(): IterableIterator<ImageRecord> {
    for (const { record } of this.#records()) yield record;
  }

  /** The records of one reference, on all platforms unless one is given. */
  find(reference: string, platform?: string): ImageRecord[] {
    const where = 'AND i.reference = ? AND (? IS NULL OR i.platform = ?) ORDER BY i.platform, l.position';
    return this.#read(where, reference, platform ?? null, platform ?? null);
  }

  /** The records of all references of a repository (`docker.io/library/alpine`), on all platforms. */
  inRepository(repository: string): ImageRecord[] {
    // What comes after a repository's name begins with ":" or "@"; ";" and "A" are next to these.
    const where = `AND ((i.reference >= ? AND i.reference < ?) OR (i.reference >= ? AND i.reference < ?))
      ORDER BY i.reference, i.platform, l.position`;
    return this.#read(where, ...[':', ';', '@', 'A'].map((end) => `${repository}${end}`));
  }

  /** What images' records say of the layers with these digests and this media type, each once. */
  layersOf(digests: readonly Digest[], mediaType: string): ImageLayer[] {
    const rows = this.#database.all(LAYERS_BY_DIGEST, this.#type, mediaType, JSON.stringify(digests));
    return rows.map((row) => layerOf(new RowReader(this.#database, row)));
  }

  /** All platforms when none is given. How many records there were; durable. */
  async remove(reference: string, platform?: string): Promise<number> {
    const doomed = this.find(reference, platform);
    const removed = await this.#database.transaction((writer) => this.#delete(writer, reference, platform));
    await this.#files.remove(doomed);
    return removed;
  }

  /**
   * Drops the files that say once more what no record of any type says any longer, and those that were not finished. How
   * many; `turn` runs a short piece of it with the store lock to itself.
   */
  async sweepNames(turn: NamesSweep['turn']): Promise<number> {
    const sql = 'SELECT type, reference, platform FROM images';
    const one = `${sql} WHERE type = ? AND reference = ? AND platform = ?`;
    const read = (row: RowReader) => ({
      type: row.imageType('type'),
      reference: row.text('reference'),
      platform: row.text('platform'),
    });
    return this.#files.sweep({
      keys: () => column(this.#database, read, sql),
      isRecorded: ({ type, reference, platform }) => this.#database.get(one, type, reference, platform) !== undefined,
      turn,
    });
  }

  /** Records whose file, which says them once more, is not as it was written. */
  async *damagedNames(): AsyncGenerator<ImageRecord, void, undefined> {
    for (const record of this.list()) if (await this.#files.isDamaged(record)) yield record;
  }

  /** Writes that file again. The caller holds the store lock shared, as for {@link put}. False when there is no such record. */
  async nameAgain({ reference, platform }: ImageName): Promise<boolean> {
    const record = this.get(reference, true, platform);
    if (record === undefined) return false;
    await (await this.#files.prepare(record)).commit();
    return true;
  }

  /** Notes that the image was used, to the minute. Not synced. */
  async touch(image: ImageName, atMs: number = Date.now()): Promise<void> {
    const { reference, platform } = image;
    const record = this.get(reference, true, platform);
    if (record === undefined || atMs - record.lastUsedAtMs < TOUCH_GRANULARITY_MS) return;
    const sql = 'UPDATE images SET last_used = max(last_used, ?) WHERE type = ? AND reference = ? AND platform = ?';
    // Only which image was used least lately depends on it.
    const unsynced = { durable: false };
    await this.#database.transaction((writer) => writer.run(sql, atMs, this.#type, reference, platform), unsynced);
  }

  /**
   * Lets only `remove` and unpinning take the image, or no longer; all platforms when none is given. How many changed;
   * durable. The caller holds the store lock shared, as for {@link put}.
   */
  async setPinned(reference: string, platform: string | undefined, pinned: boolean): Promise<number> {
    const sql = `UPDATE images SET pinned = ? WHERE type = ? AND reference = ? AND pinned <> ? AND (? IS NULL OR platform = ?)`;
    const value = pinned ? 1 : 0;
    const changed = await this.#database.transaction((writer) =>
      writer.run(sql, value, this.#type, reference, value, platform ?? null, platform ?? null),
    );
    for (const record of this.find(reference, platform)) await (await this.#files.prepare(record)).commit();
    return changed;
  }

  #isPinned({ reference, platform }: ImageName): boolean {
    const sql = 'SELECT 1 FROM images WHERE type = ? AND reference = ? AND platform = ? AND pinned = 1';
    return this.#database.get(sql, this.#type, reference, platform) !== undefined;
  }

  #lastId(): number {
    const [last] = column(
      this.#database,
      (row) => row.count('id'),
      'SELECT max(id) AS id FROM images HAVING id NOT NULL',
    );
    return last ?? 0;
  }

  #namedBy(missing: readonly string[], last: number): Map<number, DroppedImage> {
    const found = new Map<number, { reference: string; platform: string; missing: string[] }>();
    for (const row of this.#database.all(NAMED_BY, JSON.stringify(missing), this.#type, last)) {
      const reader = new RowReader(this.#database, row);
      const [id, name] = [reader.count('id'), reader.digest('name')];
      const image = found.get(id);
      if (image !== undefined) image.missing.push(name);
      else {
        found.set(id, { reference: reader.text('reference'), platform: reader.text('platform'), missing: [name] });
      }
    }
    return found;
  }

  #require(record: ImageRecord): void {
    const doing = `put image: ${record.reference}`;
    if (record.type !== this.#type) throw new LarderError('LARDER_INTERNAL', `${doing}: not a ${this.#type} image`);
    const distinct = new Set(record.layers.map((layer) => layer.diffId));
    if (distinct.size !== record.layers.length)
      throw new LarderError('LARDER_INTERNAL', `${doing}: a layer is listed twice`);
  }

  #delete(writer: Writer, reference: string, platform: string | undefined): number {
    const which = 'type = ? AND reference = ? AND (? IS NULL OR platform = ?)';
    const values = [this.#type, reference, platform ?? null, platform ?? null];
    for (const table of LISTS) {
      writer.run(`DELETE FROM ${table} WHERE image IN (SELECT id FROM images WHERE ${which})`, ...values);
    }
    return writer.run(`DELETE FROM images WHERE ${which}`, ...values);
  }

  #insertAll(writer: Writer, record: ImageRecord): void {
    const id = this.#insert(writer, record);
    insertList(writer, INSERT_LAYER, [id], record.layers, layerColumns);
    insertList(writer, 'INSERT INTO image_blobs VALUES (?, ?, ?)', [id], record.extraBlobs ?? [], (blob) => [blob]);
  }

  #insert(writer: Writer, record: ImageRecord): number {
    return writer.insert(
      INSERT_IMAGE,
      record.type,
      record.reference,
      record.platform,
      record.digest,
      record.manifest,
      record.config,
      record.createdAtMs,
      record.lastUsedAtMs,
      record.pinned === true ? 1 : 0,
    );
  }

  /** Of one state of the database: a record that is put again meanwhile has another number, and its lists with it. */
  #read(where: string, ...values: readonly SqlValue[]): ImageRecord[] {
    return this.#database.snapshot(() => {
      const rows = this.#database.all(`${SELECT} ${where}`, this.#type, ...values);
      return [...this.#collect(rows, (id) => this.#extraBlobs(id))].map(({ record }) => record);
    });
  }

  #records(): IterableIterator<StoredRecord> {
    return this.#database.snapshot(() => {
      const rows = this.#database.all(`${SELECT} ORDER BY i.reference, i.platform, l.position`, this.#type);
      // Most images have none: one query for all, and all of it now: who goes through the list may take long.
      const extra = new Map<number, Digest[]>();
      const read = (row: RowReader) => [row.count('image'), row.digest('digest')] as const;
      for (const [id, digest] of column(this.#database, read, 'SELECT * FROM image_blobs ORDER BY image, position')) {
        const blobs = extra.get(id);
        if (blobs === undefined) extra.set(id, [digest]);
        else blobs.push(digest);
      }
      return this.#collect(rows, (id) => extra.get(id) ?? []);
    });
  }

  /** Rows of one image after the other, each with one of its layers. */
  *#collect(rows: readonly Row[], extraBlobsOf: (id: number) => readonly Digest[]): IterableIterator<StoredRecord> {
    for (let i = 0; i < rows.length; ) {
      const first = new RowReader(this.#database, rows[i] ?? {});
      const id = first.count('id');
      const layers: ImageLayer[] = [];
      for (let row = rows[i]; row?.['id'] === id; row = rows[++i]) {
        if (row?.['diff_id'] !== null) layers.push(layerOf(new RowReader(this.#database, row ?? {})));
      }
      yield { id, record: recordOf(first, layers, extraBlobsOf(id)) };
    }
  }

  #extraBlobs(image: number): Digest[] {
    const sql = 'SELECT digest FROM image_blobs WHERE image = ? ORDER BY position';
    return column(this.#database, (row) => row.digest('digest'), sql, image);
  }

  #names(): { readonly id: number; readonly reference: string; readonly platform: string }[] {
    return column(
      this.#database,
      (row) => ({ id: row.count('id'), reference: row.text('reference'), platform: row.text('platform') }),
      'SELECT id, reference, platform FROM images WHERE type = ?',
      this.#type,
    );
  }

  #layers(): DiffId[] {
    return column(
      this.#database,
      (row) => row.diffId('diff_id'),
      'SELECT DISTINCT l.diff_id FROM images i JOIN image_layers l ON l.image = i.id WHERE i.type = ?',
      this.#type,
    );
  }

  #blobs(): Digest[] {
    const selects = [
      ...['digest', 'manifest', 'config'].map((name) => `SELECT ${name} AS blob FROM images WHERE type = ?`),
      'SELECT b.digest AS blob FROM image_blobs b JOIN images i ON i.id = b.image WHERE i.type = ?',
    ];
    const types = selects.map(() => this.#type);
    return column(this.#database, (row) => row.digest('blob'), selects.join(' UNION '), ...types);
  }
}

/** The names that records have and the disk has not: one look at the disk and one at the database for all of them. */
async function missingNames(database: Database, presence: Presence): Promise<string[]> {
  const looks = Promise.all([presence.layers(), presence.blobs()]);
  // While the directories are being read. What comes or goes meanwhile is sorted out by who looks at the records again.
  const layerNames = textsOf(database, 'SELECT DISTINCT diff_id AS name FROM image_layers');
  const blobNames = [
    ...textsOf(database, 'SELECT manifest AS name FROM images'),
    ...textsOf(database, 'SELECT config AS name FROM images'),
    ...textsOf(database, 'SELECT digest AS name FROM image_blobs'),
  ];
  const [layers, blobs] = await looks;
  // Names that are none are missing, and reported as damage by who reads the records that have them.
  const missing = [
    ...layerNames.filter((name) => !layers.has(name as DiffId)),
    ...blobNames.filter((name) => !blobs.has(name as Digest)),
  ];
  return [...new Set(missing)];
}

/** The one column of a query, as SQLite joins it: an object for each of a million rows costs more than all the rest. */
function textsOf(database: Database, sql: string): string[] {
  const joined = database.get(`SELECT group_concat(name, ' ') AS names FROM (${sql})`)?.['names'];
  return typeof joined === 'string' ? joined.split(' ') : [];
}

function layerColumns(layer: ImageLayer): readonly SqlValue[] {
  return [layer.diffId, layer.digest, layer.size, layer.mediaType, layer.view ?? null];
}

function layerOf(row: RowReader): ImageLayer {
  const view = row.view('view');
  return {
    diffId: row.diffId('diff_id'),
    digest: row.digest('layer_digest'),
    size: row.count('size'),
    mediaType: row.text('media_type'),
    ...(view === undefined ? {} : { view }),
  };
}

function recordOf(row: RowReader, layers: readonly ImageLayer[], extraBlobs: readonly Digest[]): ImageRecord {
  return {
    type: row.imageType('type'),
    reference: row.text('reference'),
    platform: row.text('platform'),
    digest: row.digest('digest'),
    manifest: row.digest('manifest'),
    config: row.digest('config'),
    layers,
    createdAtMs: row.count('created'),
    lastUsedAtMs: row.count('last_used'),
    ...(extraBlobs.length === 0 ? {} : { extraBlobs }),
    ...(row.count('pinned') === 0 ? {} : { pinned: true }),
  };
}
