import { readdir } from 'node:fs/promises';
import { errnoOf, systemError } from '../errors.js';

/** The names in a directory; none where there is no such directory. Rejects with LARDER_PERMISSION. */
export async function namesIn(directory: string, doing = 'list'): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw systemError(`${doing} ${directory}`, error);
  }
}
