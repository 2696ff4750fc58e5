import { fsyncSync } from 'node:fs';
import { kernel } from './syscalls.js';

const POSIX_FADV_DONTNEED = 4;

/**
 * Has the kernel forget what it keeps of the file in memory, posix_fadvise(2), so that the next read is one of the disk.
 * The file is synced first: what is dirty is not forgotten. Only advice: what is in use stays.
 */
export function dropCached(fd: number): void {
  fsyncSync(fd);
  kernel().posixFadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}
