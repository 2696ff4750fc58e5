/**
 * ▸ What is said twice: each image record is also a small file, metadata/names/<SHA-256 of its key>.json, and each claim
 * one beside its container. No answer ever comes from them. They are read when the database is lost, and then everything
 * that they say is proven against layers/ and blobs/; so a stale one does no harm, and nobody waits until a new one has its
 * name. The bytes of an image's are synced before: one that replaces an older one must not be empty after a power cut.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync, unlinkSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, isLarderError, LarderError, systemError } from '../errors.js';
import { closing, unlinkIfThere, writeAndSync } from '../linux/durable.js';
import { makeDirectories } from '../linux/make-directories.js';
import { namesIn } from '../linux/names-in.js';
import type { ContainerId } from '../spec/container-id.js';
import { digestOf, hexOf } from '../spec/digest.js';
import { formatRecord, MAX_RECORD_BYTES, parseClaimRecord, parseImageRecord } from './record-json.js';
import type { ClaimRecord, ImageRecord } from './records.js';

type Key = Pick<ImageRecord, 'type' | 'reference' | 'platform'>;

const NAME = /^[0-9a-f]{64}\.json$/;
const TEMPORARY = /^[0-9a-f]{64}\.json\.[0-9a-f-]{36}\.tmp$/;
const NAMES_IN_A_TURN = 64;
const MODE = 0o600;

export interface NamesSweep {
  /** Of all records. */
  readonly keys: () => Iterable<Key>;
  readonly isRecorded: (key: Key) => boolean;
  readonly turn: (work: () => void) => Promise<void>;
}

/** Written, but not under its name yet. */
export interface PreparedName {
  /** Puts it in its place: a rename, which needs no space. */
  commit(): Promise<void>;
  discard(): Promise<void>;
}

export class NameFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Those that belong to the database at this path. */
  static beside(database: string): NameFiles {
    return new NameFiles(join(dirname(database), 'names'));
  }

  /** Rejects with LARDER_NO_SPACE, LARDER_PERMISSION; then nothing has changed. */
  async prepare(record: ImageRecord): Promise<PreparedName> {
    const path = this.#pathOf(record);
    const temporary = `${path}.${randomUUID()}.tmp`;
    await writeNew(temporary, formatRecord(record), writeAndSync);
    return {
      commit: () => renameTo(temporary, path),
      discard: async () => void (await unlinkIfThere(temporary)),
    };
  }

  /** Quiet for those that have none. */
  async remove(keys: readonly Key[]): Promise<void> {
    for (const key of keys) await unlinkIfThere(this.#pathOf(key));
  }

  /**
   * Removes the files of keys that are not recorded, and what killed writers left. How many; in linear time. `turn` runs a
   * short piece of that while nobody else writes here.
   */
  async sweep({ keys, isRecorded, turn }: NamesSweep): Promise<number> {
    // In this order: who puts a record has it in the database before its file has this name.
    const names = (await namesIn(this.#directory)).filter((name) => NAME.test(name) || TEMPORARY.test(name));
    if (names.length === 0) return 0;
    const there = new Set([...keys()].map((key) => basename(this.#pathOf(key))));
    const stale = names.filter((name) => !there.has(name));
    for (let i = 0; i < stale.length; i += NAMES_IN_A_TURN) {
      const batch = stale.slice(i, i + NAMES_IN_A_TURN).map((name) => join(this.#directory, name));
      await turn(() => {
        // It may be recorded by now, and be the name of that record.
        for (const path of batch) if (!path.endsWith('.json') || !isNameOf(path, isRecorded)) unlinkNow(path);
      });
    }
    return stale.length;
  }

  /** What can be read; `onBad` hears of what is damaged. Rejects where the system refuses to read. */
  async *list(onBad: (error: LarderError) => void): AsyncGenerator<ImageRecord, void, void> {
    for (const name of await namesIn(this.#directory)) {
      if (!NAME.test(name)) continue;
      const path = join(this.#directory, name);
      const record = await readOr(onBad, path, (bytes) => parseImageRecord(bytes, `read ${path}`));
      if (record !== undefined) yield record;
    }
  }

  /** Whether there is a file for the record that is not as it was written. None, or an older one, harms nobody. */
  async isDamaged(key: Key): Promise<boolean> {
    const path = this.#pathOf(key);
    let damaged = false;
    const read = await readOr(
      () => {
        damaged = true;
      },
      path,
      (bytes) => (bytes.length === 0 ? undefined : parseImageRecord(bytes, `read ${path}`)),
    );
    return damaged || (read !== undefined && this.#pathOf(read) !== path);
  }

  #pathOf({ type, reference, platform }: Key): string {
    return join(this.#directory, `${hexOf(digestOf(Buffer.from(`${type}\n${reference}\n${platform}`)))}.json`);
  }
}

const CLAIM = 'claim.json';

/** Into the container's directory, which is there. Rejects with LARDER_NO_SPACE, LARDER_PERMISSION. */
export async function writeClaimFile(directory: string, claim: ClaimRecord): Promise<void> {
  const path = join(directory, CLAIM);
  await writeNew(`${path}.tmp`, formatRecord(claim));
  await renameTo(`${path}.tmp`, path);
}

/** Undefined when there is none, and when it is damaged, of which `onBad` hears. Rejects where the system refuses to read. */
export async function readClaimFile(
  directory: string,
  container: ContainerId,
  onBad: (error: LarderError) => void,
): Promise<ClaimRecord | undefined> {
  const path = join(directory, CLAIM);
  return readOr(onBad, path, (bytes) => parseClaimRecord(bytes, container, `read ${path}`));
}

/** Whether the file is the name of an image that is recorded now. */
function isNameOf(path: string, isRecorded: (key: Key) => boolean): boolean {
  try {
    return isRecorded(parseImageRecord(readFileSync(path), `read ${path}`));
  } catch (error) {
    // What cannot be read is the name of nothing.
    if (isLarderError(error, 'LARDER_METADATA_CORRUPT') || errnoOf(error) === 'ENOENT') return false;
    throw systemError(`read ${path}`, error);
  }
}

function unlinkNow(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw systemError(`remove ${path}`, error);
  }
}

type Write = (handle: FileHandle, bytes: Uint8Array, mode: number) => Promise<void>;

async function writeNew(path: string, bytes: Uint8Array, write: Write = writeOnly): Promise<void> {
  try {
    const handle = await openNew(path);
    await closing(handle, () => write(handle, bytes, MODE));
  } catch (error) {
    await unlinkIfThere(path);
    throw systemError(`write ${path}`, error);
  }
}

async function writeOnly(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  await handle.writeFile(bytes);
}

async function openNew(path: string): Promise<FileHandle> {
  return open(path, 'w', MODE).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
    makeDirectories(dirname(path));
    return open(path, 'w', MODE);
  });
}

async function renameTo(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (error) {
    throw systemError(`write ${path}`, error);
  }
}

async function readOr<T>(
  onBad: (error: LarderError) => void,
  path: string,
  read: (bytes: Uint8Array) => T,
): Promise<T | undefined> {
  try {
    return read(await readBounded(path));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return undefined;
    const told = systemError(`read ${path}`, error);
    if (errno !== undefined && !NO_FILE.has(errno)) throw told;
    onBad(told);
    return undefined;
  }
}

/** Any other refusal of the system says nothing of what the file says: what it names must not be forgotten for it. */
const NO_FILE: ReadonlySet<string> = new Set(['EISDIR', 'ELOOP', 'ENXIO', 'ENOTDIR']);

async function readBounded(path: string): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size <= MAX_RECORD_BYTES) return await file.readFile();
    throw new LarderError('LARDER_METADATA_CORRUPT', `read ${path}: ${size} bytes are too many`);
  } finally {
    await file.close();
  }
}
