/** ▸ What is known of each adopted layer. It owns the table layers; the bytes are the layer store's. */
import type { DiffId } from '../spec/digest.js';
import type { Database } from './database.js';
import type { LayerRecord } from './records.js';
import { column, type RowReader } from './rows.js';

const SELECT = 'SELECT * FROM layers';

export class Layers {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Replaces; durable when it resolves. Several records are one transaction. */
  async put(...records: readonly LayerRecord[]): Promise<void> {
    await this.#database.transaction((writer) => {
      for (const record of records) {
        writer.run(
          'INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
          record.diffId,
          record.tarSize,
          record.entries,
          record.indexSha256,
          record.indexSize,
          record.extraSha256 ?? null,
          record.extraSize,
          record.derivedFormat,
          record.suspect === true ? 1 : 0,
        );
      }
    });
  }

  get(diffId: DiffId): LayerRecord | undefined {
    const [found] = column(this.#database, layerRecordOf, `${SELECT} WHERE diff_id = ?`, diffId);
    return found;
  }

  list(): LayerRecord[] {
    return column(this.#database, layerRecordOf, `${SELECT} ORDER BY diff_id`);
  }

  /** Notes what a look at the layer's bytes said of them; nothing where there is no record. Durable. */
  async setSuspect(diffId: DiffId, suspect: boolean): Promise<void> {
    const value = suspect ? 1 : 0;
    const sql = 'UPDATE layers SET suspect = ? WHERE diff_id = ? AND suspect <> ?';
    await this.#database.transaction((writer) => writer.run(sql, value, diffId, value));
  }

  /** Nearly always none: asked before every use of an image, it must cost nothing. */
  suspects(): DiffId[] {
    return column(this.#database, (row) => row.diffId('diff_id'), 'SELECT diff_id FROM layers WHERE suspect = 1');
  }

  /** How many of them there were; one transaction. */
  async delete(...diffIds: readonly DiffId[]): Promise<number> {
    return this.#database.transaction((writer) =>
      diffIds.reduce((sum, diffId) => sum + writer.run('DELETE FROM layers WHERE diff_id = ?', diffId), 0),
    );
  }
}

function layerRecordOf(row: RowReader): LayerRecord {
  return {
    diffId: row.diffId('diff_id'),
    tarSize: row.count('tar_size'),
    entries: row.count('entries'),
    indexSha256: row.text('index_sha256'),
    indexSize: row.count('index_size'),
    extraSha256: row.optionalText('extra_sha256'),
    extraSize: row.count('extra_size'),
    derivedFormat: row.count('derived_format'),
    ...(row.count('suspect') === 0 ? {} : { suspect: true }),
  };
}
