/**
 * ▸ Containers' durable holds (I4, I5). A claim is on disk before the mount that it protects, and goes after that
 * mount. It outlives every process. It owns the tables claims, claim_images, claim_layers and claim_blobs.
 */
import { LarderError } from '../errors.js';
import type { ContainerId } from '../spec/container-id.js';
import type { DiffId } from '../spec/digest.js';
import type { Database, Writer } from './database.js';
import type { ClaimRecord } from './records.js';
import { column, insertList, type RowReader } from './rows.js';

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

  /** False when there was none; durable when it resolves. Only after its mount is gone. */
  async remove(container: ContainerId): Promise<boolean> {
    const removed = await this.#database.transaction((writer) =>
      writer.run('DELETE FROM claims WHERE container = ?', container),
    );
    return removed > 0;
  }

  /** The containers that use this shared mount. */
  holdersOf(mergedKey: string): ContainerId[] {
    return this.#containers('SELECT container FROM claims WHERE merged_key = ? ORDER BY container', mergedKey);
  }

  /** The containers whose root filesystem has this layer. */
  holdersOfLayer(diffId: DiffId): ContainerId[] {
    return this.#containers('SELECT container FROM claim_layers WHERE diff_id = ? ORDER BY container', diffId);
  }

  #containers(sql: string, value: string): ContainerId[] {
    return column(this.#database, (row) => row.container('container'), sql, value);
  }

  #select(where: string, ...values: readonly string[]): ClaimRecord[] {
    return column(this.#database, (row) => this.#claimOf(row), `SELECT * FROM claims ${where}`, ...values);
  }

  #claimOf(row: RowReader): ClaimRecord {
    const container = row.container('container');
    const listOf = <T>(table: string, read: (item: RowReader) => T): T[] =>
      column(this.#database, read, `SELECT * FROM ${table} WHERE container = ? ORDER BY position`, container);
    return {
      container,
      owner: row.text('owner'),
      backend: row.text('backend'),
      rootfs: row.text('rootfs'),
      images: listOf('claim_images', (item) => ({
        type: item.imageType('type'),
        reference: item.text('reference'),
        platform: item.text('platform'),
      })),
      layers: listOf('claim_layers', (item) => item.diffId('diff_id')),
      blobs: listOf('claim_blobs', (item) => item.digest('digest')),
      mergedKey: row.optionalText('merged_key'),
      createdAtMs: row.count('created'),
    };
  }
}

function insertClaim(writer: Writer, claim: ClaimRecord): void {
  const { container } = claim;
  writer.run(
    'INSERT INTO claims (container, owner, backend, rootfs, merged_key, created) VALUES (?, ?, ?, ?, ?, ?)',
    container,
    claim.owner,
    claim.backend,
    claim.rootfs,
    claim.mergedKey ?? null,
    claim.createdAtMs,
  );
  const { images, layers, blobs } = claim;
  insertList(writer, 'INSERT INTO claim_images VALUES (?, ?, ?, ?, ?)', [container], images, (image) => [
    image.type,
    image.reference,
    image.platform,
  ]);
  insertList(writer, 'INSERT INTO claim_layers VALUES (?, ?, ?)', [container], layers, (diffId) => [diffId]);
  insertList(writer, 'INSERT INTO claim_blobs VALUES (?, ?, ?)', [container], blobs, (digest) => [digest]);
}

function containerExists(container: ContainerId): LarderError {
  return new LarderError('LARDER_CONTAINER_EXISTS', `claim layers: container ${container}: it exists already`, {
    hint: 'choose another id, or destroy the container first',
    details: { container },
  });
}
