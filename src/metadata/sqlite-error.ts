/** SQLite's failures as errors that a user can act on. */
import { randomUUID } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { errnoOf, isLarderError, LarderError, systemError } from '../errors.js';

/** https://www.sqlite.org/rescode.html */
const ERROR_BUSY = 5;
const ERROR_LOCKED = 6;
const ERROR_READONLY = 8;
const ERROR_IOERR = 10;
const ERROR_CORRUPT = 11;
const ERROR_FULL = 13;
const ERROR_CANTOPEN = 14;
const ERROR_NOTADB = 26;
const ERROR_PERM = 3;
const IOERR_WRITE = ERROR_IOERR | (3 << 8);
/** Growing the -shm file failed: it is written with ftruncate and mmap, so a full disk shows here. */
const IOERR_SHMSIZE = ERROR_IOERR | (19 << 8);

export const CORRUPT_HINT =
  'run `larder repair`, or just the next command: a damaged database is moved aside and made again from the files of the store';

export function metadataCorrupt(path: string, why: string, cause?: unknown): LarderError {
  return new LarderError('LARDER_METADATA_CORRUPT', `read metadata: ${path}: ${why}`, { cause, hint: CORRUPT_HINT });
}

/**
 * Whether what was written may be half on disk, so that this connection must not write again (fsync errors are final). A
 * write that was refused for want of space is taken back, whatever SQLite calls it: a quota is no error of the disk.
 */
export function isIoError(error: unknown, { code: meaning }: LarderError): boolean {
  const code = resultCode(error);
  if (code === IOERR_SHMSIZE || (code === IOERR_WRITE && meaning === 'LARDER_NO_SPACE')) return false;
  return code !== undefined && (code & 0xff) === ERROR_IOERR;
}

/** Whether SQLite calls the file no database, or a broken one. */
export function isDamage(error: unknown): boolean {
  const code = (resultCode(error) ?? 0) & 0xff;
  return code === ERROR_CORRUPT || code === ERROR_NOTADB;
}

export function sqliteError(doing: string, path: string, error: unknown): LarderError {
  if (isLarderError(error)) return error;
  const code = resultCode(error);
  if (code === undefined) return systemError(`${doing}: ${path}`, error);
  const why = error instanceof Error ? error.message : String(error);
  const options = { cause: error, details: { sqlite: code } };
  const message = `${doing}: ${path}: ${why}`;
  const beside = code === IOERR_SHMSIZE ? refusalBeside(doing, path) : undefined;
  if (beside !== undefined) return beside;
  switch (code === IOERR_SHMSIZE ? ERROR_FULL : code & 0xff) {
    case ERROR_CORRUPT:
    case ERROR_NOTADB:
      return new LarderError('LARDER_METADATA_CORRUPT', message, { ...options, hint: CORRUPT_HINT });
    case ERROR_FULL:
      return new LarderError('LARDER_NO_SPACE', message, {
        ...options,
        hint: 'free space or inodes on this file system, or run `larder prune`',
      });
    case ERROR_READONLY:
    case ERROR_PERM:
      return new LarderError('LARDER_PERMISSION', message, {
        ...options,
        hint: 'run as root, or choose a store that you may write with --root',
      });
    case ERROR_BUSY:
    case ERROR_LOCKED:
      return new LarderError('LARDER_STORE_LOCKED', message, {
        ...options,
        hint: 'another program keeps the database locked; end it and try again',
      });
    case ERROR_IOERR:
    case ERROR_CANTOPEN:
      return (
        refusalBeside(doing, path) ??
        new LarderError('LARDER_INTERNAL', message, { ...options, hint: 'look for errors of the disk in `dmesg`' })
      );
    default:
      return new LarderError('LARDER_INTERNAL', message, options);
  }
}

/**
 * SQLite does not say why the system refused. A quota, a full disk that shows only when a file is made, and too many
 * open files refuse another file beside it, too.
 */
function refusalBeside(doing: string, path: string): LarderError | undefined {
  const beside = `${path}.${randomUUID()}.tmp`;
  try {
    writeFileSync(beside, Buffer.alloc(4096, 1), { flag: 'wx', mode: 0o600, flush: true });
    return undefined;
  } catch (error) {
    return systemError(`${doing}: ${path}`, error);
  } finally {
    removeIfPossible(beside);
  }
}

/** The error that is being told counts; what is left goes with the remains of killed creators. */
function removeIfPossible(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

/** The extended result code, or undefined when the error is not SQLite's. */
function resultCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error)) return undefined;
  return typeof error.errcode === 'number' ? error.errcode : undefined;
}
