/**
 * ▸ The steps of which durable protocols are made. What they promise: when the promise resolves, a power cut does not
 * undo it. An fsync error is final: the kernel may have dropped the pages, so a second fsync that succeeds proves
 * nothing; the caller gives up the file.
 */
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, systemError } from '../errors.js';

/** Makes renames, links and unlinks in this directory durable. */
export async function fsyncDirectory(path: string): Promise<void> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    await closing(handle, () => handle.sync());
  } catch (error) {
    throw systemError(`make directory durable: ${path}`, error);
  }
}

/**
 * Makes `path` hold exactly `bytes`, or leaves what was there: temporary file beside it, fsync, rename, directory
 * fsync. Replaces an existing file.
 */
export async function writeFileDurable(path: string, bytes: Uint8Array, mode = 0o600): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    // 1. The bytes, under a name that nobody reads.
    const handle = await open(temporary, 'wx', mode);
    await closing(handle, () => writeAndSync(handle, bytes, mode));
    // 2. The point of no return.
    await rename(temporary, path);
  } catch (error) {
    await unlinkIfThere(temporary);
    throw systemError(`write ${path}`, error);
  }
  // 3. The name survives a power cut.
  await fsyncDirectory(dirname(path));
}

/** Writes all bytes to a new file and makes them and its mode durable, whatever the umask. */
export async function writeAndSync(handle: FileHandle, bytes: Uint8Array, mode: number): Promise<void> {
  await handle.writeFile(bytes);
  await handle.chmod(mode);
  await handle.sync();
}

/** Creates the directory and missing parents, each durably; an existing one is left as it is. True when it was made. */
export async function ensureDirectory(path: string, mode = 0o700): Promise<boolean> {
  let made = await makeDirectory(path, mode);
  if (made === undefined) {
    await ensureDirectory(dirname(path), mode);
    made = await makeDirectory(path, mode);
  }
  if (made === undefined) throw systemError(`create directory ${path}`, new Error('its parent is not a directory'));
  if (made) await fsyncDirectory(dirname(path));
  return made;
}

/** False when there was nothing. Not durable by itself. */
export async function unlinkIfThere(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw systemError(`remove ${path}`, error);
  }
}

/** Whether it was made, or undefined when its parent is missing. */
async function makeDirectory(path: string, mode: number): Promise<boolean | undefined> {
  try {
    await mkdir(path, { mode });
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST' && (await isDirectory(path))) return false;
    if (errno === 'ENOENT' && dirname(path) !== path) return undefined;
    throw systemError(`create directory ${path}`, error);
  }
}

/** False also for a symlink that leads nowhere. */
async function isDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  return found?.isDirectory() ?? false;
}

/** Close errors count; an error of the work itself comes first. */
export async function closing(handle: FileHandle, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    await handle.close().catch(() => {});
    throw error;
  }
  await handle.close();
}
