/** Derived files are believed only when they are exactly what was recorded of them (I10). */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf, systemError } from '../errors.js';

const PIECE_BYTES = 1 << 20;

/** The whole file, or undefined when it is missing or not what was recorded. */
export async function readDerived(path: string, size: number, sha256: string): Promise<Buffer | undefined> {
  const bytes = await withFile(path, size, (file) => file.readFile());
  return bytes !== undefined && createHash('sha256').update(bytes).digest('hex') === sha256 ? bytes : undefined;
}

/** Whether the file is there and what was recorded; reads it in pieces. */
export async function matchesRecord(path: string, size: number, sha256: string): Promise<boolean> {
  const found = await withFile(path, size, async (file) => {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, size));
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
    }
  });
  return found === sha256;
}

async function withFile<T>(path: string, size: number, work: (file: FileHandle) => Promise<T>): Promise<T | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      return (await file.stat()).size === size ? await work(file) : undefined;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`read ${path}`, error);
  }
}
