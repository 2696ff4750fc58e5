/** Opens files of the store that are going to be believed: a regular file of exactly the recorded size, or an error. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { isLarderError, LarderError, systemError } from '../errors.js';

export interface ExpectedFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

/**
 * A descriptor for reading. Rejects with LARDER_LAYER_CORRUPT when the file is missing, shorter or longer than
 * recorded, or not a regular file; a symbolic link is not followed.
 */
export function openChecked({ path, size }: ExpectedFile): number {
  let fd: number | undefined;
  try {
    // Non-blocking, so that a fifo in its place cannot hold us; without effect on regular files.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw corrupt(path, 'not a regular file');
    if (stats.size !== size) throw corrupt(path, `has ${stats.size} bytes instead of ${size}`);
    return fd;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    if (isLarderError(error)) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP')
      throw corrupt(path, `cannot be opened (${code})`, error);
    throw systemError(`open ${path}`, error);
  }
}

/** Opens all or none. The caller closes them. */
export function openAllChecked(files: readonly ExpectedFile[]): readonly number[] {
  const opened: number[] = [];
  try {
    for (const file of files) opened.push(openChecked(file));
    return opened;
  } catch (error) {
    closeAll(opened);
    throw error;
  }
}

export function closeAll(fds: Iterable<number>): void {
  for (const fd of fds) closeSync(fd);
}

/** Rejects with LARDER_LAYER_CORRUPT unless the whole file has this SHA-256 (hex). */
export function expectSha256(fd: number, path: string, sha256: string): void {
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(1 << 18);
  for (let position = 0; ; ) {
    const length = readSync(fd, chunk, 0, chunk.length, position);
    if (length === 0) break;
    hash.update(chunk.subarray(0, length));
    position += length;
  }
  if (hash.digest('hex') !== sha256) throw corrupt(path, 'its SHA-256 is not the recorded one');
}

export function corrupt(path: string, problem: string, cause?: unknown): LarderError {
  return new LarderError('LARDER_LAYER_CORRUPT', `read a stored layer: ${path}: ${problem}`, {
    details: { path },
    hint: 'run `larder check`; what is derived is made again, a damaged layer is pulled again',
    ...(cause === undefined ? {} : { cause }),
  });
}
