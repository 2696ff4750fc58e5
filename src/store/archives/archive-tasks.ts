/** The worker tasks of archives: what takes long on the bytes of one. Plain data in and out. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { isLarderError, LarderError, systemError, throwIfAborted } from '../../errors.js';
import { openInflater, SNIFF_BYTES, sniffCompression } from '../../tar/compression.js';
import { refuseBomb } from '../../tar/entry.js';
import type { TaskContext } from '../../workers/protocol.js';
import type { ArchiveFile } from './archive-files.js';

/** The task `inflateArchive`: an archive that is compressed as a whole, uncompressed into a new file. */
export interface InflateArchiveJob {
  readonly path: string;
  readonly outPath: string;
  readonly maxBytes: number;
  readonly maxRatio: number;
}

/** The task `hashArchived`: one layer in an archive that nothing describes. */
export interface HashArchivedJob {
  readonly file: ArchiveFile;
  /** Of the tar. */
  readonly maxBytes: number;
}

export interface HashArchivedResult {
  /** SHA-256 (hex) of the bytes as they lie there, and of the tar that they are. */
  readonly sha256: string;
  readonly tarSha256: string;
}

const PIECE_BYTES = 1 << 20;

/** Rejects with LARDER_ARCHIVE_INVALID, LARDER_LAYER_LIMIT, LARDER_MEDIA_TYPE_UNSUPPORTED, LARDER_NO_SPACE, LARDER_ABORTED. */
export async function inflateArchiveTask(data: unknown, { signal }: TaskContext): Promise<void> {
  const { path, outPath, maxBytes, maxRatio } = data as InflateArchiveJob;
  const doing = `read archive ${path}`;
  const out = openSync(
    outPath,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  );
  let read = 0;
  let written = 0;
  const write = (bytes: Uint8Array): void => {
    if (written + bytes.length > maxBytes) {
      throw new LarderError('LARDER_ARCHIVE_INVALID', `${doing}: uncompressed it has more than ${maxBytes} bytes`);
    }
    refuseBomb(doing, read, written + bytes.length, { maxRatio });
    for (let done = 0; done < bytes.length; ) done += writeSync(out, bytes, done, bytes.length - done, written + done);
    written += bytes.length;
  };
  try {
    await inflate(
      { path, offset: 0, size: Number.MAX_SAFE_INTEGER },
      doing,
      signal,
      (raw) => {
        read += raw.length;
      },
      write,
    );
  } finally {
    closeSync(out);
  }
}

/** Rejects as {@link inflateArchiveTask}, and with LARDER_LAYER_LIMIT. */
export async function hashArchivedTask(data: unknown, { signal }: TaskContext): Promise<HashArchivedResult> {
  const { file, maxBytes } = data as HashArchivedJob;
  const whole = createHash('sha256');
  const tar = createHash('sha256');
  const doing = `read archive ${file.path}`;
  let tarBytes = 0;
  const take = (bytes: Uint8Array): void => {
    tarBytes += bytes.length;
    if (tarBytes > maxBytes) {
      throw new LarderError(
        'LARDER_LAYER_LIMIT',
        `${doing}: the layer at byte ${file.offset} has more than ${maxBytes} bytes`,
      );
    }
    tar.update(bytes);
  };
  const done = await inflate(file, doing, signal, (bytes) => void whole.update(bytes), take);
  if (done < file.size)
    throw new LarderError('LARDER_ARCHIVE_INVALID', `${doing}: it became shorter while it was read`);
  return { sha256: whole.digest('hex'), tarSha256: tar.digest('hex') };
}

/** Reads a part of a file, gives it to `raw` as it is and to `out` uncompressed; how many bytes there were. */
async function inflate(
  file: ArchiveFile,
  doing: string,
  signal: AbortSignal,
  raw: (bytes: Uint8Array) => void,
  out: (bytes: Uint8Array) => void,
): Promise<number> {
  let fd: number | undefined;
  let inflater: Awaited<ReturnType<typeof openInflater>> | undefined;
  let done = 0;
  try {
    fd = openSync(file.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (!fstatSync(fd).isFile()) throw new LarderError('LARDER_ARCHIVE_INVALID', `${doing}: it is not a regular file`);
    const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
    while (done < file.size) {
      throwIfAborted(signal, doing);
      const got = readSync(fd, buffer, 0, Math.min(PIECE_BYTES, file.size - done), file.offset + done);
      if (got === 0) break;
      const piece = buffer.subarray(0, got);
      inflater ??= await openInflater(compressionOf(piece, doing), { name: file.path });
      raw(piece);
      await inflater.write(piece, out);
      done += got;
      await breathe();
    }
    await inflater?.end(out);
    return done;
  } catch (error) {
    if (!isLarderError(error, 'LARDER_LAYER_CORRUPT')) throw systemError(doing, error);
    throw new LarderError('LARDER_ARCHIVE_INVALID', `${doing}: ${error.message}`, { cause: error });
  } finally {
    inflater?.close();
    if (fd !== undefined) closeSync(fd);
  }
}

function compressionOf(first: Uint8Array, doing: string) {
  const found = sniffCompression(first.subarray(0, SNIFF_BYTES));
  if (found !== 'zip' && found !== 'lz4') return found;
  throw new LarderError('LARDER_MEDIA_TYPE_UNSUPPORTED', `${doing}: ${found} is not supported`);
}
