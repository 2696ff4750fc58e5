/**
 * `gc/`: what was renamed here under the exclusive lock is deleted after the lock is gone (I8). Nothing refers into it
 * (I6), so a deletion may stop anywhere and go on later, in this process or in another.
 */
import { randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { lstat, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoOf, type LarderError, systemError } from '../errors.js';

export interface Swept {
  readonly removed: readonly { readonly name: string; readonly bytes: number }[];
  /** What could not be deleted and why; it stays for the next sweep. */
  readonly failures: readonly LarderError[];
}

/** Deletions under way at once: hides the way to the thread pool and back. */
const LANES = 4;

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
          const bytes = await bytesOf(path);
          await rm(path, { recursive: true, force: true });
          removed.push({ name, bytes });
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

/** Bytes of a file, or of the files right in a directory: all there is of a layer. 0 for what another sweep took meanwhile. */
async function bytesOf(path: string): Promise<number> {
  try {
    const found = await lstat(path);
    if (!found.isDirectory()) return found.size;
    let bytes = 0;
    for (const entry of await readdir(path, { withFileTypes: true })) {
      if (entry.isFile()) bytes += (await lstat(join(path, entry.name))).size;
    }
    return bytes;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw error;
  }
}
