/**
 * ▸ Work on one directory in a thread to which the kernel shows nothing else. While a step runs, the thread's root is a
 * mount of that directory alone, without a place in any namespace: an absolute name and any number of `..` end inside,
 * and no symbolic link is followed at all. That holds whatever our own checks of names let through: they are the first
 * line, this is the second. Other threads see no change.
 *
 * A step is synchronous, so nothing else of the thread runs in there. In there is no /proc, and descriptors of
 * directories outside are a way out: a step uses none but those that it opened from {@link Confinement.directory}.
 *
 * It takes a thread with a root of its own (not the main thread), CAP_SYS_ADMIN, CAP_SYS_CHROOT and Linux 5.14. Where
 * one of them is missing there is only the first line, and what the user may do.
 */
import { closeSync } from 'node:fs';
import { errnoOf } from '../errors.js';
import { openDirectory, openDirectoryPath, openSelf } from './at-calls.js';
import { cloneMount } from './mount.js';
import { takeOwnUmask } from './own-umask.js';
import { check, cString, kernel } from './syscalls.js';

export interface Confinement extends Disposable {
  /** The directory, open for reading, as a step sees it. */
  readonly directory: number;
  run<T>(step: () => T): T;
}

/** Of a directory that nobody else moves meanwhile. Disposing it closes what it opened, and gives nothing up early. */
export function confineTo(path: string): Confinement {
  const directory = openDirectory(path);
  try {
    const world = worldOf(directory);
    if (world === undefined) return new Unconfined(directory);
    closeSync(directory);
    return world;
  } catch (error) {
    closeSync(directory);
    throw error;
  }
}

/** Whether a step of a {@link Confinement} runs right now: then this thread has no /proc, and a working directory to spare. */
export function isConfined(): boolean {
  return inside;
}

let inside = false;

class Unconfined implements Confinement {
  readonly directory: number;

  constructor(directory: number) {
    this.directory = directory;
  }

  run<T>(step: () => T): T {
    return step();
  }

  [Symbol.dispose](): void {
    closeSync(this.directory);
  }
}

/** Open descriptors; `world` is the mount, `inside` the same for reading; the others lead out again. */
interface Ways {
  readonly inside: number;
  readonly world: number;
  readonly root: number;
  readonly cwd: number;
}

class World implements Confinement {
  readonly directory: number;
  readonly #ways: Ways;

  constructor(ways: Ways) {
    this.directory = ways.inside;
    this.#ways = ways;
  }

  run<T>(step: () => T): T {
    changeRoot(this.#ways.world);
    inside = true;
    try {
      return step();
    } finally {
      inside = false;
      this.#leave();
    }
  }

  #leave(): void {
    try {
      changeRoot(this.#ways.root);
      check(kernel().fchdir(this.#ways.cwd), 'fchdir');
    } catch (error) {
      // A thread that cannot come back must not go on: outside of all tasks, this ends it.
      setImmediate(() => {
        throw error;
      });
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const fd of Object.values(this.#ways)) closeSync(fd);
  }
}

/** Undefined where this thread may not, or the kernel cannot. */
function worldOf(directory: number): World | undefined {
  if (!takeOwnUmask()) return undefined;
  const opened: number[] = [];
  const open = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  try {
    const world = open(cloneMount(directory));
    const inside = open(openSelf(world));
    const made = new World({ inside, world, root: open(openDirectoryPath('/')), cwd: open(openDirectoryPath('.')) });
    made.run(() => {});
    return made;
  } catch (error) {
    for (const fd of opened) closeSync(fd);
    if (NOT_HERE.includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

const NOT_HERE: readonly string[] = ['EPERM', 'ENOSYS', 'EINVAL'];

function changeRoot(directory: number): void {
  check(kernel().fchdir(directory), 'fchdir');
  check(kernel().chroot(cString('.')), 'chroot');
}
