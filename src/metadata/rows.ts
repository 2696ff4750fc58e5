/** Rows as they come from the disk, checked as they enter: a database is only as good as the disk it lies on. */
import { isLarderError } from '../errors.js';
import { type ContainerId, parseContainerId } from '../spec/container-id.js';
import { type DiffId, type Digest, parseDiffId, parseDigest } from '../spec/digest.js';
import type { ImageType } from '../spec/image.js';
import { type LayerView, parseLayerView } from '../spec/stack.js';
import type { Database, Row, SqlValue, Writer } from './database.js';

/** Reads the columns of one row; rejects with LARDER_METADATA_CORRUPT where a column is not what the schema says. */
export class RowReader {
  readonly #database: Database;
  readonly #row: Row;

  constructor(database: Database, row: Row) {
    this.#database = database;
    this.#row = row;
  }

  text(column: string): string {
    const value = this.#row[column];
    if (typeof value === 'string') return value;
    throw this.#corrupt(column, 'not a text');
  }

  optionalText(column: string): string | undefined {
    return this.#row[column] === null ? undefined : this.text(column);
  }

  /** Not negative. */
  count(column: string): number {
    const value = this.#row[column];
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw this.#corrupt(column, 'not a whole number');
  }

  digest(column: string): Digest {
    return this.#parsed(column, parseDigest);
  }

  diffId(column: string): DiffId {
    return this.#parsed(column, parseDiffId);
  }

  view(column: string): LayerView | undefined {
    return this.#row[column] === null ? undefined : this.#parsed(column, parseLayerView);
  }

  container(column: string): ContainerId {
    return this.#parsed(column, parseContainerId);
  }

  imageType(column: string): ImageType {
    const value = this.text(column);
    if (value === 'docker' || value === 'appc') return value;
    throw this.#corrupt(column, 'not an image type');
  }

  #parsed<T>(column: string, parse: (text: string) => T): T {
    try {
      return parse(this.text(column));
    } catch (error) {
      if (isLarderError(error, 'LARDER_DIGEST_INVALID', 'LARDER_REQUEST_INVALID')) {
        throw this.#corrupt(column, error.message);
      }
      throw error;
    }
  }

  #corrupt(column: string, why: string): Error {
    return this.#database.damage(`column ${column}: ${why}`);
  }
}

/** Writes a list with its order; `sql` takes the owner's columns, the position and the value's columns. */
export function insertList<T>(
  writer: Writer,
  sql: string,
  owner: readonly (string | number)[],
  values: readonly T[],
  columns: (value: T) => readonly SqlValue[],
): void {
  for (const [position, value] of values.entries()) writer.run(sql, ...owner, position, ...columns(value));
}

/** The values of one column, in the order of the query. */
export function column<T>(
  database: Database,
  read: (row: RowReader) => T,
  sql: string,
  ...values: readonly (string | number)[]
): T[] {
  return database.all(sql, ...values).map((row) => read(new RowReader(database, row)));
}
