/** ▸ What references resolved to, and when: for people who ask why an image changed, and to go back. It owns the table history. */
import type { Digest } from '../spec/digest.js';
import type { Database } from './database.js';
import { column, type RowReader } from './rows.js';

/** Older ones of the same reference are forgotten. */
const KEPT_PER_REFERENCE = 100;
/** Times at which a reference still meant the same are kept to the minute, as times of use are. */
const SEEN_GRANULARITY_MS = 60_000;

/** `taken-back`: somebody here decided so; else its source said so. */
export type HowResolved = 'resolved' | 'taken-back';

export interface Resolution {
  readonly reference: string;
  /** Empty in what was written before platforms were. */
  readonly platform: string;
  readonly digest: Digest;
  /** Empty in what was written before image IDs were. */
  readonly imageId: string;
  readonly how: HowResolved;
  readonly atMs: number;
}

export interface PastResolution extends Resolution {
  /** When it was last found to be so. */
  readonly seenMs: number;
}

const COLUMNS = 'reference, digest, at, seen, platform, image_id, how';

export class History {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Only notes the time while the reference still means the same on this platform. True when it means something new. */
  async add(resolution: Resolution): Promise<boolean> {
    const { reference, platform, digest, imageId, how, atMs } = resolution;
    const last = this.#last(reference, platform);
    if (last?.digest === digest && atMs - last.seenMs < SEEN_GRANULARITY_MS) return false;
    return this.#database.transaction((writer) => {
      const known = this.#last(reference, platform);
      if (known?.digest === digest) {
        writer.run(
          `UPDATE history SET seen = max(seen, ?)
           WHERE id = (SELECT max(id) FROM history WHERE reference = ? AND platform = ?)`,
          atMs,
          reference,
          platform,
        );
        return false;
      }
      writer.run(
        `INSERT INTO history (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)`,
        ...[reference, digest, atMs, atMs, platform, imageId, how],
      );
      writer.run(
        `DELETE FROM history WHERE reference = ? AND id NOT IN
           (SELECT id FROM history WHERE reference = ? ORDER BY id DESC LIMIT ${KEPT_PER_REFERENCE})`,
        reference,
        reference,
      );
      return true;
    });
  }

  /** Newest first; of one platform when it is given, with what was written down without one. */
  list(reference: string, platform?: string, limit: number = KEPT_PER_REFERENCE): PastResolution[] {
    return column(
      this.#database,
      resolutionOf,
      `SELECT ${COLUMNS} FROM history WHERE reference = ? AND (? = '' OR platform IN (?, ''))
       ORDER BY id DESC LIMIT ?`,
      ...[reference, platform ?? '', platform ?? '', limit],
    );
  }

  #last(reference: string, platform: string): PastResolution | undefined {
    const [last] = column(
      this.#database,
      resolutionOf,
      `SELECT ${COLUMNS} FROM history WHERE reference = ? AND platform = ? ORDER BY id DESC LIMIT 1`,
      ...[reference, platform],
    );
    return last;
  }
}

function resolutionOf(row: RowReader): PastResolution {
  return {
    reference: row.text('reference'),
    platform: row.text('platform'),
    digest: row.digest('digest'),
    imageId: row.text('image_id'),
    how: row.text('how') === 'taken-back' ? 'taken-back' : 'resolved',
    atMs: row.count('at'),
    seenMs: row.count('seen'),
  };
}
