/** A disk of `disk.ts` with a loop device on it, on which file systems are mounted. All of it ends with its process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { errnoOf } from '../../src/errors.js';
import { attach, FsContext, unmount } from '../../src/linux/mount.js';
import { check, kernel } from '../../src/linux/syscalls.js';
import type { CrashState } from './crash-states.js';
import type { DiskOptions } from './disk.js';

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_AUTOCLEAR = 4;
const BLKFLSBUF = 0x1261;
const LOOP_CONFIG_SIZE = 304;
const FLAGS_AT = 8 + 52;
const MAX_ATTEMPTS = 1000;

export class Disk implements AsyncDisposable {
  /** The file beside the disk, which says something to it: `marks` or `state`. */
  readonly companion: string;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #loop: { readonly fd: number; readonly path: string };
  #mounted: string | undefined;

  constructor(child: ChildProcess, { mode, directory }: DiskOptions, loop: { fd: number; path: string }) {
    this.#child = child;
    this.#directory = directory;
    this.#loop = loop;
    this.companion = join(directory, mode === 'record' ? 'marks' : 'state');
  }

  static async attach(options: DiskOptions): Promise<Disk> {
    mkdirSync(options.directory, { recursive: true });
    const script = fileURLToPath(new URL('disk.js', import.meta.url));
    // It does not outlive this process, whatever ends that: a mount namespace lives as long as anybody in it.
    const command = ['--pdeathsig', 'KILL', process.execPath, script, JSON.stringify(options)];
    const child = spawn('setpriv', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    await Promise.race([
      once(child.stdout, 'data'),
      once(child, 'exit').then(() => {
        throw new Error('the disk did not start');
      }),
    ]);
    return new Disk(child, options, attachLoop(join(options.directory, 'disk')));
  }

  mount(type: string, place: string): void {
    // Nothing that was read of another state is kept.
    check(kernel().ioctlInt(this.#loop.fd, BLKFLSBUF, 0), 'BLKFLSBUF', this.#loop.path);
    const context = new FsContext(type);
    try {
      context.setString('source', this.#loop.path);
      const mount = context.mount();
      try {
        attach(mount, place);
      } finally {
        closeSync(mount);
      }
    } finally {
      context.close();
    }
    this.#mounted = place;
  }

  /**
   * What was mounted further in may end a moment after it was unmounted; and where Node has no SQLite of its own, a
   * database that was closed is open until its statements were collected.
   */
  async unmount(): Promise<void> {
    for (let attempt = 0; this.#mounted !== undefined; attempt++) {
      try {
        unmount(this.#mounted);
        this.#mounted = undefined;
      } catch (error) {
        if (errnoOf(error) !== 'EBUSY' || attempt === MAX_ATTEMPTS) throw error;
        globalThis.gc?.();
        await sleep(10);
      }
    }
  }

  /** What lies on it is from now on what this power cut left. */
  become(state: CrashState): void {
    const fd = openSync(this.companion, 'r+');
    try {
      writeSync(fd, JSON.stringify(state));
    } finally {
      closeSync(fd);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmount();
    closeSync(this.#loop.fd);
    const ended = once(this.#child, 'exit');
    unmount(this.#directory, { detach: true });
    await ended;
  }
}

/** A device that goes with its last user. */
function attachLoop(path: string): { fd: number; path: string } {
  const [file, control] = [openSync(path, 'r+'), openSync('/dev/loop-control', 'r+')];
  try {
    for (let attempt = 0; attempt < 64; attempt++) {
      const device = `/dev/loop${check(kernel().ioctlInt(control, LOOP_CTL_GET_FREE, 0), 'LOOP_CTL_GET_FREE')}`;
      const fd = openSync(device, constants.O_RDWR);
      const config = Buffer.alloc(LOOP_CONFIG_SIZE);
      config.writeUInt32LE(file, 0);
      config.writeUInt32LE(LO_FLAGS_AUTOCLEAR, FLAGS_AT);
      if (kernel().ioctlPointer(fd, LOOP_CONFIGURE, config) >= 0) return { fd, path: device };
      closeSync(fd);
    }
  } finally {
    closeSync(file);
    closeSync(control);
  }
  throw new Error('no loop device is free');
}
