/** The files of an archive or a layout, by name; nothing of it is ever written to disk under a name that it chose. */
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { errnoOf, LarderError, systemError } from '../../errors.js';

/** `size` bytes from `offset` of a regular file on this machine. */
export interface ArchiveFile {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
}

export interface ArchiveFiles {
  /** As the caller named it, for messages. */
  readonly name: string;
  /** Undefined where there is no such file. Rejects with LARDER_ARCHIVE_INVALID for what is no regular file. */
  find(name: string): Promise<ArchiveFile | undefined>;
}

/** What a file is at this instant: changes whenever its bytes may have changed. */
export interface FileFacts {
  readonly size: number;
  readonly identity: string;
}

/** All of a file, or LARDER_ARCHIVE_INVALID when it is longer than `maxBytes`. */
export async function readWhole(file: ArchiveFile, maxBytes: number, doing: string): Promise<Buffer> {
  if (file.size > maxBytes) throw invalid(doing, `${file.size} bytes are more than the limit of ${maxBytes}`);
  return readStart(file, file.size, doing);
}

/** The first `length` bytes, or all of a file that has fewer. */
export async function readStart(file: ArchiveFile, length: number, doing: string): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.min(length, file.size));
  await withRegularFile(file.path, doing, async (handle) => {
    const got = await readFully(handle, bytes, file.offset, doing);
    if (got < bytes.length) throw invalid(doing, 'the archive became shorter while it was read');
  });
  return bytes;
}

/** How many bytes there were; fewer than asked for at the end of the file only. */
export async function readFully(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
  doing: string,
): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await handle
      .read(bytes, done, bytes.length - done, position + done)
      .catch((error: unknown) => {
        throw systemError(doing, error);
      });
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Where an archive or a directory that the caller named really lies; what lies inside is never followed. */
export async function realPlace(path: string, doing: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    throw notThere(path, doing, error);
  }
}

export async function isDirectory(path: string, doing: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw notThere(path, doing, error);
  }
}

/** Undefined where there is no such file. */
export async function identityOfFile(path: string): Promise<string | undefined> {
  try {
    return identityOf(await stat(path, { bigint: true }));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw systemError(`look at ${path}`, error);
  }
}

/** Opens a path whose last part is a regular file and no symlink; a FIFO does not hold it up. */
export async function withRegularFile<T>(
  path: string,
  doing: string,
  work: (handle: FileHandle, facts: FileFacts) => Promise<T>,
): Promise<T> {
  const handle = await openRegular(path, doing);
  try {
    const facts = await handle.stat({ bigint: true });
    return await work(handle, { size: Number(facts.size), identity: identityOf(facts) });
  } finally {
    await handle.close();
  }
}

function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

async function openRegular(path: string, doing: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === 'ELOOP') throw invalid(doing, `${path} is a symbolic link`);
    // What no driver stands behind, and a socket.
    if (errnoOf(error) === 'ENXIO') throw invalid(doing, `${path} is not a regular file`);
    throw notThere(path, doing, error);
  }
  try {
    if ((await handle.stat()).isFile()) return handle;
    throw invalid(doing, `${path} is not a regular file`);
  } catch (error) {
    await handle.close();
    throw systemError(doing, error);
  }
}

function notThere(path: string, doing: string, error: unknown): LarderError {
  const errno = errnoOf(error) ?? '';
  if (errno !== 'ENOENT' && errno !== 'ENOTDIR') return systemError(doing, error);
  return new LarderError('LARDER_IMAGE_NOT_FOUND', `${doing}: there is no ${path}`, {
    cause: error,
    details: { errno },
  });
}

/** LARDER_ARCHIVE_INVALID. */
export function invalid(doing: string, why: string, options: { hint?: string; cause?: unknown } = {}): LarderError {
  return new LarderError('LARDER_ARCHIVE_INVALID', `${doing}: ${why}`, options);
}
