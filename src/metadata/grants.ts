/**
 * ▸ Which users' logins have reached which repositories of registries, and when that was last seen. It owns the table grants.
 * Nothing else can tell it: a database that is made again has none, and everybody is asked for a proof once more.
 */
import type { Database } from './database.js';
import { column } from './rows.js';

/** A user who runs a registry of his own can make up names without end: the oldest are forgotten. */
const MAX_PER_USER = 10_000;

export class Grants {
  readonly #database: Database;
  readonly #lifetimeMs: number;

  /** A grant counts for `lifetimeMs` after its proof. */
  constructor(database: Database, lifetimeMs: number) {
    this.#database = database;
    this.#lifetimeMs = lifetimeMs;
  }

  /** One from the future, after the clock was set back, counts for nothing. */
  has(uid: number, repository: string, nowMs: number = Date.now()): boolean {
    const [provenMs] = column(
      this.#database,
      (row) => row.count('proven'),
      'SELECT proven FROM grants WHERE uid = ? AND repository = ?',
      uid,
      repository,
    );
    return provenMs !== undefined && provenMs <= nowMs && nowMs - provenMs < this.#lifetimeMs;
  }

  /** Durable when it resolves; proves an older one again. Those from the future, which count for nothing, go first. */
  async put(uid: number, repository: string, nowMs: number = Date.now()): Promise<void> {
    await this.#database.transaction((writer) => {
      writer.run('INSERT OR REPLACE INTO grants (uid, repository, proven) VALUES (?, ?, ?)', uid, repository, nowMs);
      writer.run(
        `DELETE FROM grants WHERE uid = ? AND repository NOT IN
           (SELECT repository FROM grants WHERE uid = ? ORDER BY proven > ?, proven DESC, repository LIMIT ${MAX_PER_USER})`,
        uid,
        uid,
        nowMs,
      );
    });
  }

  /** Quiet when there is none. */
  async revoke(uid: number, repository: string): Promise<void> {
    await this.#database.transaction((writer) =>
      writer.run('DELETE FROM grants WHERE uid = ? AND repository = ?', uid, repository),
    );
  }
}
