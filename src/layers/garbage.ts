/**
 * `gc/`: what was renamed here under the exclusive lock is deleted after the lock is gone (I8). Nothing refers into it
 * (I6), so a deletion may stop anywhere and go on later, in this process or in another.
 */
import { randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { lstat, readdir, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoOf, type LarderError, systemError } from '../errors.js';

export interface Swept {
  readonly removed: readonly { readonly name: string; readonly bytes: number }[];
  /** What could not be deleted and why; it stays for the next sweep. */
  readonly failures: readonly LarderError[];
}

/**
 * Deletions under way at once: hides the way to the thread pool and back. A large file takes its thread along for a
 * quarter of a second, so one of the pool's four is left to everybody else.
 */
const LANES = 3;

export class Garbage {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Moves a file or directory of the same file system here. False when there was nothing. */
  async take(path: string): Promise<boolean> {
    try {
      await rename(path, this.#place(path));
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw systemError(`retire: ${path}`, error);
    }
  }

  /**
   * The same, at once: for turns under the exclusive store lock, which a way through the thread pool for each rename
   * would make many times as long. What cannot be moved is told and stays.
   */
  takeNow(path: string): 'taken' | 'missing' | LarderError {
    try {
      renameSync(path, this.#place(path));
      return 'taken';
    } catch (error) {
      return errnoOf(error) === 'ENOENT' ? 'missing' : systemError(`retire: ${path}`, error);
    }
  }

  /** Deletes all that is here; one failure does not keep the rest. Several processes may sweep at once. */
  async sweep(): Promise<Swept> {
    const removed: { name: string; bytes: number }[] = [];
    const failures: LarderError[] = [];
    const waiting = (await this.#names()).values();
    const lane = async (): Promise<void> => {
      for (const name of waiting) {
        const path = join(this.#path, name);
        try {
          removed.push({ name, bytes: await removeAll(path) });
        } catch (error) {
          failures.push(systemError(`sweep: ${path}`, error));
        }
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return { removed, failures };
  }

  #place(path: string): string {
    return join(this.#path, `${basename(path)}.${randomBytes(8).toString('hex')}`);
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.#path);
    } catch (error) {
      throw systemError(`sweep: ${this.#path}`, error);
    }
  }
}

/**
 * Answers the bytes of a file, or of the files right in a directory: all there is of a layer. 0 for what another sweep
 * took meanwhile.
 */
async function removeAll(path: string): Promise<number> {
  const found = await ifThere(lstat(path));
  if (found === undefined) return 0;
  let bytes = 0;
  if (found.isDirectory()) {
    const entries = (await ifThere(readdir(path, { withFileTypes: true }))) ?? [];
    for (const entry of entries.filter((one) => one.isFile())) {
      const file = join(path, entry.name);
      bytes += (await ifThere(lstat(file)))?.size ?? 0;
      await ifThere(unlink(file));
    }
    if (entries.every((entry) => entry.isFile()) && (await isEmptied(path))) return bytes;
  } else bytes = found.size;
  await rm(path, { recursive: true, force: true });
  return bytes;
}

/** A few calls for a layer, where `rm` makes dozens; what it cannot do is left to that. */
async function isEmptied(path: string): Promise<boolean> {
  try {
    await ifThere(rmdir(path));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOTEMPTY') return false;
    throw error;
  }
}

async function ifThere<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
