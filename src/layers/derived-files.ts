/** What is derived from one tar: its index, and the bytes that the kernel cannot be given from the tar itself. */
import { createHash } from 'node:crypto';
import { mkdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { alignUp } from '../bytes.js';
import { LarderError, systemError } from '../errors.js';
import type { BuiltIndex, ExtraFile } from '../tree/index-builder.js';
import { encodeLayerIndex } from '../tree/layer-index.js';
import type { DerivedFile } from './layer-job.js';
import { NewFile } from './new-file.js';

const BLOCK = 512;
const PIECE_BYTES = 1 << 20;
/** Holes cost no disk, but they are hashed; a tar's few bytes must not buy hours of that. */
const MAX_HOLE_BYTES = 8 * 2 ** 30;

export interface DerivedFiles {
  readonly index: DerivedFile;
  readonly extra: DerivedFile | undefined;
}

/** Writes `<outDir>/derived/index` and, where needed, `layer.extra`, both durable. `tarFd` is read, never moved. */
export function writeDerivedFiles(built: BuiltIndex, tarFd: number, outDir: string): DerivedFiles {
  const directory = join(outDir, 'derived');
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw systemError(`write derived files: ${directory}`, error);
  }
  const extra = built.extra.length === 0 ? undefined : writeExtra(built.extra, tarFd, join(directory, 'layer.extra'));
  return { index: writeIndex(built, join(directory, 'index')), extra };
}

function writeIndex(built: BuiltIndex, path: string): DerivedFile {
  const bytes = encodeLayerIndex(built);
  const file = NewFile.create(path, 'write layer index');
  file.append(bytes);
  file.finish(0o400);
  return { path, sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
}

function writeExtra(files: readonly ExtraFile[], tarFd: number, path: string): DerivedFile {
  checkHoles(files);
  const out = NewFile.create(path, 'write layer.extra');
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(PIECE_BYTES);
  const zeros = Buffer.alloc(PIECE_BYTES);
  const skip = (bytes: number) => {
    for (let left = bytes; left > 0; left -= zeros.length) hash.update(zeros.subarray(0, Math.min(left, zeros.length)));
    out.skip(bytes);
  };
  for (const file of files) {
    let position = 0;
    let from = file.tarOffset;
    for (const run of file.runs) {
      skip(run.offset - position);
      for (let left = run.length; left > 0; ) {
        const piece = readExactly(tarFd, buffer.subarray(0, Math.min(left, buffer.length)), from);
        hash.update(piece);
        out.append(piece);
        from += piece.length;
        left -= piece.length;
      }
      position = run.offset + run.length;
    }
    skip(alignUp(file.size, BLOCK) - position);
  }
  const { size } = out;
  out.finish(0o400);
  return { path, sha256: hash.digest('hex'), size };
}

function checkHoles(files: readonly ExtraFile[]): void {
  let holes = 0;
  for (const { size, runs } of files) holes += size - runs.reduce((sum, run) => sum + run.length, 0);
  if (holes <= MAX_HOLE_BYTES) return;
  throw new LarderError(
    'LARDER_LAYER_LIMIT',
    `write layer.extra: ${holes} bytes of holes: more than ${MAX_HOLE_BYTES}`,
  );
}

function readExactly(fd: number, buffer: Uint8Array, position: number): Uint8Array {
  for (let done = 0; done < buffer.length; ) {
    const got = readSync(fd, buffer, done, buffer.length - done, position + done);
    if (got === 0)
      throw new LarderError('LARDER_INTERNAL', 'write layer.extra: layer.tar: shorter than its index says');
    done += got;
  }
  return buffer;
}
