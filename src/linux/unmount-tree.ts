/**
 * ▸ Unmounts all that is at a directory and below it. Long: unmounting an overlay writes back what is dirty on the whole
 * file system of its upper directory, unless it is `volatile`. {@link unmountTreeAside} does that in Node's thread pool.
 */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../errors.js';
import { unmount, unmountAside } from './mount.js';
import { isBareDirectory, isMountPoint } from './mount-point.js';
import { mountsUnder } from './mountinfo.js';

/** The path as the mount table has it: its parent without symbolic links. Undefined when the parent is not there. */
export function canonicalPath(path: string): string | undefined {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The last mount first; lazily what is busy. False when nothing was mounted. */
export function unmountTree(path: string): boolean {
  const place = canonicalPath(path);
  if (place === undefined) return false;
  const mounts = [...mountsUnder(place)].reverse();
  for (const { mountPoint } of mounts) unmountOne(Buffer.from(mountPoint, 'latin1'));
  return mounts.length > 0;
}

/** The same; the mount at `path` itself, the one that takes long, does not keep this thread. */
export async function unmountTreeAside(path: string): Promise<boolean> {
  const place = canonicalPath(path);
  if (place === undefined) return false;
  let found = false;
  while (isMountPoint(place) && (await isUnmountedAside(place))) found = true;
  // Nothing can be mounted below what has nothing in it: no need to look through all mounts that there are.
  if (isBareDirectory(place)) return found;
  return unmountTree(place) || found;
}

/** False when it is busy, or gone meanwhile: what is left is seen to otherwise. */
async function isUnmountedAside(place: string): Promise<boolean> {
  try {
    await unmountAside(place);
    return true;
  } catch (error) {
    if (!['EBUSY', 'EINVAL', 'ENOENT'].includes(errnoOf(error) ?? '')) throw error;
    return false;
  }
}

function unmountOne(mountPoint: Buffer): void {
  try {
    unmountOrDetach(mountPoint);
  } catch (error) {
    // A lazy unmount of what is above took this one along.
    const errno = errnoOf(error);
    if (errno !== 'EINVAL' && errno !== 'ENOENT') throw error;
  }
}

function unmountOrDetach(mountPoint: Buffer): void {
  try {
    unmount(mountPoint);
  } catch (error) {
    if (errnoOf(error) !== 'EBUSY') throw error;
    unmount(mountPoint, { detach: true });
  }
}
