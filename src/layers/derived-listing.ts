/** What lies under `derived/`, for prune: it goes by the disk, and by what is recorded. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, type LarderError, systemError } from '../errors.js';
import type { Layout } from '../layout.js';
import { namesIn } from '../linux/names-in.js';
import type { DerivedRecord } from '../metadata/records.js';
import type { Garbage } from './garbage.js';

export interface DerivedFilesParts {
  readonly layout: Layout;
  readonly garbage: Garbage;
  readonly kind: DerivedRecord['kind'];
  /**
   * Forgets those that nothing holds, durably; answers them, and those of `keys` that have no record. `evenOfImages`: an
   * image record alone holds nothing, since all of it can be made again.
   */
  readonly forget: (keys: readonly string[], evenOfImages: boolean) => Promise<ReadonlySet<string>>;
}

export interface RetiredFiles {
  readonly retired: readonly string[];
  readonly failures: readonly LarderError[];
}

/** EROFS images by merged key, or overlay directories by ChainID: what is under derived/<format>/, recorded or not. */
export class DerivedFiles {
  readonly kind: DerivedRecord['kind'];
  readonly #parts: DerivedFilesParts;
  readonly #directory: string;

  constructor(parts: DerivedFilesParts) {
    this.kind = parts.kind;
    this.#parts = parts;
    this.#directory = join(parts.layout.derived, parts.kind === 'merged' ? 'merged' : 'chains');
  }

  async keys(): Promise<readonly string[]> {
    const names = await namesIn(this.#directory);
    return names.flatMap((name) => /^([0-9a-f]{64})(?:\.erofs)?$/.exec(name)?.[1] ?? []);
  }

  /** Bytes of a file that is not recorded. */
  async sizeOf(key: string): Promise<number> {
    try {
      return (await stat(this.#pathOf(key))).size;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return 0;
      throw systemError(`look at ${this.#pathOf(key)}`, error);
    }
  }

  /**
   * Forgets those of these that nothing holds and moves them to `gc/`, with those that have no record. The caller holds
   * the store lock exclusively and hands in few (I8). Without its record a file is never used, so a crash in between
   * leaves garbage.
   */
  async retire(keys: readonly string[], evenOfImages: boolean): Promise<RetiredFiles> {
    // 1. The point of no return.
    const gone = [...(await this.#parts.forget(keys, evenOfImages))];
    // 2. The bytes.
    const outcomes = gone.map((key) => this.#parts.garbage.takeNow(this.#pathOf(key)));
    return {
      retired: gone.filter((_, i) => outcomes[i] === 'taken'),
      failures: outcomes.filter((outcome) => typeof outcome !== 'string'),
    };
  }

  #pathOf(key: string): string {
    return join(this.#directory, this.kind === 'merged' ? `${key}.erofs` : key);
  }
}
