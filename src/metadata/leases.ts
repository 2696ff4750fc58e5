/**
 * ▸ Pulls' holds: what a handle is about to use, from before the first byte until an image record or a claim names it
 * (I5). A lease counts while its handle is open, and no longer. It owns the tables leases, lease_layers and
 * lease_blobs, and the directory handles/.
 */
import { randomUUID } from 'node:crypto';
import { LarderError } from '../errors.js';
import type { Layout } from '../layout.js';
import type { DiffId, Digest } from '../spec/digest.js';
import type { Database } from './database.js';
import { isHandleAlive, removeDeadHandles, type StoreHandle } from './handles.js';
import type { LeaseRecord } from './records.js';
import { column, type RowReader } from './rows.js';

export class Leases {
  readonly #database: Database;
  readonly #layout: Layout;

  constructor(database: Database, layout: Layout) {
    this.#database = database;
    this.#layout = layout;
  }

  /** An empty lease of this handle, or one that holds these at once; durable when it resolves. */
  async create(handle: StoreHandle, layers: Iterable<DiffId> = [], blobs: Iterable<Digest> = []): Promise<LeaseRecord> {
    const lease: LeaseRecord = { id: randomUUID(), handle: handle.id, layers: [...layers], blobs: [...blobs] };
    await this.#database.transaction((writer) => {
      writer.run('INSERT INTO leases VALUES (?, ?, ?)', lease.id, lease.handle, Date.now());
      for (const diffId of lease.layers)
        writer.run('INSERT OR IGNORE INTO lease_layers VALUES (?, ?)', lease.id, diffId);
      for (const digest of lease.blobs) writer.run('INSERT OR IGNORE INTO lease_blobs VALUES (?, ?)', lease.id, digest);
    });
    return lease;
  }

  /** Durable when it resolves. Rejects with LARDER_INTERNAL when the lease is gone. */
  async addLayers(lease: string, layers: Iterable<DiffId>): Promise<void> {
    await this.#add(lease, 'lease_layers', layers);
  }

  /** Durable when it resolves. Rejects with LARDER_INTERNAL when the lease is gone. */
  async addBlobs(lease: string, blobs: Iterable<Digest>): Promise<void> {
    await this.#add(lease, 'lease_blobs', blobs);
  }

  /** False when there was none. */
  async remove(lease: string): Promise<boolean> {
    return (await this.#database.transaction((writer) => writer.run('DELETE FROM leases WHERE id = ?', lease))) > 0;
  }

  /** Those whose handle is open, in any process. */
  listLive(): LeaseRecord[] {
    return this.#database.snapshot(() => {
      const alive = this.#handles().filter((handle) => isHandleAlive(this.#layout, handle));
      return alive.flatMap((handle) => this.#ofHandle(handle));
    });
  }

  /** Removes the leases of handles that are no longer open, and the files of those handles. How many leases. */
  async recover(): Promise<number> {
    const dead = this.#handles().filter((handle) => !isHandleAlive(this.#layout, handle));
    await removeDeadHandles(this.#layout);
    if (dead.length === 0) return 0;
    return this.#database.transaction((writer) =>
      dead.reduce((sum, handle) => sum + writer.run('DELETE FROM leases WHERE handle = ?', handle), 0),
    );
  }

  async #add(lease: string, table: string, names: Iterable<string>): Promise<void> {
    const values = [...names];
    if (values.length === 0) return;
    await this.#database.transaction((writer) => {
      if (this.#database.get('SELECT id FROM leases WHERE id = ?', lease) === undefined) {
        throw new LarderError('LARDER_INTERNAL', `extend lease: ${lease}: there is no such lease`);
      }
      for (const value of values) writer.run(`INSERT OR IGNORE INTO ${table} VALUES (?, ?)`, lease, value);
    });
  }

  #handles(): string[] {
    return column(this.#database, (row) => row.text('handle'), 'SELECT DISTINCT handle FROM leases');
  }

  #ofHandle(handle: string): LeaseRecord[] {
    return column(this.#database, (row) => this.#leaseOf(row), 'SELECT * FROM leases WHERE handle = ?', handle);
  }

  #leaseOf(row: RowReader): LeaseRecord {
    const id = row.text('id');
    const layers = 'SELECT diff_id FROM lease_layers WHERE lease = ? ORDER BY diff_id';
    const blobs = 'SELECT digest FROM lease_blobs WHERE lease = ? ORDER BY digest';
    return {
      id,
      handle: row.text('handle'),
      layers: column(this.#database, (item) => item.diffId('diff_id'), layers, id),
      blobs: column(this.#database, (item) => item.digest('digest'), blobs, id),
    };
  }
}
