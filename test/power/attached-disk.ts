/** A disk of `disk.ts` with a loop device on it, on which file systems are mounted. All of it ends with its process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdirSync, openSync, readdirSync, readlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { errnoOf } from '../../src/errors.js';
import { attachLoop, type LoopDevice } from '../../src/linux/loop.js';
import { attach, FsContext, unmount } from '../../src/linux/mount.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { check, kernel } from '../../src/linux/syscalls.js';
import type { CrashState } from './crash-states.js';
import type { DiskOptions } from './disk.js';

const BLKFLSBUF = 0x1261;
const MAX_ATTEMPTS = 1000;

export class Disk implements AsyncDisposable {
  /** The file beside the disk, which says something to it: `marks` or `state`. */
  readonly companion: string;
  readonly #child: ChildProcess;
  readonly #loop: LoopDevice;
  #mounted: string | undefined;

  constructor(child: ChildProcess, companion: string, loop: LoopDevice) {
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
    return new Disk(child, join(files, options.mode === 'record' ? 'marks' : 'state'), attachDisk(join(files, 'disk')));
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
   * And what is mounted further in, as containers that were there: the power takes all of it. What is unmounted may end a
   * moment later; and where Node has no SQLite of its own, a database that was closed is open until its statements were
   * collected.
   */
  async unmount(): Promise<void> {
    const place = this.#mounted;
    for (let attempt = 0; place !== undefined && this.#mounted !== undefined; attempt++) {
      try {
        for (const { mountPoint } of mountsUnder(place).toReversed()) unmount(mountPoint);
        this.#mounted = undefined;
      } catch (error) {
        if (errnoOf(error) !== 'EBUSY') throw error;
        if (attempt === MAX_ATTEMPTS) throw new Error(`what holds ${place}: ${holdersOf(place)}`, { cause: error });
        globalThis.gc?.();
        await sleep(10);
      }
    }
  }

  /**
   * What lies on it is from now on what this power cut left. It is not mounted. `again`: and what a second one left of what
   * was written since it became the same state before; which one, this seed chooses.
   */
  become(state: CrashState, again?: number): void {
    this.#requireFree();
    // What was written to the last one must not come later, and nothing that was read of it stay.
    check(kernel().ioctlInt(this.#loop.fd, BLKFLSBUF, 0), 'BLKFLSBUF', this.#loop.path);
    const fd = openSync(this.companion, 'r+');
    try {
      writeSync(fd, JSON.stringify({ ...state, again }));
    } finally {
      closeSync(fd);
    }
  }

  /** Were a file system still on it somewhere, the next mount would show that one's memory, and replay no journal. */
  #requireFree(): void {
    closeSync(openSync(this.#loop.path, constants.O_RDONLY | constants.O_EXCL));
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
function attachDisk(path: string): LoopDevice {
  const file = openSync(path, 'r+');
  try {
    return attachLoop(file, 'write');
  } finally {
    closeSync(file);
  }
}

/** Of all processes: what is open, or a working directory. */
function holdersOf(place: string): string {
  const found = mountsUnder(place).map(({ mountPoint }) => `mount ${mountPoint}`);
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const links = ['cwd', 'root', ...tried(() => readdirSync(`/proc/${pid}/fd`), []).map((fd) => `fd/${fd}`)];
    for (const link of links) {
      const to = tried(() => readlinkSync(`/proc/${pid}/${link}`), '');
      if (to.startsWith(place)) found.push(`${pid} ${link} ${to}`);
    }
  }
  return found.join('; ') || 'nothing that can be seen';
}

/** Processes end meanwhile. */
function tried<T>(look: () => T, otherwise: T): T {
  try {
    return look();
  } catch {
    return otherwise;
  }
}
