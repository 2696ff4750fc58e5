import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { type ErrorCode, errnoOf, LarderError } from '../errors.js';

/** How a file that is not usable is told. */
export interface PlainFileOptions {
  /** *what we were doing*; opens every message of its own. */
  readonly doing: string;
  readonly code: ErrorCode;
  readonly maxBytes: number;
}

/**
 * All of a small file that settings name. A FIFO or a device is refused: one that nobody writes to would hold us up where
 * no signal reaches, one without an end would take all memory. Throws `code`, also where there is no such file, or the
 * system's error as it is.
 */
export function readPlainFile(path: string, { doing, code, maxBytes }: PlainFileOptions): Buffer {
  const fd = openNamed(path, doing, code);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new LarderError(code, `${doing}: ${path}: not a regular file`);
    const bytes = Buffer.alloc(Math.min(maxBytes, Math.max(stat.size, 64 * 1024)) + 1);
    let length = 0;
    for (;;) {
      const got = readSync(fd, bytes, length, bytes.length - length, null);
      length += got;
      if (got === 0) return bytes.subarray(0, length);
      if (length > maxBytes || length === bytes.length)
        throw new LarderError(code, `${doing}: ${path}: more than ${maxBytes} bytes, or it grows`);
    }
  } finally {
    closeSync(fd);
  }
}

/** What is wrong with a name, and not with this machine. */
const NO_SUCH_FILE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'ENXIO']);

function openNamed(path: string, doing: string, code: ErrorCode): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const errno = path.includes('\0') ? 'ENOENT' : (errnoOf(error) ?? '');
    if (!NO_SUCH_FILE.has(errno)) throw error;
    throw new LarderError(code, `${doing}: ${path}: there is no such file`, { cause: error, details: { errno } });
  }
}
