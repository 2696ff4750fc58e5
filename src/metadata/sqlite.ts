/** SQLite itself: `node:sqlite` where this Node has it, else the package with the same interface. */
import { createRequire, isBuiltin } from 'node:module';

export type SqlValue = string | number | null;
export type Row = Readonly<Record<string, unknown>>;

export interface SqliteStatement {
  all(...values: readonly SqlValue[]): Row[];
  get(...values: readonly SqlValue[]): Row | undefined;
  run(...values: readonly SqlValue[]): { readonly changes: number | bigint; readonly lastInsertRowid: number | bigint };
}

export interface SqliteDatabase {
  exec(sql: string): void;
  prepare(sql: string): SqliteStatement;
  close(): void;
}

interface SqliteModule {
  readonly DatabaseSync: new (path: string, options: { readonly readOnly: boolean }) => SqliteDatabase;
}

let loaded: SqliteModule | undefined;

export function openSqlite(path: string, readOnly: boolean): SqliteDatabase {
  loaded ??= loadSqlite();
  return new loaded.DatabaseSync(path, { readOnly });
}

/** Loaded when a database is opened, and not before: everything that needs none starts without it. */
function loadSqlite(): SqliteModule {
  const require = createRequire(import.meta.url);
  if (!isBuiltin('node:sqlite')) return require('@photostructure/sqlite');
  return withoutSqliteWarning(() => require('node:sqlite'));
}

/** Loading node:sqlite warns that it is experimental, which is ours to know and not the user's. Others pass. */
function withoutSqliteWarning<T>(load: () => T): T {
  const { emitWarning } = process;
  const filtered = (...args: unknown[]): void => {
    const [warning] = args;
    if (typeof warning === 'string' && warning.startsWith('SQLite is an experimental feature')) return;
    Reflect.apply(emitWarning, process, args);
  };
  process.emitWarning = filtered;
  try {
    return load();
  } finally {
    process.emitWarning = emitWarning;
  }
}
