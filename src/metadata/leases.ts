/**
 * ▸ Pulls' holds: what a handle is about to use, from before the first byte until an image record or a claim names it
 * (I5). A lease counts while its handle is open, and no longer. It owns the tables leases, lease_layers and
 * lease_blobs.
 *
 * To use what a record names: read the record, add its names to a lease, read the record again. If it is still there,
 * a prune that comes later finds the lease.
 */
import { randomUUID } from 'node:crypto';
import { LarderError } from '../errors.js';
import type { Layout } from '../layout.js';
import type { DiffId, Digest } from '../spec/digest.js';
import type { Database, Writer } from './database.js';
import { isHandleAlive, removeDeadHandles, type StoreHandle } from './handles.js';
import type { LeaseRecord } from './records.js';
import { column, type RowReader } from './rows.js';

export interface LeasedNames {
  readonly layers?: Iterable<DiffId>;
  readonly blobs?: Iterable<Digest>;
}

export interface LeasesOptions {
  readonly database: Database;
  readonly layout: Layout;
  /** Whose leases `create` makes. */
  readonly handle: StoreHandle;
}

/** One hold; to be released, or disposed of. */
export interface Lease {
  readonly id: string;
  /** Durable when it resolves. Rejects with LARDER_INTERNAL when the lease was released. */
  add(names: LeasedNames): Promise<void>;
  /** Idempotent. */
  release(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export class Leases {
  readonly #database: Database;
  readonly #layout: Layout;
  readonly #handle: StoreHandle;

  constructor(options: LeasesOptions) {
    this.#database = options.database;
    this.#layout = options.layout;
    this.#handle = options.handle;
  }

  /** An empty lease, or one that holds these at once; durable when it resolves. */
  async create(names: LeasedNames = {}): Promise<Lease> {
    const id = randomUUID();
    await this.#database.transaction((writer) => {
      writer.run('INSERT INTO leases (id, handle, created) VALUES (?, ?, ?)', id, this.#handle.id, Date.now());
      insertNames(writer, id, names);
    });
    const release = (): Promise<void> => this.#remove(id);
    return { id, add: (more) => this.#add(id, more), release, [Symbol.asyncDispose]: release };
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

  async #add(id: string, names: LeasedNames): Promise<void> {
    await this.#database.transaction((writer) => {
      if (this.#database.get('SELECT id FROM leases WHERE id = ?', id) === undefined) {
        throw new LarderError('LARDER_INTERNAL', `extend lease: ${id}: there is no such lease`);
      }
      insertNames(writer, id, names);
    });
  }

  async #remove(id: string): Promise<void> {
    if (this.#database.get('SELECT id FROM leases WHERE id = ?', id) === undefined) return;
    await this.#database.transaction((writer) => writer.run('DELETE FROM leases WHERE id = ?', id));
  }

  #handles(): string[] {
    return leaseHandles(this.#database);
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

/** Open or not. */
export function leaseHandles(database: Database): string[] {
  return column(database, (row) => row.text('handle'), 'SELECT DISTINCT handle FROM leases');
}

function insertNames(writer: Writer, lease: string, names: LeasedNames): void {
  for (const diffId of names.layers ?? [])
    writer.run('INSERT OR IGNORE INTO lease_layers VALUES (?, ?)', lease, diffId);
  for (const digest of names.blobs ?? []) writer.run('INSERT OR IGNORE INTO lease_blobs VALUES (?, ?)', lease, digest);
}
