import { fsyncSync } from 'node:fs';
import { createRequire } from 'node:module';

const POSIX_FADV_DONTNEED = 4;

/**
 * Has the kernel forget what it keeps of the file in memory, posix_fadvise(2), so that the next read is one of the disk.
 * The file is synced first: what is dirty is not forgotten. Only advice: what is in use stays.
 */
export function dropCached(fd: number): void {
  fsyncSync(fd);
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  koffi.load(null).func('int posix_fadvise(int, int64_t, int64_t, int)')(fd, 0, 0, POSIX_FADV_DONTNEED);
}
