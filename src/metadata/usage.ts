/** ▸ What everything weighs: bytes as they are recorded, by SQL, without a look at the disk. */
import { isLarderError } from '../errors.js';
import type { ImageType } from '../spec/image.js';
import type { Database } from './database.js';
import { DERIVED_WITH_IMAGES, type Holds } from './holds.js';
import type { DerivedRecord } from './records.js';
import { column, type RowReader } from './rows.js';

export interface ImageUsage {
  readonly id: number;
  readonly type: ImageType;
  readonly reference: string;
  readonly platform: string;
  readonly pinned: boolean;
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number;
  /** Bytes of layers, and of what is derived, that no other image has: what removing it frees when no container uses it. */
  readonly aloneBytes: number;
  /** Bytes that other images have, too. */
  readonly sharedBytes: number;
}

/** What a list of images shows of one. */
export interface ImageLine {
  readonly type: ImageType;
  readonly reference: string;
  readonly platform: string;
  readonly imageId: string;
  readonly pinned: boolean;
  readonly createdAtMs: number;
  readonly layers: number;
  /** Of its layers' tars; layers that it shares with other images count here, too. */
  readonly bytes: number;
}

export interface Totals {
  readonly layers: number;
  /** Of their tars. */
  readonly layerBytes: number;
  /** Of indexes, `layer.extra`, merged images, overlay directories. */
  readonly derivedBytes: number;
}

/** One image as garbage collection sees it. */
export interface GcImageRow extends Omit<ImageUsage, 'aloneBytes' | 'sharedBytes'> {
  /** A container has it. */
  readonly inUse: boolean;
  /** A pull, or a program that looks at it, has it in its hands. */
  readonly leased: boolean;
  /** Names of what goes with it when no other image has that: DiffIDs, merged keys, hex of ChainIDs. */
  readonly holds: readonly string[];
}

export interface GcRows {
  readonly images: readonly GcImageRow[];
  readonly sizes: ReadonlyMap<string, number>;
  /** Held by claims, leases, or as active layers, whatever becomes of the images. */
  readonly heldElsewhere: ReadonlySet<string>;
}

/** Times of use are kept to the minute. */
const CLOCKS_DIFFER_MS = 60_000;
const FACTS = 'i.id, i.type, i.reference, i.platform, i.pinned, i.created, i.last_used';
const BYTES = '(y.tar_size + y.index_size + y.extra_size)';

export class Usage {
  readonly #database: Database;
  readonly #holds: Holds;

  constructor(database: Database, holds: Holds) {
    this.#database = database;
    this.#holds = holds;
  }

  totals(): Totals {
    const sql = `SELECT count(*) AS layers, coalesce(sum(tar_size), 0) AS tars,
        coalesce(sum(index_size + extra_size), 0) + (SELECT coalesce(sum(size), 0) FROM derived) AS derived FROM layers`;
    const read = (row: RowReader): Totals => ({
      layers: row.count('layers'),
      layerBytes: row.count('tars'),
      derivedBytes: row.count('derived'),
    });
    const [totals] = column(this.#database, read, sql);
    return totals ?? { layers: 0, layerBytes: 0, derivedBytes: 0 };
  }

  /**
   * Images that were used later than now were used now: the clock was set back since. Where all of them were, it is the clock
   * that is behind, and their times stay. How many; not synced, and none on a full disk.
   */
  async endFuture(nowMs: number): Promise<number> {
    const soonMs = nowMs + CLOCKS_DIFFER_MS;
    const number = (which: string) => `(SELECT count(*) FROM images WHERE last_used ${which} ?)`;
    const sql = `SELECT ${number('>')} AS later, ${number('<=')} AS past`;
    const [found] = column(this.#database, (row) => [row.count('later'), row.count('past')], sql, soonMs, soonMs);
    if (found?.includes(0) !== false) return 0;
    const update = 'UPDATE images SET last_used = ? WHERE last_used > ?';
    try {
      return await this.#database.transaction((writer) => writer.run(update, nowMs, soonMs), { durable: false });
    } catch (error) {
      if (isLarderError(error, 'LARDER_NO_SPACE')) return 0;
      throw error;
    }
  }

  /** Docker images first, by reference, then platform. Their layers are counted where they lie: reading ten thousand takes longer than all the rest. */
  lines(): ImageLine[] {
    const id = `CASE i.type WHEN 'appc' THEN (SELECT replace(digest, ':', '-') FROM image_layers WHERE image = i.id ORDER BY position DESC LIMIT 1) END`;
    const sql = `
      SELECT i.type, i.reference, i.platform, coalesce(${id}, i.config) AS image_id, i.pinned, i.created,
        coalesce(x.layers, 0) AS layers, coalesce(x.bytes, 0) AS bytes
      FROM images i LEFT JOIN (
        SELECT l.image, count(*) AS layers, sum(y.tar_size) AS bytes
        FROM image_layers l LEFT JOIN layers y ON y.diff_id = l.diff_id GROUP BY l.image) x ON x.image = i.id
      ORDER BY i.type DESC, i.reference, i.platform`;
    return column(this.#database, lineOf, sql);
  }

  /** By reference, then platform; of both types. */
  images(): ImageUsage[] {
    return this.#database.snapshot(() => {
      const derived = this.#derivedByImage();
      const sql = `
        SELECT ${FACTS}, coalesce(sum(x.bytes), 0) AS bytes, coalesce(sum(CASE WHEN x.shared THEN x.bytes END), 0) AS shared
        FROM images i LEFT JOIN (
          SELECT l.image, ${BYTES} AS bytes, EXISTS (
            SELECT 1 FROM image_layers o JOIN images j ON j.id = o.image WHERE o.diff_id = l.diff_id AND o.image <> l.image
          ) AS shared
          FROM image_layers l JOIN layers y ON y.diff_id = l.diff_id) x ON x.image = i.id
        GROUP BY i.id ORDER BY i.reference, i.platform`;
      return column(
        this.#database,
        (row) => {
          const facts = factsOf(row);
          const more = derived.get(facts.id) ?? { alone: 0, shared: 0 };
          return {
            ...facts,
            aloneBytes: row.count('bytes') - row.count('shared') + more.alone,
            sharedBytes: row.count('shared') + more.shared,
          };
        },
        sql,
      );
    });
  }

  /** Everything that deciding about garbage needs, of one state of the database. */
  forGc(): GcRows {
    return this.#database.snapshot(() => {
      const sizes = new Map<string, number>();
      const held = new Map<number, string[]>();
      const add = (image: number, name: string, bytes: number): void => {
        sizes.set(name, bytes);
        const names = held.get(image);
        if (names === undefined) held.set(image, [name]);
        else names.push(name);
      };
      const layers = `SELECT l.image, l.diff_id AS name, ${BYTES} AS bytes FROM images i CROSS JOIN image_layers l ON l.image = i.id JOIN layers y ON y.diff_id = l.diff_id`;
      for (const row of column(this.#database, holdingOf, layers)) add(row.image, row.name, row.bytes);
      for (const { image, key, size } of this.#derived()) add(image, key, size);
      return { images: this.#gcImages(held), sizes, heldElsewhere: this.#heldElsewhere() };
    });
  }

  #gcImages(held: ReadonlyMap<number, readonly string[]>): GcImageRow[] {
    const sql = `SELECT ${FACTS}, i.config, EXISTS (
      SELECT 1 FROM claim_images c WHERE c.type = i.type AND c.reference = i.reference AND c.platform = i.platform) AS used FROM images i`;
    const leased = new Set(this.#ofLiveLeases('lease_blobs', 'digest'));
    return column(
      this.#database,
      (row) => {
        const facts = factsOf(row);
        const inUse = row.count('used') === 1;
        return { ...facts, inUse, leased: leased.has(row.text('config')), holds: held.get(facts.id) ?? [] };
      },
      sql,
    );
  }

  #heldElsewhere(): Set<string> {
    const sql = 'SELECT diff_id AS name FROM claim_layers UNION SELECT diff_id FROM active_layers';
    const merged = `SELECT DISTINCT merged_key AS name FROM claim_images WHERE merged_key IS NOT NULL`;
    const names = [sql, merged].flatMap((one) => column(this.#database, (row) => row.text('name'), one));
    return new Set([...names, ...this.#ofLiveLeases('lease_layers', 'diff_id')]);
  }

  #ofLiveLeases(table: string, name: string): string[] {
    const leases = JSON.stringify(this.#holds.liveLeases().map(({ id }) => id));
    const sql = `SELECT DISTINCT ${name} AS name FROM ${table} WHERE lease IN (SELECT value FROM json_each(?))`;
    return column(this.#database, (row) => row.text('name'), sql, leases);
  }

  #derivedByImage(): Map<number, { alone: number; shared: number }> {
    const all = this.#derived();
    const users = new Map<string, number>();
    for (const { kind, key } of all) users.set(`${kind} ${key}`, (users.get(`${kind} ${key}`) ?? 0) + 1);
    const found = new Map<number, { alone: number; shared: number }>();
    for (const { image, kind, key, size } of all) {
      const sum = found.get(image) ?? { alone: 0, shared: 0 };
      if (users.get(`${kind} ${key}`) === 1) sum.alone += size;
      else sum.shared += size;
      found.set(image, sum);
    }
    return found;
  }

  #derived(): { image: number; kind: DerivedRecord['kind']; key: string; size: number }[] {
    return column(
      this.#database,
      (row) => ({
        image: row.count('image'),
        kind: row.text('kind') === 'chain' ? 'chain' : 'merged',
        key: row.text('key'),
        size: row.count('size'),
      }),
      DERIVED_WITH_IMAGES,
    );
  }
}

function factsOf(row: RowReader): Omit<ImageUsage, 'aloneBytes' | 'sharedBytes'> {
  return {
    id: row.count('id'),
    type: row.imageType('type'),
    reference: row.text('reference'),
    platform: row.text('platform'),
    pinned: row.count('pinned') === 1,
    createdAtMs: row.count('created'),
    lastUsedAtMs: row.count('last_used'),
  };
}

function lineOf(row: RowReader): ImageLine {
  return {
    type: row.imageType('type'),
    reference: row.text('reference'),
    platform: row.text('platform'),
    imageId: row.text('image_id'),
    pinned: row.count('pinned') === 1,
    createdAtMs: row.count('created'),
    layers: row.count('layers'),
    bytes: row.count('bytes'),
  };
}

function holdingOf(row: RowReader): { image: number; name: string; bytes: number } {
  return { image: row.count('image'), name: row.text('name'), bytes: row.count('bytes') };
}
