/**
 * `gc/`: what was renamed here under the exclusive lock is deleted after the lock is gone (I8). Nothing refers into it
 * (I6), so a deletion may stop anywhere and go on later, in this process or in another.
 */
import { randomBytes } from 'node:crypto';
import { lstat, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoOf, type LarderError, systemError } from '../errors.js';

export interface Swept {
  readonly removed: readonly { readonly name: string; readonly bytes: number }[];
  /** What could not be deleted and why; it stays for the next sweep. */
  readonly failures: readonly LarderError[];
}

/** Renames under way at once: hides the way to the thread pool and back. */
const LANES = 16;

export class Garbage {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Moves a file or directory of the same file system here. False when there was nothing. */
  async take(path: string): Promise<boolean> {
    try {
      await rename(path, join(this.#path, `${basename(path)}.${randomBytes(8).toString('hex')}`));
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw systemError(`retire: ${path}`, error);
    }
  }

  /**
   * {@link take} of each, several at once. False when there was nothing of any. When one fails it rejects, but not before
   * all have ended: the caller may let go of its lock.
   */
  async takeAll(paths: readonly string[]): Promise<boolean> {
    const waiting = paths.values();
    let had = false;
    const lane = async (): Promise<void> => {
      for (const path of waiting) had = (await this.take(path)) || had;
    };
    const ended = await Promise.allSettled(Array.from({ length: LANES }, lane));
    for (const one of ended) if (one.status === 'rejected') throw one.reason;
    return had;
  }

  /** Deletes all that is here; one failure does not keep the rest. Several processes may sweep at once. */
  async sweep(): Promise<Swept> {
    const removed: { name: string; bytes: number }[] = [];
    const failures: LarderError[] = [];
    for (const name of await this.#names()) {
      const path = join(this.#path, name);
      try {
        const bytes = await bytesOf(path);
        await rm(path, { recursive: true, force: true });
        removed.push({ name, bytes });
      } catch (error) {
        failures.push(systemError(`sweep: ${path}`, error));
      }
    }
    return { removed, failures };
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
