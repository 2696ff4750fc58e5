/** ▸ What was made from several layers, with its checksum (I10). It owns the tables derived and derived_layers. */
import type { DiffId } from '../spec/digest.js';
import type { Database } from './database.js';
import type { DerivedRecord } from './records.js';
import { column, insertList, type RowReader } from './rows.js';

type Kind = DerivedRecord['kind'];

export class Derived {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Replaces; durable when it resolves. */
  async put(record: DerivedRecord): Promise<void> {
    const { kind, key, sha256, size, layers } = record;
    await this.#database.transaction((writer) => {
      writer.run('DELETE FROM derived WHERE kind = ? AND key = ?', kind, key);
      writer.run('INSERT INTO derived VALUES (?, ?, ?, ?)', kind, key, sha256, size);
      insertList(writer, 'INSERT INTO derived_layers VALUES (?, ?, ?, ?)', [kind, key], layers, (diffId) => [diffId]);
    });
  }

  get(kind: Kind, key: string): DerivedRecord | undefined {
    return this.#database.snapshot(() => {
      const [found] = this.#select(kind, 'WHERE kind = ? AND key = ?', kind, key);
      return found;
    });
  }

  list(kind: Kind): DerivedRecord[] {
    return this.#database.snapshot(() => this.#select(kind, 'WHERE kind = ? ORDER BY key', kind));
  }

  /** Everything that this layer is part of. */
  madeFrom(kind: Kind, diffId: DiffId): DerivedRecord[] {
    const where =
      'WHERE kind = ? AND key IN (SELECT key FROM derived_layers WHERE kind = ? AND diff_id = ?) ORDER BY key';
    return this.#database.snapshot(() => this.#select(kind, where, kind, kind, diffId));
  }

  /** How many of them there were; one transaction. */
  async delete(kind: Kind, ...keys: readonly string[]): Promise<number> {
    return this.#database.transaction((writer) =>
      keys.reduce((sum, key) => sum + writer.run('DELETE FROM derived WHERE kind = ? AND key = ?', kind, key), 0),
    );
  }

  #select(kind: Kind, where: string, ...values: readonly string[]): DerivedRecord[] {
    const read = (row: RowReader): DerivedRecord => {
      const key = row.text('key');
      return { kind, key, sha256: row.text('sha256'), size: row.count('size'), layers: this.#layersOf(kind, key) };
    };
    return column(this.#database, read, `SELECT * FROM derived ${where}`, ...values);
  }

  #layersOf(kind: Kind, key: string): DiffId[] {
    const sql = 'SELECT diff_id FROM derived_layers WHERE kind = ? AND key = ? ORDER BY position';
    return column(this.#database, (row) => row.diffId('diff_id'), sql, kind, key);
  }
}
