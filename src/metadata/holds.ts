/**
 * ▸ Who holds what (I5): an image record, a claim, a live lease, and what the last prune was told to be active. It is
 * asked by SQL for many names at once, because prune asks under the store lock.
 *
 * Everything that removes goes through here, in two ways. `forgetImages` is the mark: it drops image records and nothing
 * else. `forgetLayers` and `forgetDerived` drop the records of what nothing holds at that very moment, so that their
 * caller, who has the store lock to itself, may take the files away. What has no record is never used.
 *
 * Leases count unless their handle is known to be dead, and dead is forever. So a handle that nobody has looked at holds.
 */
import type { Layout } from '../layout.js';
import type { ContainerId } from '../spec/container-id.js';
import { type ChainId, type DiffId, type Digest, hexOf } from '../spec/digest.js';
import type { ImageType } from '../spec/image.js';
import { chainIdsOf, stackLayer } from '../spec/stack.js';
import type { Database, SqlValue } from './database.js';
import { isHandleAlive } from './handles.js';
import type { DerivedRecord, ImageRecord } from './records.js';
import { column, RowReader } from './rows.js';

export interface NamedImage {
  readonly id: number;
  readonly type: ImageType;
  readonly reference: string;
  readonly platform: string;
}

export interface Forget {
  readonly type: ImageType;
  /** References that stay, on all platforms. */
  readonly references: readonly string[];
  /** `reference platform`: that one stays. */
  readonly exact: readonly string[];
  /** Pinned images go, too. */
  readonly pinned: boolean;
  /** Layers that stay although nothing names them; in place of what an earlier prune was told. */
  readonly active: readonly DiffId[];
}

export interface SizedLayer {
  readonly diffId: DiffId;
  /** Of the tar and what is derived from it alone. */
  readonly bytes: number;
}

export interface SizedFile {
  readonly key: string;
  readonly bytes: number;
}

type Kind = DerivedRecord['kind'];

/** What is left out of the question, so that a plan can ask what would be if images were gone. */
export interface Without {
  readonly images?: readonly number[];
}

const LAYER_BYTES = 'tar_size + index_size + extra_size';
const GONE = '(SELECT value FROM json_each(?))';
/** Parameter: handles that are dead. */
const LIVE = 'SELECT id FROM leases WHERE handle NOT IN (SELECT value FROM json_each(?))';
/** Parameters: images to pass over, dead handles. */
const LAYER_UNHELD = `
  NOT EXISTS (SELECT 1 FROM image_layers l JOIN images i ON i.id = l.image WHERE l.diff_id = layers.diff_id AND i.id NOT IN ${GONE})
  AND NOT EXISTS (SELECT 1 FROM claim_layers c WHERE c.diff_id = layers.diff_id)
  AND layers.diff_id NOT IN (SELECT diff_id FROM lease_layers WHERE lease IN (${LIVE}))
  AND layers.diff_id NOT IN (SELECT diff_id FROM active_layers)`;
/** The stack of `table` begins with the layers of the derived thing, and ends there unless that is an overlay directory. */
const stackHas = (table: string, same: (a: string, b: string) => string): string => `
  NOT EXISTS (SELECT 1 FROM derived_layers p WHERE p.kind = derived.kind AND p.key = derived.key AND NOT EXISTS (
    SELECT 1 FROM ${table} q WHERE ${same('q', 'l')} AND q.position = p.position AND q.diff_id = p.diff_id))
  AND (derived.kind = 'chain' OR NOT EXISTS (
    SELECT 1 FROM ${table} q WHERE ${same('q', 'l')} AND q.position = t.position + 1))`;
/** The last layer of the derived thing. */
const LAST = `t.kind = derived.kind AND t.key = derived.key AND t.position = (
    SELECT max(position) FROM derived_layers x WHERE x.kind = derived.kind AND x.key = derived.key)`;
const DERIVED_OF_IMAGE = `EXISTS (
  SELECT 1 FROM derived_layers t JOIN image_layers l ON l.diff_id = t.diff_id AND l.position = t.position
    JOIN images i ON i.id = l.image
  WHERE ${LAST} AND i.id NOT IN ${GONE} AND ${stackHas('image_layers', (a, b) => `${a}.image = ${b}.image`)})`;
const DERIVED_IN_USE = `(derived.key IN (SELECT merged_key FROM claim_images WHERE merged_key IS NOT NULL) OR EXISTS (
  SELECT 1 FROM derived_layers t JOIN claim_layers l ON l.diff_id = t.diff_id AND l.position = t.position
  WHERE ${LAST} AND ${stackHas('claim_layers', (a, b) => `${a}.container = ${b}.container AND ${a}.image = ${b}.image`)}))`;
/** Each derived thing that goes with an image's stack, beside that image. */
export const DERIVED_WITH_IMAGES = `
  SELECT l.image, derived.kind, derived.key, derived.size
  FROM derived CROSS JOIN derived_layers t ON ${LAST}
    JOIN image_layers l ON l.diff_id = t.diff_id AND l.position = t.position JOIN images i ON i.id = l.image
  WHERE ${stackHas('image_layers', (a, b) => `${a}.image = ${b}.image`)}`;
/** Who pulls an image makes what is derived from it before there is a record. Parameter: dead handles. */
const DERIVED_LEASED = `EXISTS (
  SELECT 1 FROM (${LIVE}) s WHERE NOT EXISTS (
    SELECT 1 FROM derived_layers p WHERE p.kind = derived.kind AND p.key = derived.key AND NOT EXISTS (
      SELECT 1 FROM lease_layers ll WHERE ll.lease = s.id AND ll.diff_id = p.diff_id)))`;
const PAGE = 2000;

export class Holds {
  readonly #database: Database;
  readonly #layout: Layout;
  readonly #dead = new Set<string>();

  constructor(database: Database, layout: Layout) {
    this.#database = database;
    this.#layout = layout;
  }

  /** Looks which handles with leases are dead. Costs a few system calls for each that is not known to be. */
  refresh(): void {
    const handles = column(this.#database, (row) => row.text('handle'), 'SELECT DISTINCT handle FROM leases');
    const there = new Set(handles);
    for (const handle of this.#dead) if (!there.has(handle)) this.#dead.delete(handle);
    for (const handle of handles) {
      if (!this.#dead.has(handle) && !isHandleAlive(this.#layout, handle)) this.#dead.add(handle);
    }
  }

  /** The images that {@link forgetImages} would forget. */
  findImages(forget: Forget): NamedImage[] {
    const { where, values } = this.#doomed(forget);
    return this.#images(
      this.#database.all(`SELECT id, type, reference, platform FROM images WHERE ${where}`, ...values),
    );
  }

  /** Forgets images, but not what a live lease has in its hands; durable, one short transaction. */
  async forgetImages(forget: Forget): Promise<NamedImage[]> {
    const { where, values } = this.#doomed(forget);
    const sql = `DELETE FROM images WHERE ${where} RETURNING id, type, reference, platform`;
    return this.#database.transaction((writer) => {
      const gone = this.#images(this.#database.all(sql, ...values));
      writer.run('DELETE FROM active_layers');
      const active = `INSERT OR IGNORE INTO active_layers SELECT value FROM json_each(?) WHERE value NOT IN (SELECT diff_id FROM claim_layers)`;
      if (forget.active.length > 0) writer.run(active, JSON.stringify(forget.active));
      return gone;
    });
  }

  /** Forgets those of these images that have not been used since, and that nothing but their records holds. */
  async forgetUnused(images: readonly { readonly id: number; readonly lastUsedAtMs: number }[]): Promise<NamedImage[]> {
    const sql = `DELETE FROM images WHERE id = ? AND last_used <= ? AND pinned = 0
      AND config NOT IN (SELECT digest FROM lease_blobs WHERE lease IN (${LIVE}))
      AND NOT EXISTS (SELECT 1 FROM claim_images c WHERE c.type = images.type AND c.reference = images.reference AND c.platform = images.platform)
      RETURNING id, type, reference, platform`;
    return this.#database.transaction(() =>
      images.flatMap(({ id, lastUsedAtMs }) =>
        this.#images(this.#database.all(sql, id, lastUsedAtMs, this.#deadHandles())),
      ),
    );
  }

  /** Recorded layers that nothing holds, by DiffID, some thousands at a time. */
  *unheldLayers({ images = [] }: Without = {}): Generator<readonly SizedLayer[], void, void> {
    // Which rows come after which is the primary key's order.
    const sql = `SELECT diff_id, bytes, unheld FROM (
      SELECT diff_id, ${LAYER_BYTES} AS bytes, ${LAYER_UNHELD} AS unheld FROM layers WHERE diff_id > ? ORDER BY diff_id LIMIT ${PAGE})`;
    const read = (row: RowReader) => ({
      layer: { diffId: row.diffId('diff_id'), bytes: row.count('bytes') },
      unheld: row.count('unheld') === 1,
    });
    for (let from = ''; ; ) {
      const page = column(this.#database, read, sql, JSON.stringify(images), this.#deadHandles(), from);
      yield page.filter(({ unheld }) => unheld).map(({ layer }) => layer);
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) return;
      from = last.layer.diffId;
    }
  }

  /** Forgets those of these layers that nothing holds. Answers those of them that have no record then; durable. */
  async forgetLayers(diffIds: readonly DiffId[]): Promise<ReadonlySet<DiffId>> {
    const names = JSON.stringify(diffIds);
    const here = 'diff_id IN (SELECT value FROM json_each(?))';
    const doomed = `SELECT diff_id FROM layers WHERE ${here} AND ${LAYER_UNHELD}`;
    const dead = this.#deadHandles();
    // Most of what is looked at twice has no record: that needs no transaction.
    if (this.#database.get(`${doomed} LIMIT 1`, names, '[]', dead) !== undefined) {
      await this.#database.transaction((writer) =>
        writer.run(`DELETE FROM layers WHERE ${here} AND ${LAYER_UNHELD}`, names, '[]', dead),
      );
    }
    const kept = column(
      this.#database,
      (row) => row.diffId('diff_id'),
      `SELECT diff_id FROM layers WHERE ${here}`,
      names,
    );
    const recorded = new Set(kept);
    return new Set(diffIds.filter((diffId) => !recorded.has(diffId)));
  }

  /** What is recorded of one kind and held by no container and live lease, nor by an image unless `evenOfImages`. */
  unheldDerived(kind: Kind, evenOfImages: boolean, { images = [] }: Without = {}): SizedFile[] {
    const { where, values } = this.#unheldDerived(evenOfImages, images);
    return column(
      this.#database,
      sizedFileOf,
      `SELECT key, size FROM derived WHERE kind = ? AND ${where}`,
      kind,
      ...values,
    );
  }

  /**
   * Forgets those of these that nothing holds. Answers them, and those of these that have no record and that nobody can
   * be about to record; durable.
   */
  async forgetDerived(kind: Kind, keys: readonly string[], evenOfImages: boolean): Promise<ReadonlySet<string>> {
    const { where, values } = this.#unheldDerived(evenOfImages, []);
    const names = JSON.stringify(keys);
    const here = 'kind = ? AND key IN (SELECT value FROM json_each(?))';
    const sql = `DELETE FROM derived WHERE ${here} AND ${where} RETURNING key`;
    const gone = await this.#database.transaction(() =>
      column(this.#database, (row) => row.text('key'), sql, kind, names, ...values),
    );
    return new Set([...gone, ...this.#unrecorded(kind, keys)]);
  }

  /** The id of an image's record. */
  idOf({ type, reference, platform }: Omit<NamedImage, 'id'>): number | undefined {
    const sql = 'SELECT id FROM images WHERE type = ? AND reference = ? AND platform = ?';
    const [id] = column(this.#database, (row) => row.count('id'), sql, type, reference, platform);
    return id;
  }

  /** The ids of leases whose handle is not known to be dead, with their handles. */
  liveLeases(): { readonly id: string; readonly handle: string }[] {
    const sql = `SELECT id, handle FROM leases WHERE id IN (${LIVE})`;
    return column(
      this.#database,
      (row) => ({ id: row.text('id'), handle: row.text('handle') }),
      sql,
      this.#deadHandles(),
    );
  }

  recordedLayers(): ReadonlySet<DiffId> {
    return new Set(column(this.#database, (row) => row.diffId('diff_id'), 'SELECT diff_id FROM layers'));
  }

  recordedDerived(kind: Kind): ReadonlySet<string> {
    return new Set(column(this.#database, (row) => row.text('key'), 'SELECT key FROM derived WHERE kind = ?', kind));
  }

  /** The containers that have this image, and how many live pulls have it in their hands. */
  usersOf({ type, reference, platform, config }: ImageRecord): { containers: ContainerId[]; pulls: number } {
    const claims = `SELECT DISTINCT container FROM claim_images WHERE type = ? AND reference = ? AND platform = ? ORDER BY container`;
    const leases = `SELECT DISTINCT lease FROM lease_blobs WHERE digest = ? AND lease IN (${LIVE})`;
    return {
      containers: column(this.#database, (row) => row.container('container'), claims, type, reference, platform),
      pulls: this.#database.all(leases, config, this.#deadHandles()).length,
    };
  }

  /** Every document that something names. */
  heldBlobs({ images = [] }: Without = {}): ReadonlySet<string> {
    return new Set(this.#blobs(0, images));
  }

  /** Of these documents, which were in nobody's hands when images up to `lastImage` had been looked at, those that still are not. */
  stillUnheld(digests: readonly Digest[], lastImage: number): Digest[] {
    const since = new Set(this.#blobs(lastImage, []));
    return digests.filter((digest) => !since.has(digest));
  }

  /** The id of the youngest image record. */
  lastImage(): number {
    return Number(
      this.#database.get('SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = ?', 'images')?.['id'] ??
        0,
    );
  }

  /** Drops rows of images that are gone, a hundred images in each transaction. */
  async sweepOrphans(): Promise<void> {
    for (const table of ['image_layers', 'image_blobs']) {
      const sql = `SELECT DISTINCT image FROM ${table} WHERE image NOT IN (SELECT id FROM images)`;
      const orphans = column(this.#database, (row) => row.count('image'), sql);
      for (let i = 0; i < orphans.length; i += 100) {
        const batch = JSON.stringify(orphans.slice(i, i + 100));
        await this.#database.transaction((writer) =>
          writer.run(`DELETE FROM ${table} WHERE image IN (SELECT value FROM json_each(?))`, batch),
        );
      }
    }
  }

  #doomed({ type, references, exact, pinned }: Forget): { where: string; values: readonly SqlValue[] } {
    const where = `type = ? AND reference NOT IN (SELECT value FROM json_each(?))
      AND reference || ' ' || platform NOT IN (SELECT value FROM json_each(?)) AND pinned <= ?
      AND config NOT IN (SELECT digest FROM lease_blobs WHERE lease IN (${LIVE}))`;
    return {
      where,
      values: [type, JSON.stringify(references), JSON.stringify(exact), pinned ? 1 : 0, this.#deadHandles()],
    };
  }

  #unheldDerived(evenOfImages: boolean, images: readonly number[]): { where: string; values: readonly string[] } {
    const free = `NOT ${DERIVED_IN_USE} AND NOT ${DERIVED_LEASED}`;
    if (evenOfImages) return { where: free, values: [this.#deadHandles()] };
    return { where: `${free} AND NOT ${DERIVED_OF_IMAGE}`, values: [this.#deadHandles(), JSON.stringify(images)] };
  }

  /** Who makes such a thing has a lease or a claim from before it has its name until after it is recorded. */
  #unrecorded(kind: Kind, keys: readonly string[]): string[] {
    if (this.#database.get(`${LIVE} LIMIT 1`, this.#deadHandles()) !== undefined) return [];
    const sql = 'SELECT key FROM derived WHERE kind = ? AND key IN (SELECT value FROM json_each(?))';
    const recorded = column(this.#database, (row) => row.text('key'), sql, kind, JSON.stringify(keys));
    if (recorded.length === keys.length) return [];
    const held = new Set([...recorded, ...(kind === 'merged' ? this.#claimedMerged() : this.#claimedChains())]);
    return keys.filter((key) => !held.has(key));
  }

  #claimedMerged(): string[] {
    const sql = 'SELECT DISTINCT merged_key FROM claim_images WHERE merged_key IS NOT NULL';
    return column(this.#database, (row) => row.text('merged_key'), sql);
  }

  /** A directory without a record has no list of layers: the claims' own tell which it may be. */
  #claimedChains(): string[] {
    const stacks = new Map<string, ReturnType<typeof stackLayer>[]>();
    for (const { stack, layer } of column(
      this.#database,
      (row) => ({
        stack: `${row.text('container')} ${row.count('image')}`,
        layer: stackLayer(row.diffId('diff_id'), row.view('view')),
      }),
      'SELECT container, image, diff_id, view FROM claim_layers ORDER BY container, image, position',
    )) {
      const known = stacks.get(stack);
      if (known === undefined) stacks.set(stack, [layer]);
      else known.push(layer);
    }
    return [...stacks.values()].flatMap((stack): ChainId[] => [...chainIdsOf(stack)]).map(hexOf);
  }

  #blobs(afterImage: number, without: readonly number[]): string[] {
    const images = `FROM images i WHERE i.id > ? AND i.id NOT IN ${GONE}`;
    const sql = `
      SELECT i.digest AS blob ${images} UNION ALL SELECT i.manifest ${images} UNION ALL SELECT i.config ${images}
      UNION ALL SELECT b.digest FROM image_blobs b JOIN images i ON i.id = b.image WHERE i.id > ? AND i.id NOT IN ${GONE}
      UNION ALL SELECT digest FROM claim_blobs
      UNION ALL SELECT digest FROM lease_blobs WHERE lease IN (${LIVE})`;
    const gone = JSON.stringify(without);
    const values = [0, 1, 2, 3].flatMap(() => [afterImage, gone]);
    return column(this.#database, (row) => row.text('blob'), sql, ...values, this.#deadHandles());
  }

  #images(rows: readonly Readonly<Record<string, unknown>>[]): NamedImage[] {
    return rows.map((row) => {
      const reader = new RowReader(this.#database, row);
      return {
        id: reader.count('id'),
        type: reader.imageType('type'),
        reference: reader.text('reference'),
        platform: reader.text('platform'),
      };
    });
  }

  #deadHandles(): string {
    return JSON.stringify([...this.#dead]);
  }
}

function sizedFileOf(row: RowReader): SizedFile {
  return { key: row.text('key'), bytes: row.count('size') };
}
