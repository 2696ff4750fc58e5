/** Files of stored layers, looked at and opened with what their records say of them in mind. */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { errnoOf, LarderError, systemError } from '../errors.js';
import type { DiffId } from '../spec/digest.js';

export function corrupt(diffId: DiffId, why: string, cause?: unknown): LarderError {
  return new LarderError('LARDER_LAYER_CORRUPT', `layer: ${diffId}: ${why}`, {
    details: { diffId },
    hint: 'run `larder repair`',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Bytes of a regular file; -1 for anything else of that name; undefined when there is nothing. */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const found = await lstat(path);
    return found.isFile() ? found.size : -1;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw systemError(`look at ${path}`, error);
  }
}

/** Opens a file of a layer for reading, or rejects with LARDER_LAYER_CORRUPT: it is missing, or not of that size. */
export async function openExactly(path: string, size: number, diffId: DiffId): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw corrupt(diffId, `${path} is missing`, error);
    throw systemError(`open ${path}`, error);
  }
  const found = await file.stat();
  if (found.isFile() && found.size === size) return file;
  await file.close();
  throw corrupt(diffId, `${path} has ${found.size} bytes instead of ${size}`);
}
