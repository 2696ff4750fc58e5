/**
 * ▸ Blobs by digest: manifests, image indexes and configs as received, small enough to be held in memory; and, where
 * the store keeps them, compressed layers that {@link Ingest.finish} moves in. It owns blobs/ and ingest/.
 *
 * I1: a blob hashes to its name. It appears under its name only by rename, whole and durable, and every read proves
 * it again, since a disk may lie. I6: nothing refers into ingest/. Safe between threads and processes: two writers of
 * one digest write the same bytes, and the later rename changes nothing.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, renameSync, statSync } from 'node:fs';
import { lstat, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, LarderError, systemError } from '../errors.js';
import type { Layout } from '../layout.js';
import { closing, ensureDirectory, fsyncDirectory, unlinkIfThere, writeAndSync } from '../linux/durable.js';
import { type FileLock, tryLockFile } from '../linux/file-lock.js';
import { namesIn } from '../linux/names-in.js';
import { algorithmOf, type Digest, digestOf, hexOf, isDigest } from '../spec/digest.js';
import {
  downloaded,
  Ingest,
  type IngestLeftover,
  LOCK_SUFFIX,
  listIngests,
  type OpenIngestOptions,
  removeIngest,
} from './ingest.js';

/** What `read` holds in memory at most; manifests are limited to 4 MiB by the distribution specification. */
export const MAX_BLOB_BYTES = 64 * 1024 * 1024;

const BLOB_MODE = 0o400;
const PUT_PREFIX = 'put-';

export interface BlobInfo {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** What the conformance suite holds every implementation to. */
export interface ContentProvider {
  /** Whether there is a blob of this name; does not read it. */
  has(digest: Digest): Promise<boolean>;
  /**
   * The bytes, proven; undefined when there is no such blob. Rejects with LARDER_DIGEST_MISMATCH when they are damaged
   * and with LARDER_SIZE_MISMATCH when they are more than {@link MAX_BLOB_BYTES}.
   */
  find(digest: Digest): Promise<Buffer | undefined>;
  /** Like {@link find}, for blobs that must be there: rejects with LARDER_BLOB_NOT_FOUND. */
  read(digest: Digest): Promise<Buffer>;
  /** In no order. Blobs that come or go meanwhile may or may not be among them. */
  list(): AsyncIterable<BlobInfo>;
}

export interface ContentWriter {
  /**
   * Stores the bytes and answers their digest; durable when it resolves. Quiet when they are there already; a damaged
   * copy is replaced. Rejects with LARDER_DIGEST_MISMATCH when `expected` is another digest, LARDER_SIZE_MISMATCH,
   * LARDER_NO_SPACE, LARDER_PERMISSION; then nothing is visible.
   */
  put(bytes: Uint8Array, expected?: Digest): Promise<Digest>;
  /**
   * Takes the blob out of sight by renaming it into gc/; under the exclusive store lock only (I8). False when there
   * was none. The space is free when gc/ is swept.
   */
  remove(digest: Digest): Promise<boolean>;
}

export interface ContentIngester {
  /**
   * Waits until nobody else downloads this blob, in this process or another, then answers its {@link Ingest} with what
   * is there of it. Rejects with LARDER_ABORTED, LARDER_NO_SPACE, LARDER_PERMISSION.
   */
  openIngest(digest: Digest, options?: OpenIngestOptions): Promise<Ingest>;
  /** Downloads that were broken off, and those under way (`busy`). */
  listIngests(): AsyncIterable<IngestLeftover>;
  /** Drops the bytes of a download that was broken off. False when it is under way, or when there is none. */
  removeIngest(digest: Digest): Promise<boolean>;
}

export interface ContentManager extends ContentProvider, ContentWriter, ContentIngester {}

export type { Ingest, IngestLeftover, OpenIngestOptions } from './ingest.js';

export class ContentStore implements ContentManager {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Creates its directories when they are missing. Rejects with LARDER_NO_SPACE, LARDER_PERMISSION. */
  static async create(layout: Layout): Promise<ContentStore> {
    for (const path of [join(layout.blobs, 'sha256'), join(layout.blobs, 'sha512'), layout.ingests, layout.gc]) {
      await ensureDirectory(path, 0o700);
    }
    return new ContentStore(layout);
  }

  pathOf(digest: Digest): string {
    return this.#layout.blob(digest);
  }

  async has(digest: Digest): Promise<boolean> {
    return (await this.#sizeOf(digest)) !== undefined;
  }

  async find(digest: Digest): Promise<Buffer | undefined> {
    const path = this.pathOf(digest);
    const size = await this.#sizeOf(digest);
    if (size === undefined) return undefined;
    if (size > MAX_BLOB_BYTES) throw tooLarge(`read blob: ${path}`, size);
    const bytes = await readIfThere(path);
    if (bytes === undefined) return undefined;
    requireDigest(`read blob: ${path}`, bytes, digest);
    return bytes;
  }

  async read(digest: Digest): Promise<Buffer> {
    const bytes = await this.find(digest);
    if (bytes !== undefined) return bytes;
    throw new LarderError('LARDER_BLOB_NOT_FOUND', `read blob: ${digest}: not in the store`, {
      hint: 'pull the image again',
      details: { digest },
    });
  }

  async put(bytes: Uint8Array, expected?: Digest): Promise<Digest> {
    if (bytes.length > MAX_BLOB_BYTES) throw tooLarge('write blob', bytes.length);
    const digest = digestOf(bytes, expected === undefined ? 'sha256' : algorithmOf(expected));
    if (expected !== undefined && digest !== expected) throw mismatch('write blob', expected, digest);
    const path = this.pathOf(digest);
    try {
      if (await isSound(path, digest, bytes.length)) await this.#fsync(path);
      else await this.#write(path, bytes);
    } catch (error) {
      throw systemError(`write blob: ${path}`, error);
    }
    return digest;
  }

  /** Which there are, by one look at each directory; for who asks for many. */
  async names(): Promise<Pick<ReadonlySet<Digest>, 'has'>> {
    const [sha256, sha512] = await Promise.all(
      (['sha256', 'sha512'] as const).map(async (name) => new Set(await namesIn(join(this.#layout.blobs, name)))),
    );
    return { has: (digest) => (algorithmOf(digest) === 'sha256' ? sha256 : sha512)?.has(hexOf(digest)) === true };
  }

  async *list(): AsyncIterable<BlobInfo> {
    for (const algorithm of ['sha256', 'sha512']) {
      for (const hex of await namesIn(join(this.#layout.blobs, algorithm))) {
        const digest = `${algorithm}:${hex}`;
        if (!isDigest(digest)) continue;
        const size = await this.#sizeOf(digest);
        if (size !== undefined) yield { digest, size };
      }
    }
  }

  /** How many there are and what they weigh, at once: they are many and small. */
  measure(): { readonly count: number; readonly bytes: number } {
    let [count, bytes] = [0, 0];
    try {
      for (const algorithm of ['sha256', 'sha512']) {
        const directory = join(this.#layout.blobs, algorithm);
        for (const name of readdirSync(directory)) {
          bytes += statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0;
          count++;
        }
      }
    } catch (error) {
      throw systemError(`measure ${this.#layout.blobs}`, error);
    }
    return { count, bytes };
  }

  async remove(digest: Digest): Promise<boolean> {
    const outcome = this.#takeNow(digest);
    if (typeof outcome === 'boolean') return outcome;
    throw outcome;
  }

  /** {@link remove} of each at once, for a short turn under the exclusive store lock; what cannot be moved stays. */
  retire(digests: readonly Digest[]): {
    readonly retired: readonly Digest[];
    readonly failures: readonly LarderError[];
  } {
    const outcomes = digests.map((digest) => this.#takeNow(digest));
    return {
      retired: digests.filter((_, i) => outcomes[i] === true),
      failures: outcomes.filter((outcome) => typeof outcome !== 'boolean'),
    };
  }

  #takeNow(digest: Digest): boolean | LarderError {
    try {
      renameSync(this.pathOf(digest), join(this.#layout.gc, `blob-${hexOf(digest)}-${randomUUID()}`));
      return true;
    } catch (error) {
      return errnoOf(error) === 'ENOENT' ? false : systemError(`remove blob: ${this.pathOf(digest)}`, error);
    }
  }

  openIngest(digest: Digest, options: OpenIngestOptions = {}): Promise<Ingest> {
    return Ingest.open(this.#layout, digest, options);
  }

  listIngests(): AsyncIterable<IngestLeftover> {
    return listIngests(this.#layout);
  }

  /** How many bytes there are of a download, under way or broken off; 0 when there is none. They are not proven. */
  downloaded(digest: Digest): Promise<number> {
    return downloaded(this.#layout, digest);
  }

  /** Whether there is a download of it, under way or broken off; by one look. */
  hasIngest(digest: Digest): boolean {
    return existsSync(this.#layout.ingest(digest));
  }

  removeIngest(digest: Digest): Promise<boolean> {
    return removeIngest(this.#layout, digest);
  }

  /**
   * Removes what writers that were killed left behind, but for the bytes of downloads; those that live are left alone.
   * How many files there were.
   */
  async recover(): Promise<number> {
    const names = await namesIn(this.#layout.ingests);
    const there = new Set(names);
    const stale = names.filter((name) => {
      if (name.endsWith(LOCK_SUFFIX)) return !there.has(name.slice(0, -LOCK_SUFFIX.length));
      return name.startsWith(PUT_PREFIX);
    });
    return stale.filter((name) => unlinkIfUnlocked(join(this.#layout.ingests, name))).length;
  }

  async #write(path: string, bytes: Uint8Array): Promise<void> {
    const { temporary, lock } = this.#openTemporary();
    try {
      // 1. The bytes, under a name that nobody reads.
      const handle = await open(temporary, 'r+');
      await closing(handle, () => writeAndSync(handle, bytes, BLOB_MODE));
      // 2. The point of no return.
      await rename(temporary, path);
    } catch (error) {
      await unlinkIfThere(temporary);
      throw error;
    } finally {
      lock.release();
    }
    // 3. The name survives a power cut.
    await fsyncDirectory(dirname(path));
  }

  /** A new file under ingest/, locked so that `recover` of another process knows its writer lives. */
  #openTemporary(): { readonly temporary: string; readonly lock: FileLock } {
    for (;;) {
      const temporary = join(this.#layout.ingests, `${PUT_PREFIX}${randomUUID()}`);
      closeSync(openSync(temporary, 'wx', 0o600));
      const lock = tryLockFile(temporary, 'exclusive', { create: false });
      if (lock !== undefined) return { temporary, lock };
    }
  }

  /** Who renamed it may have been killed before the directory reached the disk. */
  #fsync(path: string): Promise<void> {
    return fsyncDirectory(dirname(path));
  }

  async #sizeOf(digest: Digest): Promise<number | undefined> {
    const path = this.pathOf(digest);
    try {
      const found = await lstat(path);
      return found.isFile() ? found.size : undefined;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw systemError(`look for blob: ${path}`, error);
    }
  }
}

/** Exclusively: of two who unlink under a shared lock, the later one takes the file of who came in between. */
function unlinkIfUnlocked(path: string): boolean {
  const lock = tryLockFile(path, 'exclusive', { create: false });
  lock?.release({ unlink: true });
  return lock !== undefined;
}

/** Whether the file has these bytes already; anything else there is replaced. */
async function isSound(path: string, digest: Digest, size: number): Promise<boolean> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined) return false;
  if (!found.isFile() || found.size !== size) return false;
  const bytes = await readIfThere(path);
  return bytes !== undefined && digestOf(bytes, algorithmOf(digest)) === digest;
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`read blob: ${path}`, error);
  }
}

function requireDigest(doing: string, bytes: Uint8Array, expected: Digest): void {
  const actual = digestOf(bytes, algorithmOf(expected));
  if (actual !== expected) throw mismatch(doing, expected, actual);
}

function mismatch(doing: string, expected: Digest, actual: Digest): LarderError {
  return new LarderError('LARDER_DIGEST_MISMATCH', `${doing}: ${expected}: the bytes hash to ${actual}`, {
    details: { expected, actual },
  });
}

function tooLarge(doing: string, size: number): LarderError {
  return new LarderError('LARDER_SIZE_MISMATCH', `${doing}: ${size} bytes are more than ${MAX_BLOB_BYTES}`, {
    details: { size, limit: MAX_BLOB_BYTES },
  });
}
