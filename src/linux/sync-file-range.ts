import { createRequire } from 'node:module';

type SyncFileRange = (fd: number, offset: number, bytes: number, flags: number) => number;

/** linux/fs.h */
const SYNC_FILE_RANGE_WRITE = 2;

let loaded: SyncFileRange | 'missing' | undefined;

/**
 * Starts write-back of a part of a file and returns; sync_file_range(2). Only a hint: it makes nothing durable, and a
 * file system, a C library or a machine without koffi on which it does nothing is no failure.
 */
export function startWriteBack(fd: number, offset: number, bytes: number): void {
  loaded ??= load() ?? 'missing';
  if (loaded !== 'missing') loaded(fd, offset, bytes, SYNC_FILE_RANGE_WRITE);
}

function load(): SyncFileRange | undefined {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    return koffi.load(null).func('int sync_file_range(int, int64_t, int64_t, unsigned int)');
  } catch {
    // See above.
    return undefined;
  }
}
