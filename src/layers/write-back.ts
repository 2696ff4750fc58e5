import { createRequire } from 'node:module';
import type { NewFile } from './new-file.js';

/** Small files are synced faster than this library is loaded. */
const FROM_BYTES = 32 << 20;
const EVERY_BYTES = 8 << 20;
/** linux/fs.h */
const SYNC_FILE_RANGE_WRITE = 2;

type SyncFileRange = (fd: number, offset: number, bytes: number, flags: number) => number;

/**
 * Starts write-back while a file grows, so that the disk works during the download and the final fsync has little left
 * to wait for. Only a hint: without the call the fsync does it all, and nothing is decided by its result.
 */
export class WriteBack {
  readonly #file: NewFile;
  #started = 0;

  constructor(file: NewFile) {
    this.#file = file;
  }

  advance(): void {
    const { size, fd } = this.#file;
    if (size < FROM_BYTES || size - this.#started < EVERY_BYTES) return;
    syncFileRange()?.(fd, this.#started, size - this.#started, SYNC_FILE_RANGE_WRITE);
    this.#started = size;
  }
}

let loaded: SyncFileRange | 'missing' | undefined;

function syncFileRange(): SyncFileRange | undefined {
  loaded ??= load() ?? 'missing';
  return loaded === 'missing' ? undefined : loaded;
}

function load(): SyncFileRange | undefined {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    return koffi.load(null).func('int sync_file_range(int, int64_t, int64_t, unsigned int)');
  } catch {
    // No koffi, or a C library without the call: see above.
    return undefined;
  }
}
