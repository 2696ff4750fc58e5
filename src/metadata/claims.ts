/**
 * ▸ Containers' durable holds (I4, I5). A claim is on disk before the mount that it protects, and goes after that
 * mount. It outlives every process. It owns the tables claims, claim_images, claim_layers and claim_blobs.
 */
import { LarderError } from '../errors.js';
import type { ContainerId } from '../spec/container-id.js';
import type { DiffId } from '../spec/digest.js';
import { type StackLayer, stackLayer } from '../spec/stack.js';
import type { Database, Writer } from './database.js';
import type { ClaimedImage, ClaimRecord } from './records.js';
import { column, insertList, type RowReader } from './rows.js';

export type UsedImage = Pick<ClaimedImage, 'type' | 'reference' | 'platform'>;

export class Claims {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Durable when it resolves. Rejects with LARDER_CONTAINER_EXISTS, also when another process was faster. */
  async insert(claim: ClaimRecord): Promise<void> {
    await this.#database.transaction((writer) => {
      const there = this.#database.get('SELECT owner FROM claims WHERE container = ?', claim.container);
      if (there !== undefined) throw containerExists(claim.container);
      insertClaim(writer, claim);
    });
  }

  get(container: ContainerId): ClaimRecord | undefined {
    return this.#database.snapshot(() => {
      const [found] = this.#select('WHERE container = ?', container);
      return found;
    });
  }

  /** By container; of one owner when it is given. */
  list(owner?: string): ClaimRecord[] {
    return this.#database.snapshot(() =>
      owner === undefined
        ? this.#select('ORDER BY container')
        : this.#select('WHERE owner = ? ORDER BY container', owner),
    );
  }

  /** Of the containers that are nested in this one, at any depth. */
  listBelow(container: ContainerId): ClaimRecord[] {
    return this.#database.snapshot(() =>
      // '0' is the character after '/'.
      this.#select('WHERE container > ? AND container < ? ORDER BY container', `${container}/`, `${container}0`),
    );
  }

  /** All images and layers that some container has, each once: for prune, which asks under the store lock. */
  used(): { readonly images: readonly UsedImage[]; readonly layers: readonly StackLayer[] } {
    return this.#database.snapshot(() => ({
      images: column(this.#database, usedImageOf, 'SELECT DISTINCT type, reference, platform FROM claim_images'),
      layers: column(
        this.#database,
        (row) => stackLayer(row.diffId('diff_id'), row.view('view')),
        'SELECT DISTINCT diff_id, view FROM claim_layers',
      ),
    }));
  }

  /** False when there was none; durable when it resolves. Only after its mount is gone. */
  async remove(container: ContainerId): Promise<boolean> {
    const removed = await this.#database.transaction((writer) =>
      writer.run('DELETE FROM claims WHERE container = ?', container),
    );
    return removed > 0;
  }

  /** Whether some container uses this shared mount. */
  isHeld(mergedKey: string): boolean {
    return this.#database.get('SELECT 1 FROM claim_images WHERE merged_key = ? LIMIT 1', mergedKey) !== undefined;
  }

  /** The containers that use this shared mount. */
  holdersOf(mergedKey: string): ContainerId[] {
    return this.#containers(
      'SELECT DISTINCT container FROM claim_images WHERE merged_key = ? ORDER BY container',
      mergedKey,
    );
  }

  /** The containers of whose root filesystems one has this layer. */
  holdersOfLayer(diffId: DiffId): ContainerId[] {
    return this.#containers('SELECT DISTINCT container FROM claim_layers WHERE diff_id = ? ORDER BY container', diffId);
  }

  #containers(sql: string, value: string): ContainerId[] {
    return column(this.#database, (row) => row.container('container'), sql, value);
  }

  #select(where: string, ...values: readonly string[]): ClaimRecord[] {
    return column(this.#database, (row) => this.#claimOf(row), `SELECT * FROM claims ${where}`, ...values);
  }

  #claimOf(row: RowReader): ClaimRecord {
    const container = row.container('container');
    const blobs = 'SELECT digest FROM claim_blobs WHERE container = ? ORDER BY position';
    return {
      container,
      owner: row.text('owner'),
      images: this.#imagesOf(container),
      blobs: column(this.#database, (item) => item.digest('digest'), blobs, container),
      createdAtMs: row.count('created'),
    };
  }

  #imagesOf(container: ContainerId): ClaimedImage[] {
    const layers = column(
      this.#database,
      (row) => ({ image: row.count('image'), layer: stackLayer(row.diffId('diff_id'), row.view('view')) }),
      'SELECT * FROM claim_layers WHERE container = ? ORDER BY image, position',
      container,
    );
    return column(
      this.#database,
      (row) => ({
        name: row.text('name'),
        type: row.imageType('type'),
        reference: row.text('reference'),
        platform: row.text('platform'),
        backend: row.text('backend'),
        rootfs: row.text('rootfs'),
        layers: layers.filter(({ image }) => image === row.count('position')).map(({ layer }) => layer),
        mergedKey: row.optionalText('merged_key'),
      }),
      'SELECT * FROM claim_images WHERE container = ? ORDER BY position',
      container,
    );
  }
}

function usedImageOf(row: RowReader): UsedImage {
  return { type: row.imageType('type'), reference: row.text('reference'), platform: row.text('platform') };
}

function insertClaim(writer: Writer, { container, owner, images, blobs, createdAtMs }: ClaimRecord): void {
  writer.run('INSERT INTO claims (container, owner, created) VALUES (?, ?, ?)', container, owner, createdAtMs);
  insertList(writer, 'INSERT INTO claim_images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)', [container], images, (image) => [
    image.name,
    image.type,
    image.reference,
    image.platform,
    image.backend,
    image.rootfs,
    image.mergedKey ?? null,
  ]);
  for (const [position, { layers }] of images.entries()) {
    const sql = 'INSERT INTO claim_layers VALUES (?, ?, ?, ?, ?)';
    insertList(writer, sql, [container, position], layers, ({ diffId, view }) => [diffId, view ?? null]);
  }
  insertList(writer, 'INSERT INTO claim_blobs VALUES (?, ?, ?)', [container], blobs, (digest) => [digest]);
}

function containerExists(container: ContainerId): LarderError {
  return new LarderError('LARDER_CONTAINER_EXISTS', `claim layers: container ${container}: it exists already`, {
    hint: 'choose another id, or destroy the container first',
    details: { container },
  });
}
