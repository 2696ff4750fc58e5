/**
 * ▸ One EROFS mount for each image, at `mounts/<merged key>`, shared by all its containers, so that they share one page
 * cache. Several processes and several mount namespaces may use one store:
 *
 * - whether it is mounted says this namespace's own mount table and the file system's UUID, never a record;
 * - `mounts/<merged key>.lock` is held shared while a container is put on top, exclusively while mounting and
 *   unmounting; users are the claims of containers, which are durable before they come here (I4).
 *
 * The kernel checks nothing of what it is given: before each mount the image's SHA-256 is compared, and every data file
 * is opened and its size compared, in the order of the list that also wrote the image (I10). Owns `mounts/`.
 */
import { closeSync, mkdirSync, readdirSync, realpathSync, rmdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, isLarderError, LarderError, systemError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import { mountErofs, NOT_FILE_BACKED } from '../linux/erofs-mount.js';
import { type FileLock, lockFile, tryLockFile } from '../linux/file-lock.js';
import { fileSystemUuid } from '../linux/file-system-uuid.js';
import { makeDirectories } from '../linux/make-directories.js';
import { unmount } from '../linux/mount.js';
import { isMountPoint } from '../linux/mount-point.js';
import { findMount } from '../linux/mountinfo.js';
import { closeAll, expectSha256, openAllChecked, openChecked } from './checked-file.js';
import type { LayerAccess, MergedImage } from './layer-access.js';
import type { Step } from './rootfs-files.js';

export interface ImageMountsOptions {
  /** `mounts/` of the store; created when it is missing. */
  readonly directory: string;
  readonly access: LayerAccess;
  readonly step?: Step;
}

const EROFS_MAGIC = 0xe0f5e1e2;
const KEY = /^[0-9a-f]{64}$/;

export class ImageMounts {
  readonly #directory: string;
  readonly #access: LayerAccess;
  readonly #step: Step;
  /** Found out by the first mount. */
  #through: 'file' | 'loop' = 'file';

  constructor(options: ImageMountsOptions) {
    this.#directory = options.directory;
    this.#access = options.access;
    this.#step = options.step ?? (() => {});
  }

  /**
   * Mounts the image where it is not, then calls `work` with the mount's path; it stays mounted while `work` runs.
   * Rejects with LARDER_LAYER_CORRUPT when a file is not what was recorded and could not be made again,
   * LARDER_STORE_UNSAFE when something else is mounted there, LARDER_BACKEND_UNAVAILABLE when the kernel refuses.
   */
  async use<T>(
    layers: readonly string[],
    options: OperationOptions,
    work: (path: string) => T | Promise<T>,
  ): Promise<T> {
    const key = this.#access.mergedKeyOf(layers);
    const path = this.#pathOf(key);
    let lock = await this.#lock(path, 'shared', options);
    try {
      if (!isOurs(path, key)) {
        lock.release();
        lock = await this.#lock(path, 'exclusive', options);
        if (!isOurs(path, key)) await this.#mount(layers, key, path, options);
      }
      return await work(path);
    } finally {
      lock.release();
    }
  }

  /** Unmounts the image when no container's claim names it. */
  async release(layers: readonly string[]): Promise<void> {
    await this.#releaseKey(this.#access.mergedKeyOf(layers));
  }

  /**
   * Takes the image's mount out of the way, although containers use it: the next one mounts the image anew, those that
   * are there keep what they have.
   */
  async detach(key: string): Promise<void> {
    const path = this.#pathOf(key);
    if (!isMountPoint(path)) return;
    const lock = await this.#lock(path, 'exclusive', {});
    try {
      if (isMountPoint(path)) unmount(path, { detach: true });
    } catch (error) {
      throw systemError(`detach the image ${path}`, error);
    } finally {
      lock.release();
    }
  }

  /** Unmounts every image that has no users; an image that somebody is busy with has one. */
  async sweep(): Promise<void> {
    for (const name of this.#names()) {
      const key = name.replace(/\.lock$/, '');
      if (KEY.test(key)) await this.#releaseKey(key);
    }
  }

  async #releaseKey(key: string): Promise<void> {
    if (await this.#access.isUsed(key)) return;
    const path = this.#pathOf(key);
    const lock = tryLockFile(`${path}.lock`, 'exclusive');
    // Whoever has it claimed the image before, or is unmounting it.
    if (lock === undefined) return;
    let unused = false;
    try {
      unused = !(await this.#access.isUsed(key));
      if (unused) takeDown(path);
    } finally {
      lock.release({ unlink: unused });
    }
  }

  async #mount(layers: readonly string[], key: string, path: string, options: OperationOptions): Promise<void> {
    this.#step('make the image');
    const image = await this.#access.mergedImage(layers, options);
    makeMountPoint(path);
    this.#step('mount the image');
    try {
      this.#mountImage(image, key, path);
    } catch (error) {
      if (!isLarderError(error, 'LARDER_LAYER_CORRUPT')) throw error;
      // What is derived may be damaged: made again once from the layers. A damaged layer fails again.
      this.#mountImage(await this.#access.mergedImage(layers, { ...options, rebuild: true }), key, path);
    }
    this.#step('image mounted');
  }

  #mountImage(image: MergedImage, key: string, path: string): void {
    if (image.key !== key) throw new LarderError('LARDER_INTERNAL', `mount image ${key}: was given image ${image.key}`);
    const imageFd = openChecked(image);
    try {
      expectSha256(imageFd, image.path, image.sha256);
      const deviceFds = openAllChecked(image.devices);
      try {
        this.#mountOpened(imageFd, deviceFds, path);
      } finally {
        closeAll(deviceFds);
      }
    } finally {
      closeSync(imageFd);
    }
    if (!isOurs(path, key)) throw notOurs(path, 'the mounted image is not the one that was meant');
  }

  /** File-backed first; where the kernel refuses that, everything through loop devices. */
  #mountOpened(imageFd: number, deviceFds: readonly number[], target: string): void {
    const mount = (through: 'file' | 'loop'): void => {
      // These flags do not pass to what is mounted on top: nobody looks at this mount itself.
      mountErofs({ imageFd, deviceFds, target, through, nodev: true, nosuid: true, noexec: true });
      this.#through = through;
    };
    try {
      try {
        mount(this.#through);
      } catch (error) {
        if (this.#through === 'loop' || !NOT_FILE_BACKED.has(errnoOf(error) ?? '')) throw error;
        mountByLoop(() => mount('loop'), error);
      }
    } catch (error) {
      throw refused(target, error);
    }
  }

  #lock(path: string, mode: 'shared' | 'exclusive', { signal }: OperationOptions): Promise<FileLock> {
    return lockFile(`${path}.lock`, mode, signal === undefined ? {} : { signal });
  }

  #names(): readonly string[] {
    try {
      return readdirSync(this.#directory);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw systemError(`list image mounts: ${this.#directory}`, error);
    }
  }

  #pathOf(key: string): string {
    if (!KEY.test(key)) throw new LarderError('LARDER_INTERNAL', 'mount an image: its key is not 64 hex digits');
    makeDirectories(this.#directory);
    return join(realpathSync(this.#directory), key);
  }
}

/** Says nothing of what the kernel can mount. */
const EXHAUSTED: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM']);

/** The first refusal tells more than the one of the loop devices, which need not exist here. */
function mountByLoop(mount: () => void, first: unknown): void {
  try {
    mount();
  } catch (error) {
    if (EXHAUSTED.has(errnoOf(error) ?? '')) throw error;
    const { message } = error instanceof Error ? error : new Error(String(error));
    if (first instanceof Error) first.message += `; through loop devices: ${message}`;
    throw first;
  }
}

function makeMountPoint(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw systemError(`create ${path}`, error);
  }
}

/** False when nothing is mounted there. Rejects with LARDER_STORE_UNSAFE for anything but the image itself. */
function isOurs(path: string, key: string): boolean {
  if (!isMountPoint(path)) return false;
  // The kernel says it of this place alone; only where it does not, all that is mounted is looked through.
  if (statfsSync(path).type === EROFS_MAGIC && fileSystemUuid(path) === key.slice(0, 32)) return true;
  const mount = findMount(path);
  if (mount === undefined) return false;
  if (mount.type !== 'erofs') throw notOurs(path, `${mount.type} is mounted there`);
  const uuid = fileSystemUuid(path);
  if (uuid !== undefined && uuid !== key.slice(0, 32)) throw notOurs(path, 'another image is mounted there');
  return true;
}

function notOurs(path: string, problem: string): LarderError {
  return new LarderError('LARDER_STORE_UNSAFE', `use the mounted image ${path}: ${problem}`, {
    hint: `find out who mounts into the store, and unmount ${path}`,
  });
}

function takeDown(path: string): void {
  try {
    while (isMountPoint(path)) unmount(path, { detach: true });
    rmdirSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw systemError(`unmount the image ${path}`, error);
  }
}

function refused(path: string, error: unknown): LarderError {
  if (EXHAUSTED.has(errnoOf(error) ?? '')) return systemError(`mount the image ${path}`, error);
  const why = error instanceof Error ? error.message : String(error);
  return new LarderError('LARDER_BACKEND_UNAVAILABLE', `mount the image ${path}: ${why}`, {
    cause: error,
    hint: 'see the kernel log; use --backend overlay',
  });
}
