/**
 * `layer.extra`: the files of a layer whose bytes the kernel cannot take from the tar. Each is whole and starts at a
 * multiple of 512; holes stay holes. Derived: the same index and tar give the same content.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { LarderError, systemError } from '../errors.js';
import type { BuiltIndex, ExtraFile } from './index-builder.js';

const COPY_BYTES = 1 << 20;

/**
 * Writes `outPath`, which must not exist, from the tar open as `tarFd`, and syncs it; mode 0400. Synchronous: for
 * worker threads. Nothing is written when the index has no extra files. Rejects with LARDER_LAYER_CORRUPT when the tar
 * is shorter than the index says, and with the codes of `systemError`.
 */
export function writeExtra(
  { extra, index }: Pick<BuiltIndex, 'extra' | 'index'>,
  tarFd: number,
  outPath: string,
): void {
  if (extra.length === 0) return;
  try {
    const out = openSync(outPath, 'wx', 0o400);
    try {
      ftruncateSync(out, index.extraSize);
      const buffer = Buffer.allocUnsafe(COPY_BYTES);
      for (const file of extra) copyRuns(file, index.offset[file.entry] ?? 0, tarFd, out, buffer);
      fsyncSync(out);
    } finally {
      closeSync(out);
    }
  } catch (error) {
    throw systemError(`writing the extra data of a layer: ${outPath}`, error);
  }
}

function copyRuns(
  { runs, tarOffset }: ExtraFile,
  extraOffset: number,
  tarFd: number,
  out: number,
  buffer: Buffer,
): void {
  let from = tarOffset;
  for (const { offset, length } of runs) {
    for (let done = 0; done < length; ) {
      const read = readSync(tarFd, buffer, 0, Math.min(buffer.length, length - done), from);
      if (read === 0) throw shortTar(from);
      writeAll(out, buffer.subarray(0, read), extraOffset + offset + done);
      done += read;
      from += read;
    }
  }
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}

function shortTar(position: number): LarderError {
  return new LarderError(
    'LARDER_LAYER_CORRUPT',
    `writing the extra data of a layer: the tar ends at ${position}, its index says more`,
  );
}
