/**
 * What all backends put beside a container's root filesystem, and how it goes away again, also half of it:
 *
 *     <rootfs>/            mount point or copied tree; made by the backend
 *     <backendDir>/made    a link that says which directory that was, by its inode number; without it nothing is
 *                          unmounted or emptied. A link, since a power cut cannot leave one without its text
 *     <backendDir>/half    a link that is there as long as files are being written (copy): who was killed over it left a
 *                          tree that is not whole
 *     <backendDir>/upper/  what the container writes (erofs, overlay)
 *     <backendDir>/work/   overlayfs's own
 *
 * One `backendDir` serves one root filesystem. A `rootfs` that was there before is refused, and a later destroy leaves
 * it alone: it may be anything of the caller's.
 */
import { lstatSync, mkdirSync, readlinkSync, rmdirSync, symlinkSync, unlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { errnoOf, LarderError, systemError } from '../errors.js';
import { mayMount } from '../linux/capabilities.js';
import { mountsUnder } from '../linux/mountinfo.js';
import { removeSmallTree } from '../linux/remove-tree.js';
import { canonicalPath, unmountTreeAside } from '../linux/unmount-tree.js';
import { dropInheritedAcls } from '../linux/xattr.js';
import type { RunTask } from './tasks.js';

/** Called between any two steps, with the name of the step that is about to be taken; for tests that kill there. */
export type Step = (name: string) => void;

export const upperOf = (backendDir: string): string => join(backendDir, 'upper');
export const workOf = (backendDir: string): string => join(backendDir, 'work');
/** Entries that are removed without a worker thread. */
const SMALL_TREE = 100;

const halfOf = (backendDir: string): string => join(backendDir, 'half');
const madeOf = (backendDir: string): string => join(backendDir, 'made');

/** Rejects with LARDER_PERMISSION where this process may not mount. */
export function requireMounting(backend: string): void {
  if (mayMount()) return;
  throw new LarderError('LARDER_PERMISSION', `provision: with the ${backend} backend: mounting needs root`, {
    hint: 'run as root, or use --backend copy',
  });
}

/** Only we can enter it, and no file in it gets an ACL that its maker did not give it. Throws LARDER_CONTAINER_EXISTS when something is there. */
export function makePrivateDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
    dropInheritedAcls(path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw systemError(`provision: create ${path}`, error);
    throw new LarderError('LARDER_CONTAINER_EXISTS', `provision: ${path}: already exists`, {
      hint: 'destroy the container first',
      details: { path },
    });
  }
}

/** 1. The directory, if nothing is there. 2. The note that it is ours. Only then anything is mounted or written there. */
export function makeRootfs(rootfs: string, backendDir: string, step: Step): void {
  step('make rootfs');
  makePrivateDirectory(rootfs);
  step('note rootfs');
  try {
    symlinkSync(identityOf(rootfs) ?? 'none', madeOf(backendDir));
  } catch (error) {
    throw systemError(`provision ${rootfs}: write ${madeOf(backendDir)}`, error);
  }
}

/** Until `write` has ended the root filesystem is half of one, whoever looks at it later. Not synced, as its files are not. */
export async function writeWhole<T>(backendDir: string, write: () => Promise<T>): Promise<T> {
  const half = halfOf(backendDir);
  try {
    symlinkSync('half', half);
    const result = await write();
    unlinkSync(half);
    return result;
  } catch (error) {
    throw systemError(`provision: write the files beside ${half}`, error);
  }
}

/** Throws LARDER_PATH_NOT_FOUND where {@link writeWhole} did not come to its end. */
export function requireWhole(rootfs: string, backendDir: string): void {
  if (lstatSync(halfOf(backendDir), { throwIfNoEntry: false }) === undefined) return;
  throw new LarderError('LARDER_PATH_NOT_FOUND', `recover: ${rootfs}: not all of its files were written`, {
    hint: 'destroy the container: whoever made it was killed over it',
  });
}

/** Undoes a provision of any backend. False when there was nothing. */
export async function destroyRootfs(rootfs: string, backendDir: string, run: RunTask, step: Step): Promise<boolean> {
  const made = readMade(backendDir);
  let found = made !== undefined;
  if (made === undefined) {
    found = removeIfEmpty(rootfs);
  } else {
    step('unmount');
    await unmountAll(rootfs);
    step('remove rootfs');
    if (identityOf(rootfs) === made) await removeUnmounted(rootfs, run);
  }
  for (const path of [upperOf(backendDir), workOf(backendDir), halfOf(backendDir), madeOf(backendDir)]) {
    step(`remove ${basename(path)}`);
    if (await removeUnmounted(path, run)) found = true;
  }
  return found;
}

function readMade(backendDir: string): string | undefined {
  try {
    return readlinkSync(madeOf(backendDir));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`destroy: read ${madeOf(backendDir)}`, error);
  }
}

/** Undefined when there is nothing. */
function identityOf(path: string): string | undefined {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? undefined : String(stats.ino);
}

/** Killed between the two steps of {@link makeRootfs}: the directory is empty. One that is not is somebody else's. */
function removeIfEmpty(rootfs: string): boolean {
  try {
    rmdirSync(rootfs);
    return true;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EBUSY'].includes(errnoOf(error) ?? '')) return false;
    throw systemError(`destroy: remove ${rootfs}`, error);
  }
}

/**
 * Never deletes through a mount: where one is left, nothing is touched. The kernel is asked again at each directory. What
 * a short-lived container leaves is gone sooner than a thread starts.
 */
async function removeUnmounted(path: string, run: RunTask): Promise<boolean> {
  const place = placeOf(path);
  if (place === undefined) return false;
  try {
    return removeSmallTree(place, SMALL_TREE) ?? (await removeLarge(place, run));
  } catch (error) {
    throw systemError(`remove ${place}`, error);
  }
}

async function removeLarge(place: string, run: RunTask): Promise<boolean> {
  const [mount] = mountsUnder(place);
  if (mount === undefined) return await run('removeTree', { path: place });
  throw new LarderError('LARDER_ROOTFS_BUSY', `remove ${place}: a file system is mounted at ${mount.mountPoint}`, {
    hint: 'unmount it and destroy the container again',
    details: { path: place },
  });
}

async function unmountAll(rootfs: string): Promise<void> {
  try {
    await unmountTreeAside(rootfs);
  } catch (error) {
    throw systemError(`unmount ${rootfs}`, error);
  }
}

function placeOf(path: string): string | undefined {
  try {
    return canonicalPath(path);
  } catch (error) {
    throw systemError(`find ${path}`, error);
  }
}
