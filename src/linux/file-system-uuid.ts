import { closeSync } from 'node:fs';
import { openDirectory } from './at-calls.js';
import { kernel } from './syscalls.js';

/** FS_IOC_GETFSUUID (linux/fs.h), Linux 6.9: a length byte, then 16 bytes. */
const FS_IOC_GETFSUUID = 0x80111500;

/** The UUID, 32 hex digits, of the file system that a directory is on; undefined where the kernel cannot tell. */
export function fileSystemUuid(path: string): string | undefined {
  const answer = new Uint8Array(17);
  const fd = openDirectory(path);
  try {
    if (kernel().ioctlPointer(fd, FS_IOC_GETFSUUID, answer) < 0 || answer[0] !== 16) return undefined;
    return Buffer.from(answer.subarray(1)).toString('hex');
  } finally {
    closeSync(fd);
  }
}
