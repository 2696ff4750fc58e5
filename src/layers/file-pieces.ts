import { closeSync, constants, openSync, readSync } from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { errnoOf, LarderError, systemError, throwIfAborted } from '../errors.js';

const PIECE_BYTES = 1 << 20;

export interface PiecesOptions {
  /** Default 0. */
  readonly offset?: number;
  /** Default: to the end of the file, wherever that is. */
  readonly length?: number;
  readonly signal?: AbortSignal;
}

/**
 * A file's bytes in pieces of at most 1 MiB. Each piece is valid only until the next one is asked for. Fewer than
 * `length` when the file ends before. Reads synchronously, but lets the thread's messages in between pieces.
 */
export async function* readInPieces(path: string, options: PiecesOptions = {}): AsyncGenerator<Uint8Array, void, void> {
  const { offset = 0, length = Number.POSITIVE_INFINITY, signal } = options;
  const fd = openForReading(path);
  try {
    const buffer = Buffer.allocUnsafeSlow(Math.max(1, Math.min(PIECE_BYTES, length)));
    for (let done = 0; done < length; ) {
      throwIfAborted(signal, `read ${path}`);
      const want = Math.min(buffer.length, length - done);
      const got = readPiece(fd, buffer, want, offset + done, path);
      if (got === 0) return;
      done += got;
      yield buffer.subarray(0, got);
      await breathe();
    }
  } finally {
    closeSync(fd);
  }
}

function openForReading(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw systemError(`read ${path}`, error);
    throw new LarderError('LARDER_PATH_NOT_FOUND', `read ${path}: there is no such file`, { cause: error });
  }
}

function readPiece(fd: number, buffer: Uint8Array, length: number, position: number, path: string): number {
  try {
    return readSync(fd, buffer, 0, length, position);
  } catch (error) {
    throw systemError(`read ${path}`, error);
  }
}
