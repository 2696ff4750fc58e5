/** A download under way. Its bytes survive cancel, kill -9 and reboot, and a later pull from any mirror goes on from them. */
import { open, rename, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, isLarderError, systemError } from '../errors.js';
import type { Layout } from '../layout.js';
import { closing, fsyncDirectory, unlinkIfThere } from '../linux/durable.js';
import { type FileLock, type LockOptions, lockFile, tryLockFile } from '../linux/file-lock.js';
import { makeDirectories } from '../linux/make-directories.js';
import { namesIn } from '../linux/names-in.js';
import { type Digest, isDigest } from '../spec/digest.js';

export const LOCK_SUFFIX = '.lock';

/** A download takes seconds to minutes, and there may be many who wait for it. */
const WAIT_MS = 50;

export type OpenIngestOptions = LockOptions;

export interface IngestLeftover {
  readonly digest: Digest;
  /** Bytes on disk. */
  readonly size: number;
  /** Since the last byte came, by the wall clock: for people and for choosing, never a proof. */
  readonly ageMs: number;
  /** Somebody has it open. */
  readonly busy: boolean;
}

/**
 * The hold on one download, across threads and processes: while it is open, nobody else has an Ingest of this digest.
 * The bytes themselves are appended by whoever does the work, by path; nobody may write to `dataPath` after one of the
 * three ends. Exactly one of them counts, later calls do nothing.
 */
export class Ingest {
  readonly digest: Digest;
  /** Of the compressed bytes; missing when there are none yet. */
  readonly dataPath: string;
  /** How many bytes were there when it was opened. They are not proven: the work re-hashes them. */
  readonly size: number;
  readonly #layout: Layout;
  readonly #lock: FileLock;
  #open = true;

  constructor(layout: Layout, digest: Digest, lock: FileLock, size: number) {
    this.digest = digest;
    this.dataPath = dataOf(layout, digest);
    this.size = size;
    this.#layout = layout;
    this.#lock = lock;
  }

  static async open(layout: Layout, digest: Digest, options: OpenIngestOptions = {}): Promise<Ingest> {
    const lock = await lockFile(lockOf(layout, digest), 'exclusive', {
      maxPauseMs: WAIT_MS,
      patient: true,
      ...options,
    });
    try {
      // Not durable: a download that a power cut undoes is fetched again.
      makeDirectories(layout.ingest(digest));
      return new Ingest(layout, digest, lock, await sizeOf(dataOf(layout, digest)));
    } catch (error) {
      lock.release();
      throw systemError(`start download: ${digest}`, error);
    }
  }

  /** Gives up and drops the bytes: they are known to be wrong. */
  async abort(): Promise<void> {
    await this.#end(() => this.#drop());
  }

  /** The layer was adopted. The bytes are dropped, or become the blob of their digest where the store keeps blobs. */
  async finish(options: { readonly keepBlob?: boolean } = {}): Promise<void> {
    await this.#end(async () => {
      if (options.keepBlob === true) await this.#keep();
      await this.#drop();
    });
  }

  /**
   * Gives up and keeps the bytes for a resume. Does not reject because the disk fails: why it was given up is what counts,
   * and what is left of an empty one goes as downloads do that were given up.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#end(async () => {
        if ((await sizeOf(this.dataPath)) === 0) await this.#drop();
      });
    } catch (error) {
      if (!isLarderError(error)) throw error;
    }
  }

  /** The caller has proven that the bytes hash to the digest; here they become durable and get their name. */
  async #keep(): Promise<void> {
    const target = this.#layout.blob(this.digest);
    await syncFile(this.dataPath, 0o400);
    await rename(this.dataPath, target);
    await fsyncDirectory(dirname(target));
  }

  #drop(): Promise<void> {
    return dropData(this.#layout, this.digest);
  }

  async #end(work: () => Promise<void>): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    try {
      await work();
    } catch (error) {
      throw systemError(`end download: ${this.digest}`, error);
    } finally {
      this.#lock.release({ unlink: true });
    }
  }
}

/** Bytes that are there; not proven. */
export function downloaded(layout: Layout, digest: Digest): Promise<number> {
  return sizeOf(dataOf(layout, digest));
}

export async function* listIngests(layout: Layout): AsyncIterable<IngestLeftover> {
  for (const name of await namesIn(layout.ingests)) {
    const digest = name.replace('-', ':');
    if (!isDigest(digest)) continue;
    const found = await statOf(dataOf(layout, digest));
    const lock = tryLockFile(lockOf(layout, digest), 'shared', { create: false });
    const busy = lock === undefined && (await statOf(lockOf(layout, digest))) !== undefined;
    lock?.release();
    yield { digest, size: found?.size ?? 0, ageMs: found === undefined ? 0 : Date.now() - found.mtimeMs, busy };
  }
}

export async function removeIngest(layout: Layout, digest: Digest): Promise<boolean> {
  const lock = tryLockFile(lockOf(layout, digest), 'exclusive');
  if (lock === undefined) return false;
  try {
    const there = (await statOf(layout.ingest(digest))) !== undefined;
    await dropData(layout, digest);
    return there;
  } finally {
    lock.release({ unlink: true });
  }
}

async function dropData(layout: Layout, digest: Digest): Promise<void> {
  await unlinkIfThere(dataOf(layout, digest));
  try {
    await rmdir(layout.ingest(digest));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw systemError(`remove ${layout.ingest(digest)}`, error);
  }
}

async function syncFile(path: string, mode: number): Promise<void> {
  const handle = await open(path, 'r+');
  await closing(handle, async () => {
    await handle.chmod(mode);
    await handle.sync();
  });
}

async function sizeOf(path: string): Promise<number> {
  return (await statOf(path))?.size ?? 0;
}

async function statOf(path: string): Promise<{ readonly size: number; readonly mtimeMs: number } | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`look at ${path}`, error);
  }
}

function dataOf(layout: Layout, digest: Digest): string {
  return join(layout.ingest(digest), 'data');
}

/** Beside the directory, so that the directory can be removed while the lock is held. */
function lockOf(layout: Layout, digest: Digest): string {
  return `${layout.ingest(digest)}${LOCK_SUFFIX}`;
}
