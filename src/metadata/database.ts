/**
 * ▸ The one SQLite database of a store, under metadata/. Everything that must be remembered and cannot be rebuilt from
 * layers/ and blobs/ is in it. There is no copy in memory: SQL answers every question, so memory can never be ahead of
 * the disk (I9).
 *
 * WAL with synchronous=FULL: when a transaction's promise resolves, a power cut does not undo it. Any number of
 * processes read at once, also while one writes. Writers queue at a kernel lock (metadata/writer.lock), because
 * SQLite's own busy handler blocks the event loop and starves. Only the folder metadata/ speaks SQL.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, openSync, statSync, writeFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { KeyedMutex } from '../concurrency.js';
import { errnoOf, LarderError } from '../errors.js';
import { closing, ensureDirectory, fsyncDirectory, unlinkIfThere } from '../linux/durable.js';
import { lockFile } from '../linux/file-lock.js';
import { namesIn } from '../linux/names-in.js';
import { MIGRATIONS, SCHEMA, SCHEMA_VERSION } from './schema.js';
import { openSqlite, type Row, type SqliteDatabase, type SqliteStatement, type SqlValue } from './sqlite.js';
import { isDamage, isIoError, metadataCorrupt, sqliteError } from './sqlite-error.js';

export type { Row, SqlValue } from './sqlite.js';

/** "lrdr": tells a larder database from any other that lies at its place. */
const APPLICATION_ID = 0x6c726472;
/** Only recovery and the checkpoint of the last one to close make others wait inside SQLite. */
const BUSY_TIMEOUT_MS = 5000;

export interface DatabaseOptions {
  /** For reading only: takes no lock, changes nothing, and the database must exist. */
  readonly readOnly?: boolean;
  readonly signal?: AbortSignal;
  /** Whether there must have been one: then none is made in its place. Asked while nobody else makes one. */
  readonly isLost?: () => Promise<boolean>;
}

export interface TransactionOptions {
  readonly signal?: AbortSignal;
  /**
   * False for what counts only while this process lives, as a lease does: it is seen by all at once, and a power cut may
   * undo it, but nothing that was made durable before or after it. Default true.
   */
  readonly durable?: boolean;
}

/** What a transaction may do beside reading. */
export interface Writer {
  /** Rows changed. */
  run(sql: string, ...values: readonly SqlValue[]): number;
  /** The id of the row that was inserted. */
  insert(sql: string, ...values: readonly SqlValue[]): number;
}

export class Database {
  readonly path: string;
  readonly #sqlite: SqliteDatabase;
  readonly #readOnly: boolean;
  readonly #statements = new Map<string, SqliteStatement>();
  readonly #turn = new KeyedMutex<'writer'>();
  #depth = 0;
  /** Whether SQLite waits for the disk at the end of each transaction now. */
  #syncs = true;
  readonly #file: FileIdentity | undefined;
  #failed: LarderError | undefined;
  #closed = false;

  /** `file`: what lay at `path` before `sqlite` opened it, so that one which took its place since is never mistaken for it. */
  constructor(path: string, sqlite: SqliteDatabase, readOnly: boolean, file: FileIdentity | undefined) {
    this.path = path;
    this.#sqlite = sqlite;
    this.#readOnly = readOnly;
    this.#file = file;
  }

  /**
   * Opens the database of `layout.database`, creating it durably when it is missing. Rejects with
   * LARDER_FORMAT_VERSION (newer schema), LARDER_METADATA_CORRUPT (also when it is lost), LARDER_NO_SPACE, LARDER_PERMISSION,
   * LARDER_PATH_NOT_FOUND (read-only and missing).
   */
  static async open(path: string, options: DatabaseOptions = {}): Promise<Database> {
    const readOnly = options.readOnly ?? false;
    if (readOnly) requireFile(path);
    else if (!existsSync(path)) await createDatabase(path, options);
    const current = openExisting(path, { readOnly, mayBeOld: !readOnly });
    if (current !== undefined) return current;
    await upgradeDatabase(path, options.signal);
    return openExisting(path, { readOnly, mayBeOld: false });
  }

  all(sql: string, ...values: readonly SqlValue[]): Row[] {
    return this.#guard('read metadata', () => this.#statement(sql).all(...values));
  }

  get(sql: string, ...values: readonly SqlValue[]): Row | undefined {
    return this.#guard('read metadata', () => this.#statement(sql).get(...values));
  }

  /** Several reads that see one state. Synchronous; takes no lock. */
  snapshot<T>(read: () => T): T {
    if (this.#depth > 0) return read();
    return this.#bracket('BEGIN', read);
  }

  /**
   * One change, durable unless asked otherwise: all of `work` or nothing. `work` is synchronous, sees its own writes and must not touch
   * anything but the database. Rejects with what `work` throws, or LARDER_NO_SPACE, LARDER_PERMISSION,
   * LARDER_METADATA_CORRUPT, LARDER_ABORTED; then nothing has changed. After an I/O error of the disk this handle
   * refuses to write again, since nothing is known of what reached it.
   */
  async transaction<T>(work: (writer: Writer) => T, options: TransactionOptions = {}): Promise<T> {
    if (this.#readOnly) throw readOnlyError(this.path);
    return this.#turn.run('writer', () => this.#write(work, options), options.signal);
  }

  /** What SQLite finds wrong with the file; empty when it is sound. Reads all of it. */
  integrity(): string[] {
    const damages = this.all('PRAGMA integrity_check').map((row) => String(row['integrity_check']));
    const orphans = this.all('PRAGMA foreign_key_check').map((row) => `${row['table']}: dangling row ${row['rowid']}`);
    return [...damages.filter((line) => line !== 'ok'), ...orphans];
  }

  /** An error for what was read and cannot be true; who opens the database next looks at all of it. */
  damage(why: string): LarderError {
    suspect(this.path);
    return metadataCorrupt(this.path, why);
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#statements.clear();
    this.#sqlite.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #write<T>(work: (writer: Writer) => T, { signal, durable = true }: TransactionOptions): Promise<T> {
    const lock = await lockFile(writerLockOf(this.path), 'exclusive', signal === undefined ? {} : { signal });
    try {
      if (this.#failed !== undefined) throw this.#failed;
      const writer: Writer = {
        run: (sql, ...values) => Number(this.#statement(sql).run(...values).changes),
        insert: (sql, ...values) => Number(this.#statement(sql).run(...values).lastInsertRowid),
      };
      this.#waitForDisk(durable);
      return this.#bracket('BEGIN IMMEDIATE', () => work(writer));
    } finally {
      lock.release();
      // All of the above may have run without a pause: who writes in a loop still leaves room for everybody else.
      await nextTurn();
    }
  }

  /** With WAL, NORMAL leaves out the sync at the end of a transaction, never those of a checkpoint. */
  #waitForDisk(wait: boolean): void {
    if (wait === this.#syncs) return;
    this.#guard('write metadata', () => this.#sqlite.exec(`PRAGMA synchronous = ${wait ? 'FULL' : 'NORMAL'}`));
    this.#syncs = wait;
  }

  #bracket<T>(begin: string, work: () => T): T {
    const doing = begin === 'BEGIN' ? 'read metadata' : 'write metadata';
    return this.#guard(doing, () => {
      this.#sqlite.exec(begin);
      this.#depth++;
      try {
        const result = work();
        this.#sqlite.exec('COMMIT');
        return result;
      } catch (error) {
        this.#rollback(error);
        throw error;
      } finally {
        this.#depth--;
      }
    });
  }

  #rollback(reason: unknown): void {
    try {
      this.#sqlite.exec('ROLLBACK');
    } catch (error) {
      // SQLite rolls back by itself on a full disk and on I/O errors, and then knows of no transaction.
      const message = error instanceof Error ? error.message : String(error);
      if (!message.includes('no transaction is active')) throw new AggregateError([reason, error], message);
    }
  }

  #guard<T>(doing: string, work: () => T): T {
    try {
      // Within a transaction it was looked at when that began.
      if (this.#depth === 0) this.#requireSameFile();
      return work();
    } catch (error) {
      const failure = sqliteError(doing, this.path, error);
      if (isDamage(error)) suspect(this.path);
      if (doing === 'write metadata' && isIoError(error, failure)) this.#failed = failure;
      throw failure;
    }
  }

  /** Another process may have moved it away as damaged: nothing that it says, and nothing told to it, counts any more. */
  #requireSameFile(): void {
    if (!isStill(this.path, this.#file)) throw replacedError('use metadata', this.path);
  }

  #statement(sql: string): SqliteStatement {
    if (this.#closed) throw new LarderError('LARDER_INTERNAL', `use metadata: ${this.path}: the database is closed`);
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#sqlite.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

interface FileIdentity {
  readonly ino: bigint;
  readonly dev: bigint;
}

function identityOf(path: string): FileIdentity | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false });
}

function isStill(path: string, file: FileIdentity | undefined): boolean {
  const now = identityOf(path);
  return now !== undefined && now.ino === file?.ino && now.dev === file.dev;
}

function replacedError(doing: string, path: string): LarderError {
  return new LarderError('LARDER_METADATA_CORRUPT', `${doing}: ${path}: another file took its place`, {
    hint: 'open the store again',
  });
}

/** Beside the database: somebody was told that it is damaged. */
export function suspicionOf(path: string): string {
  return join(dirname(path), 'suspect');
}

/** Whoever opens it next reads all of it first. Where not even this can be written, `larder repair` still does. */
function suspect(path: string): void {
  try {
    writeFileSync(suspicionOf(path), '');
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

export function writerLockOf(path: string): string {
  return join(dirname(path), 'writer.lock');
}

function requireFile(path: string): void {
  if (existsSync(path)) return;
  throw new LarderError('LARDER_PATH_NOT_FOUND', `open metadata: ${path}: there is no store here`, {
    hint: 'pull an image first, or name the store with --root',
  });
}

/**
 * The file appears under its name only when it is whole, so an empty or half-written one is always damage and never
 * taken for a new store: that would forget which layers running containers need.
 */
async function createDatabase(path: string, { signal, isLost }: DatabaseOptions): Promise<void> {
  await ensureDirectory(dirname(path), 0o700);
  const lock = await lockFile(writerLockOf(path), 'exclusive', signal === undefined ? {} : { signal });
  try {
    if (existsSync(path)) return;
    // Who makes a damaged one again may have been killed after the old one went and before the new one came.
    if ((await isLost?.()) === true) throw metadataCorrupt(path, 'it is missing');
    await removeRemains(path);
    const temporary = `${path}.${randomUUID()}.tmp`;
    await buildDatabase(temporary).catch(async (error: unknown) => {
      for (const suffix of ['', '-journal', '-wal', '-shm']) await unlinkIfThere(`${temporary}${suffix}`);
      throw sqliteError('create metadata', path, error);
    });
    await rename(temporary, path);
    await fsyncDirectory(dirname(path));
  } catch (error) {
    throw errnoOf(error) === undefined ? error : sqliteError('create metadata', path, error);
  } finally {
    lock.release();
  }
}

/** What killed creators left, and the log of a database that is gone: SQLite would take it for the new one's. */
async function removeRemains(path: string): Promise<void> {
  const [directory, name] = [dirname(path), basename(path)];
  for (const other of await namesIn(directory)) {
    const isRemains = other.startsWith(`${name}-`) || (other.startsWith(`${name}.`) && other.includes('.tmp'));
    if (isRemains) await unlinkIfThere(join(directory, other));
  }
}

/**
 * Nobody reads it under this name, so nothing is synced while it grows: once, as a whole, before it gets its own name.
 * Closing checkpoints the log into the file and removes it: one whole file is left.
 */
async function buildDatabase(path: string): Promise<void> {
  // SQLite asks the umask, and gives its logs the mode of this file.
  closeSync(openSync(path, 'wx', 0o600));
  const sqlite = openSqlite(path, false);
  try {
    sqlite.exec('PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF');
    sqlite.exec(
      `BEGIN; ${SCHEMA}; PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`,
    );
    sqlite.exec('PRAGMA journal_mode = WAL');
  } finally {
    sqlite.close();
  }
  const handle = await open(path, 'r');
  await closing(handle, () => handle.sync());
}

/** Step by step to the version that this larder knows. */
async function upgradeDatabase(path: string, signal: AbortSignal | undefined): Promise<void> {
  const lock = await lockFile(writerLockOf(path), 'exclusive', signal === undefined ? {} : { signal });
  let sqlite: SqliteDatabase | undefined;
  try {
    sqlite = openSqlite(path, false);
    sqlite.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}; PRAGMA synchronous = FULL`);
    for (let step = migrationFrom(sqlite); step !== undefined; step = migrationFrom(sqlite)) {
      sqlite.exec(`BEGIN IMMEDIATE; ${step.sql}; PRAGMA user_version = ${step.to}; COMMIT`);
    }
  } catch (error) {
    throw sqliteError('upgrade metadata', path, error);
  } finally {
    sqlite?.close();
    lock.release();
  }
}

/** What is to be done next to a database of an older version; undefined for this one's, and for none of ours. */
function migrationFrom(sqlite: SqliteDatabase): { readonly sql: string; readonly to: number } | undefined {
  const version = Number(pragma(sqlite, 'user_version'));
  const sql = pragma(sqlite, 'application_id') === APPLICATION_ID ? MIGRATIONS[version] : undefined;
  return sql === undefined ? undefined : { sql, to: version + 1 };
}

/** Undefined for one of an older version, where that `mayBeOld`. */
function openExisting(path: string, options: { readonly readOnly: boolean; readonly mayBeOld: false }): Database;
function openExisting(path: string, options: OpenExisting): Database | undefined;
function openExisting(path: string, { readOnly, mayBeOld }: OpenExisting): Database | undefined {
  let sqlite: SqliteDatabase | undefined;
  let file: FileIdentity | undefined;
  try {
    file = identityOf(path);
    if (statSync(path).size === 0) throw metadataCorrupt(path, 'the file is empty');
    sqlite = openSqlite(path, readOnly);
    sqlite.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL`);
    if (mayBeOld && migrationFrom(sqlite) !== undefined) {
      sqlite.close();
      return undefined;
    }
    checkHeader(path, sqlite);
    if (!isStill(path, file)) throw replacedError('open metadata', path);
    return new Database(path, sqlite, readOnly, file);
  } catch (error) {
    sqlite?.close();
    throw openError(path, file, error);
  }
}

/** Who makes it again may have moved it away meanwhile: what the system and SQLite make of that says nothing of the disk. */
function openError(path: string, file: FileIdentity | undefined, error: unknown): LarderError {
  try {
    if (!isStill(path, file)) return replacedError('open metadata', path);
  } catch (unseen) {
    if (errnoOf(unseen) === undefined) throw unseen;
  }
  return sqliteError('open metadata', path, error);
}

interface OpenExisting {
  readonly readOnly: boolean;
  readonly mayBeOld: boolean;
}

function checkHeader(path: string, sqlite: SqliteDatabase): void {
  if (pragma(sqlite, 'application_id') !== APPLICATION_ID) throw metadataCorrupt(path, 'not a larder database');
  const version = pragma(sqlite, 'user_version');
  if (version === SCHEMA_VERSION) return;
  throw new LarderError(
    'LARDER_FORMAT_VERSION',
    `open metadata: ${path}: schema ${version}, this larder knows ${SCHEMA_VERSION}`,
    {
      hint: 'use the larder that wrote this store, or a newer one',
      details: { found: String(version), known: SCHEMA_VERSION },
    },
  );
}

function pragma(sqlite: SqliteDatabase, name: string): unknown {
  return sqlite.prepare(`PRAGMA ${name}`).get()?.[name];
}

function readOnlyError(path: string): LarderError {
  return new LarderError('LARDER_PERMISSION', `write metadata: ${path}: the store was opened for reading only`);
}
