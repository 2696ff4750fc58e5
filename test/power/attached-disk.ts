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
  readonly #loop: { readonly fd: number; readonly path: string };
  #mounted: string | undefined;

  constructor(child: ChildProcess, companion: string, loop: { readonly fd: number; readonly path: string }) {
    this.#child = child;
    this.#loop = loop;
    this.companion = companion;
  }

  static async attach(options: DiskOptions): Promise<Disk> {
    mkdirSync(options.directory, { recursive: true });
    const script = fileURLToPath(new URL('disk.js', import.meta.url));
    // In a mount namespace of its own, where this one's mounts are not: were it the last one in theirs, its end would wait
    // for their unmounting, and that for its answers. And it does not outlive this process, whatever ends that.
    const command = ['--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private'];
    const child = spawn('setpriv', [...command, process.execPath, script, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await Promise.race([
      once(child.stdout, 'data'),
      once(child, 'exit').then(() => {
        throw new Error('the disk did not start');
      }),
    ]);
    const files = `/proc/${child.pid}/root${options.directory}`;
    return new Disk(child, join(files, options.mode === 'record' ? 'marks' : 'state'), attachLoop(join(files, 'disk')));
  }

  get device(): string {
    return this.#loop.path;
  }

  mount(type: string, place: string): void {
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

  /** What lies on it is from now on what this power cut left. It is not mounted. */
  become(state: CrashState): void {
    // What was written to the last one must not come later, and nothing that was read of it stay.
    check(kernel().ioctlInt(this.#loop.fd, BLKFLSBUF, 0), 'BLKFLSBUF', this.#loop.path);
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
    this.#child.kill('SIGKILL');
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
