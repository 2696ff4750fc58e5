/** ▸ Opens the store's database, and has one that is lost or damaged made again (`rebuild-metadata.ts`). */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, isLarderError, systemError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import type { Layout } from '../layout.js';
import { Database } from '../metadata/database.js';
import { isSuspect } from '../metadata/rebuild.js';
import type { RebuildParts } from './rebuild-metadata.js';

export interface OpenMetadataOptions extends OperationOptions {
  /** Reads all of the database before it is used. */
  readonly thorough?: boolean;
}

/** A database that was just made anew and is damaged again: the disk lies. */
const MAX_ATTEMPTS = 3;

/** Rejects with LARDER_FORMAT_VERSION, LARDER_PERMISSION, LARDER_NO_SPACE, LARDER_METADATA_CORRUPT, LARDER_ABORTED. */
export async function openMetadata(parts: RebuildParts, options: OpenMetadataOptions = {}): Promise<Database> {
  const { layout } = parts;
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const isLost = (): Promise<boolean> => storeHasContent(layout);
  let look = options.thorough === true || (await isSuspect(layout.database, isLost));
  for (let attempt = 1; ; attempt++) {
    if (look) await (await import('./rebuild-metadata.js')).rebuildIfDamaged(parts, options);
    try {
      return await Database.open(layout.database, { ...signal, isLost });
    } catch (error) {
      if (attempt === MAX_ATTEMPTS || !isLarderError(error, 'LARDER_METADATA_CORRUPT')) throw error;
      look = true;
    }
  }
}

/** Whether the store has anything that only a database can have known of. */
export async function storeHasContent({ layers, blobs, containers }: Layout): Promise<boolean> {
  for (const place of [layers, join(blobs, 'sha256'), join(blobs, 'sha512'), containers]) {
    if ((await namesIn(place)).some((name) => !name.endsWith('.lock'))) return true;
  }
  return false;
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw systemError(`list ${path}`, error);
  }
}
