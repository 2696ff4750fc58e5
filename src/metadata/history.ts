/** ▸ What references resolved to, and when: for people who ask why an image changed. It owns the table history. */
import type { Digest } from '../spec/digest.js';
import type { Database } from './database.js';
import { column } from './rows.js';

/** Older ones of the same reference are forgotten. */
const KEPT_PER_REFERENCE = 100;

export interface Resolution {
  readonly reference: string;
  readonly digest: Digest;
  readonly atMs: number;
}

export class History {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Quiet when the reference still means the same. True when something was added. */
  async add(resolution: Resolution): Promise<boolean> {
    const { reference, digest, atMs } = resolution;
    if (this.list(reference, 1)[0]?.digest === digest) return false;
    return this.#database.transaction((writer) => {
      if (this.list(reference, 1)[0]?.digest === digest) return false;
      writer.run('INSERT INTO history (reference, digest, at) VALUES (?, ?, ?)', reference, digest, atMs);
      writer.run(
        `DELETE FROM history WHERE reference = ? AND id NOT IN
           (SELECT id FROM history WHERE reference = ? ORDER BY id DESC LIMIT ${KEPT_PER_REFERENCE})`,
        reference,
        reference,
      );
      return true;
    });
  }

  /** Newest first. */
  list(reference: string, limit: number = KEPT_PER_REFERENCE): Resolution[] {
    return column(
      this.#database,
      (row) => ({ reference, digest: row.digest('digest'), atMs: row.count('at') }),
      'SELECT digest, at FROM history WHERE reference = ? ORDER BY id DESC LIMIT ?',
      reference,
      limit,
    );
  }
}
