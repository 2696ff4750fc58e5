/**
 * ▸ Pulls' holds: what a handle is about to use, from before the first byte until an image record or a claim names it
 * (I5). A lease counts while its handle is open, and no longer: no power cut leaves one that counts, so none is waited for
 * until it is on the disk. It owns the tables leases, lease_layers and lease_blobs.
 *
 * To use what a record names: read the record, add its names to a lease, read the record again. If it is still there,
 * a prune that comes later finds the lease.
 */
import { randomUUID } from 'node:crypto';
import { isLarderError, LarderError } from '../errors.js';
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
  /** All processes see it when it resolves. Rejects with LARDER_INTERNAL when the lease was released. */
  add(names: LeasedNames): Promise<void>;
  /**
   * Idempotent. Never rejects because the disk fails: what was done under it stands, or has an error of its own. Then it
   * holds what it held until the handle's leases next change, or the handle is gone.
   */
  release(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

interface Open {
  readonly id: string;
  isRecorded: boolean;
  isReleased: boolean;
}

const UNSYNCED = { durable: false } as const;
const CLOSE_MS = 1000;

export class Leases {
  readonly #database: Database;
  readonly #layout: Layout;
  readonly #handle: StoreHandle;
  /** Released, and still recorded. */
  readonly #owed = new Set<string>();

  constructor(options: LeasesOptions) {
    this.#database = options.database;
    this.#layout = options.layout;
    this.#handle = options.handle;
  }

  /** An empty lease, or one that holds these at once. It is recorded when it first holds something. */
  async create(names?: LeasedNames): Promise<Lease> {
    const lease: Open = { id: randomUUID(), isRecorded: false, isReleased: false };
    if (names !== undefined) await this.#add(lease, names);
    const release = (): Promise<void> => this.#remove(lease);
    return { id: lease.id, add: (more) => this.#add(lease, more), release, [Symbol.asyncDispose]: release };
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

  /**
   * Gives back what the handle holds still, before it is closed: a pull that was cancelled need not have come so far. Like
   * {@link Lease.release} it never rejects because the disk fails or another process has the database for long: with the
   * handle they end in any case.
   */
  async end(): Promise<void> {
    const own = 'FROM leases WHERE handle = ?';
    try {
      if (this.#database.get(`SELECT 1 ${own} LIMIT 1`, this.#handle.id) === undefined) return;
      // Who makes a damaged database again holds the lock for long; nobody waits for it to close a store.
      const options = { ...UNSYNCED, signal: AbortSignal.timeout(CLOSE_MS) };
      await this.#database.transaction((writer) => writer.run(`DELETE ${own}`, this.#handle.id), options);
    } catch (error) {
      if (!isLarderError(error)) throw error;
    }
  }

  async #add(lease: Open, names: LeasedNames): Promise<void> {
    const { id } = lease;
    let deleted: readonly string[] = [];
    await this.#database.transaction((writer) => {
      if (lease.isReleased || (lease.isRecorded && !this.#isThere(id))) {
        throw new LarderError('LARDER_INTERNAL', `extend lease: ${id}: there is no such lease`);
      }
      if (!lease.isRecorded) {
        const insert = 'INSERT OR IGNORE INTO leases (id, handle, created) VALUES (?, ?, ?)';
        writer.run(insert, id, this.#handle.id, Date.now());
      }
      insertNames(writer, id, names);
      deleted = this.#deleteOwed(writer);
    }, UNSYNCED);
    lease.isRecorded = true;
    for (const each of deleted) this.#owed.delete(each);
  }

  async #remove(lease: Open): Promise<void> {
    lease.isReleased = true;
    try {
      if (!this.#isThere(lease.id)) return;
      this.#owed.add(lease.id);
      const deleted = await this.#database.transaction((writer) => this.#deleteOwed(writer), UNSYNCED);
      for (const each of deleted) this.#owed.delete(each);
    } catch (error) {
      if (!isLarderError(error)) throw error;
    }
  }

  /** Which, for when it is committed. */
  #deleteOwed(writer: Writer): readonly string[] {
    const owed = [...this.#owed];
    for (const id of owed) writer.run('DELETE FROM leases WHERE id = ?', id);
    return owed;
  }

  #isThere(id: string): boolean {
    return this.#database.get('SELECT id FROM leases WHERE id = ?', id) !== undefined;
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
