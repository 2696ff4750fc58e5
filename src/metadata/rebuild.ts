/**
 * ▸ A database that was lost or is damaged gives way to a new one, which the caller fills with what the files of the
 * store prove. The old one is moved to metadata/damaged-<time>/, with its log, and never deleted.
 *
 * One process does it, under the writer lock; who comes meanwhile waits, and finds the new one. Who has the old one open
 * is refused from then on, by every read and write (`Database`).
 */
import { randomUUID } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, isLarderError, systemError } from '../errors.js';
import { closing, ensureDirectory, fsyncDirectory, unlinkIfThere } from '../linux/durable.js';
import { lockFile } from '../linux/file-lock.js';
import { namesIn } from '../linux/names-in.js';
import { Claims } from './claims.js';
import { Database, suspicionOf, writerLockOf } from './database.js';
import { Derived } from './derived.js';
import { Layers } from './layers.js';
import { MetadataManager } from './metadata-manager.js';

export interface ReplaceOptions {
  readonly signal?: AbortSignal;
  /** Whether the store has anything in it: then it had a database, too. */
  readonly hasContent: () => Promise<boolean>;
  /** Called before it is filled; `why` in words. */
  readonly onDamage: (why: string) => void;
  readonly fill: (database: Database) => Promise<void>;
}

const WORK = 'rebuilding-';

/** Whether somebody who opens this database must look at all of it first, or make a new one. Cheap. */
export async function isSuspect(path: string, hasContent: () => Promise<boolean>): Promise<boolean> {
  if (existsSync(suspicionOf(path))) return true;
  if (existsSync(path)) return false;
  // Once more, after the look: a store has its database before it has anything else.
  return (await hasContent()) && !existsSync(path);
}

/** Where the old one was put; undefined when there is nothing to replace, perhaps because another process just did. */
export async function replaceDamaged(path: string, options: ReplaceOptions): Promise<string | undefined> {
  const { signal, onDamage, fill } = options;
  const directory = dirname(path);
  await ensureDirectory(directory, 0o700);
  const lock = await lockFile(writerLockOf(path), 'exclusive', signal === undefined ? {} : { signal });
  try {
    const why = await damageOf(path, options.hasContent);
    if (why === undefined) {
      await removeLeftovers(directory);
      await unlinkIfThere(suspicionOf(path));
      return undefined;
    }
    onDamage(why);
    // 1. A new one, in a directory of its own: killed anywhere, the next one looks again, and clears what is left.
    await closing(await open(suspicionOf(path), 'w', 0o600), async () => {});
    await removeLeftovers(directory);
    const work = join(directory, `${WORK}${randomUUID()}`);
    await build(join(work, 'larder.db'), fill);
    // 2. The old one goes. Killed here, there is none, which is noticed as damage.
    const aside = join(directory, `damaged-${new Date().toISOString().replaceAll(':', '')}`);
    await moveAside(path, aside);
    // 3. The point of no return.
    await rename(join(work, 'larder.db'), path);
    await fsyncDirectory(directory);
    await rm(work, { recursive: true, force: true });
    await unlinkIfThere(suspicionOf(path));
    return aside;
  } catch (error) {
    throw systemError(`make metadata again: ${path}`, error);
  } finally {
    lock.release();
  }
}

/**
 * What is wrong with it, found by reading all of it, twice: SQLite also calls a page damaged that the disk failed to give
 * once. Undefined when it is sound, or of another version. Rejects when the disk cannot give it.
 */
export async function damageOf(path: string, hasContent: () => Promise<boolean>): Promise<string | undefined> {
  if (!existsSync(path)) return (await hasContent()) ? 'it is missing' : undefined;
  if ((await damageFound(path)) === undefined) return undefined;
  for (const suffix of ['', '-wal']) await requireReadable(`${path}${suffix}`);
  return damageFound(path);
}

async function damageFound(path: string): Promise<string | undefined> {
  let database: Database | undefined;
  try {
    database = await Database.open(path, { readOnly: true });
    return readAll(database);
  } catch (error) {
    if (isLarderError(error, 'LARDER_METADATA_CORRUPT')) return error.message;
    if (isLarderError(error, 'LARDER_FORMAT_VERSION')) return undefined;
    throw error;
  } finally {
    database?.close();
  }
}

async function requireReadable(path: string): Promise<void> {
  try {
    for await (const _ of createReadStream(path));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw systemError(`read metadata: ${path}`, error);
  }
}

function readAll(database: Database): string | undefined {
  const [line] = database.integrity();
  if (line !== undefined) return line;
  // SQLite knows its own pages; whether the values are such as were written, only who reads them knows.
  for (const type of ['docker', 'appc'] as const) for (const _ of MetadataManager.create({ database, type }).list());
  new Layers(database).list();
  new Claims(database).list();
  for (const kind of ['merged', 'chain'] as const) new Derived(database).list(kind);
  return undefined;
}

async function build(path: string, fill: (database: Database) => Promise<void>): Promise<void> {
  const database = await Database.open(path);
  try {
    // Nobody reads it under this name: it is synced once, as a whole.
    database.get('PRAGMA synchronous = OFF');
    await fill(database);
    database.get('PRAGMA wal_checkpoint(TRUNCATE)');
  } finally {
    database.close();
  }
  const file = await open(path, 'r');
  await closing(file, () => file.sync());
}

/** A database with its log into a directory of their own; what goes meanwhile is not missed. */
export async function moveAside(path: string, aside: string): Promise<void> {
  const there = ['', '-wal', '-shm'].filter((suffix) => existsSync(`${path}${suffix}`));
  if (there.length === 0) return;
  await ensureDirectory(aside, 0o700);
  for (const suffix of there) await moveIfThere(`${path}${suffix}`, join(aside, `larder.db${suffix}`));
  await fsyncDirectory(aside);
}

/** Whoever closes the old one last takes its log away meanwhile. */
async function moveIfThere(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}

async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await namesIn(directory)) {
    if (name.startsWith(WORK)) await rm(join(directory, name), { recursive: true, force: true });
  }
}
