import { readlinkSync, stat } from 'node:fs';
import { kernel } from './syscalls.js';

/** linux/sched.h */
const CLONE_FS = 0x200;

let isOwn: boolean | undefined;

/**
 * Gives this thread a umask (and a working directory) that no other thread changes, unshare(2): a process has one for
 * all of its threads, and who uses larder as a library may change it at any moment. False on the main thread, whose
 * umask is the application's, and where the kernel refuses.
 */
export function takeOwnUmask(): boolean {
  isOwn ??= !isMainThread() && leaveOthers();
  return isOwn;
}

function leaveOthers(): boolean {
  // Threads that this one starts would share what it gets. Node's pool, which all threads use, starts with its first work.
  stat('/', () => {});
  return kernel().unshare(CLONE_FS) === 0;
}

function isMainThread(): boolean {
  try {
    const [process, , thread] = readlinkSync('/proc/thread-self').split('/');
    return process === thread;
  } catch {
    // Without /proc nothing is known.
    return true;
  }
}
