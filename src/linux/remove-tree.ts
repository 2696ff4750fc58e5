/**
 * ▸ Removes a directory and all below it. Whatever a container wrote there cannot lead it elsewhere: one name at a time
 * below a descriptor, symbolic links are removed and never followed, a mount in the way ends it with EXDEV or EBUSY
 * instead of being emptied. Depth is not limited: only one directory is open at a time. What a container's root made
 * immutable (chattr(1)) is freed, and what somebody in it removes meanwhile is not missed.
 */
import { chmodSync, closeSync, constants, type Dir, type Dirent, fstatSync, opendirSync, readdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import {
  O_CLOEXEC,
  O_PATH,
  openDirectory,
  openDirectoryOnSameMount,
  openParent,
  rmdirAt,
  unlinkAt,
} from './at-calls.js';
import { makeRemovable, makeRemovableAt } from './file-flags.js';
import { MAX_SMALL_DIRECTORY, type PlaceStat, statPlace } from './mount-point.js';
import { check, cString, kernel, kernelError, type PathLike } from './syscalls.js';

/** Names of directories that one level remembers; further ones are found when these are gone. */
const MAX_REMEMBERED = 16384;

interface Level {
  readonly name: Buffer;
  /** Directories that are still to be removed; filled when the level is entered. */
  directories: Buffer[];
  /** There are more than were remembered. */
  more: boolean;
  readonly device: bigint;
  readonly inode: bigint;
}

/** False when there was nothing at `path`. A thing that is no directory is removed too. */
export function removeTree(path: string): boolean {
  const parent = openDirectory(dirname(path));
  try {
    return removeBelow(parent, Buffer.from(basename(path)));
  } finally {
    closeSync(parent);
  }
}

/**
 * Removes what is small: at most `max` entries, nothing mounted among them. Undefined, and nothing is touched, when it is
 * not, or when that is not known so cheaply (a container makes paths longer than PATH_MAX): then {@link removeTree},
 * after a look at the mount table. False when there was nothing.
 */
export function removeSmallTree(path: string, max: number): boolean | undefined {
  return isSmallTree(path, max) ? removeTree(path) : undefined;
}

function isSmallTree(path: string, max: number): boolean {
  try {
    return hasAtMost(path, max);
  } catch {
    return false;
  }
}

function hasAtMost(path: string, max: number): boolean {
  // Bytes: a name that is no UTF-8 would be looked for under another one, and pass for missing.
  const pending = [Buffer.from(path)];
  let left = max;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const place = statIfThere(next);
    if (place === 'missing') continue;
    if (place === undefined || place.isMountPoint) return false;
    if (!place.isDirectory) continue;
    if (place.size > MAX_SMALL_DIRECTORY) return false;
    for (const name of readdirSync(next, 'buffer')) {
      left -= 1;
      if (left < 0) return false;
      pending.push(Buffer.concat([next, SLASH, name]));
    }
  }
  return true;
}

const SLASH = Buffer.from('/');

function statIfThere(path: PathLike): PlaceStat | 'missing' | undefined {
  try {
    return statPlace(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 'missing';
    throw error;
  }
}

function removeBelow(parent: number, name: Buffer): boolean {
  try {
    return freed(
      () => unlinkAt(parent, name),
      () => makeRemovableAt(parent, name),
    );
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'EISDIR' && code !== 'EPERM') throw error;
  }
  emptyDirectory(parent, name);
  freed(
    () => rmdirAt(parent, name),
    () => makeRemovableAt(parent, name),
  );
  return true;
}

/** Removes one name of a directory that is being removed. */
function removeFrom(dir: number, name: Buffer, remove: (dir: number, name: Buffer) => void): void {
  // Not `||`: both may be in the way.
  freed(
    () => remove(dir, name),
    () => [makeRemovable(dir), makeRemovableAt(dir, name)].includes(true),
  );
}

/** False when there was nothing to remove. Once more after `free`, where that changed something. */
function freed(remove: () => void, free: () => boolean): boolean {
  try {
    remove();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    if (codeOf(error) !== 'EPERM' || !free()) throw error;
    remove();
  }
  return true;
}

/** Depth first without recursion: down by name, up by `..`, which must be where we came from. */
function emptyDirectory(parent: number, name: Buffer): void {
  let current = enter(parent, name);
  try {
    const levels: Level[] = [readLevel(current, name)];
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const next = level.directories.at(-1);
      if (next !== undefined) {
        const child = enterIfThere(current, next);
        if (child === undefined) {
          level.directories.pop();
          removeFrom(current, next, unlinkAt);
          continue;
        }
        closeSync(current);
        current = child;
        levels.push(readLevel(current, next));
        continue;
      }
      if (level.more) {
        Object.assign(level, takeFiles(current));
        continue;
      }
      levels.pop();
      const above = levels.at(-1);
      if (above === undefined) return;
      const up = openParent(current);
      closeSync(current);
      current = up;
      expectSame(current, above);
      removeFrom(current, level.name, rmdirAt);
      above.directories.pop();
    }
  } finally {
    closeSync(current);
  }
}

function readLevel(fd: number, name: Buffer): Level {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return { name, ...takeFiles(fd), device: dev, inode: ino };
}

/** Removes all but directories. Entry by entry: a container may have made more names than memory holds. */
function takeFiles(fd: number): Pick<Level, 'directories' | 'more'> {
  const directories: Buffer[] = [];
  const listing = opendirSync(`/proc/self/fd/${fd}`, LISTING);
  try {
    for (let entry = nextOf(listing); entry !== null; entry = nextOf(listing)) {
      if (!entry.isDirectory()) removeFrom(fd, entry.name, unlinkAt);
      else if (directories.length < MAX_REMEMBERED) directories.push(entry.name);
      else return { directories, more: true };
    }
  } finally {
    listing.closeSync();
  }
  return { directories, more: false };
}

/** Node's types do not know that a listing can have names as bytes. */
const LISTING = { encoding: 'buffer' as BufferEncoding, bufferSize: 512 };

function nextOf(listing: Dir): Dirent<Buffer> | null {
  return listing.readSync() as unknown as Dirent<Buffer> | null;
}

/** Undefined when it was removed meanwhile, or is no directory any more. */
function enterIfThere(dir: number, name: Buffer): number | undefined {
  try {
    return enter(dir, name);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** Without root, a directory of ours may forbid even us to look into it. */
function enter(dir: number, name: Buffer): number {
  try {
    return openChangeable(dir, name);
  } catch (error) {
    if (codeOf(error) !== 'EACCES') throw error;
  }
  const flags = O_PATH | O_CLOEXEC | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  const handle = check(kernel().openat(dir, cString(name), flags, 0), 'openat', name);
  try {
    chmodSync(`/proc/self/fd/${handle}`, 0o700);
  } finally {
    closeSync(handle);
  }
  return openDirectoryOnSameMount(dir, name);
}

function openChangeable(dir: number, name: Buffer): number {
  const fd = openDirectoryOnSameMount(dir, name);
  if (process.geteuid?.() === 0) return fd;
  try {
    chmodSync(`/proc/self/fd/${fd}`, 0o700);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function expectSame(fd: number, level: Level): void {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  if (dev !== level.device || ino !== level.inode) throw kernelError(ESTALE, 'openat', '..');
}

const ESTALE = 116;

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
