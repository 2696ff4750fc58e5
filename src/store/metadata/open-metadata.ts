import { isLarderError } from '../../errors.js';
import type { OperationOptions } from '../../events.js';
import { Database } from '../../metadata/database.js';
import { isSuspect } from '../../metadata/rebuild.js';
import type { RebuildParts } from './rebuild-metadata.js';
import { storeHasContent } from './store-content.js';

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
