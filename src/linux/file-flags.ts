/** ▸ What chattr(1) sets: files that nobody may remove or change, root included, until it is taken off them. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { errnoOf } from '../errors.js';
import { openHandleOnSameMount } from './at-calls.js';
import { kernel, type PathLike } from './syscalls.js';

/** linux/fs.h; the numbers are those of most architectures, others answer ENOTTY. */
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const KEPT_AS_IT_IS = 0x10 | 0x20;

/** Of an open file or directory. False when it was free, or this process may not. */
export function makeRemovable(fd: number): boolean {
  const flags = new Uint32Array(2);
  const bytes = new Uint8Array(flags.buffer);
  if (kernel().ioctlPointer(fd, FS_IOC_GETFLAGS, bytes) < 0) return false;
  const [before = 0] = flags;
  if ((before & KEPT_AS_IT_IS) === 0) return false;
  flags[0] = before & ~KEPT_AS_IT_IS;
  return kernel().ioctlPointer(fd, FS_IOC_SETFLAGS, bytes) === 0;
}

/** Of one name below an open directory. Nothing is followed, no mount either, and nothing but a file or a directory is opened. */
export function makeRemovableAt(dir: number, name: PathLike): boolean {
  let handle: number;
  try {
    handle = openHandleOnSameMount(dir, name);
  } catch (error) {
    // What is mounted there is somebody else's.
    if (errnoOf(error) === 'EXDEV') return false;
    throw error;
  }
  try {
    const stats = fstatSync(handle);
    if (!stats.isFile() && !stats.isDirectory()) return false;
    const fd = openSync(`/proc/self/fd/${handle}`, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return makeRemovable(fd);
    } finally {
      closeSync(fd);
    }
  } finally {
    closeSync(handle);
  }
}
