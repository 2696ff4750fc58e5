/** What is derived from one tar: its index, and the bytes that the kernel cannot be given from the tar itself. */
import { createHash } from 'node:crypto';
import { readSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { alignUp } from '../bytes.js';
import { LarderError, throwIfAborted } from '../errors.js';
import { makeDirectories } from '../linux/make-directories.js';
import type { BuiltIndex, ExtraFile } from '../tree/index-builder.js';
import { encodeLayerIndex } from '../tree/layer-index.js';
import type { DerivedFile } from './layer-job.js';
import { NewFile } from './new-file.js';

const DOING = 'write layer.extra';
const MODE = 0o400;
const BLOCK = 512;
const PIECE_BYTES = 1 << 20;
/** Holes cost no disk, but they are hashed; a tar's few bytes must not buy hours of that. */
const MAX_HOLE_BYTES = 8 * 2 ** 30;

export interface DerivedFiles {
  readonly index: DerivedFile;
  readonly extra: DerivedFile | undefined;
}

/** Writes `<outDir>/derived/index` and, where needed, `layer.extra`, both durable. `tarFd` is read, never moved. */
export async function writeDerivedFiles(
  built: BuiltIndex,
  tarFd: number,
  outDir: string,
  signal: AbortSignal,
): Promise<DerivedFiles> {
  const directory = join(outDir, 'derived');
  makeDirectories(directory);
  const path = join(directory, 'layer.extra');
  const extra = built.extra.length === 0 ? undefined : await writeExtra(built.extra, tarFd, path, signal);
  return { index: await writeIndex(built, join(directory, 'index')), extra };
}

async function writeIndex(built: BuiltIndex, path: string): Promise<DerivedFile> {
  const bytes = encodeLayerIndex(built);
  await NewFile.write(path, 'write layer index', MODE, (file) => file.append(bytes));
  return { path, sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
}

async function writeExtra(
  files: readonly ExtraFile[],
  tarFd: number,
  path: string,
  signal: AbortSignal,
): Promise<DerivedFile> {
  checkHoles(files);
  let extra: ExtraWriter | undefined;
  await NewFile.write(path, DOING, MODE, async (out) => {
    extra = new ExtraWriter(out, tarFd);
    for (const file of files) {
      for (const _ of extra.copy(file)) {
        await breathe();
        throwIfAborted(signal, DOING);
      }
    }
  });
  if (extra === undefined) throw new LarderError('LARDER_INTERNAL', `${DOING}: ${path}: not written`);
  return { path, sha256: extra.sha256(), size: extra.size };
}

class ExtraWriter {
  readonly #out: NewFile;
  readonly #tarFd: number;
  readonly #hash = createHash('sha256');
  readonly #buffer = Buffer.alloc(PIECE_BYTES);
  readonly #zeros = Buffer.alloc(PIECE_BYTES);

  constructor(out: NewFile, tarFd: number) {
    this.#out = out;
    this.#tarFd = tarFd;
  }

  get size(): number {
    return this.#out.size;
  }

  sha256(): string {
    return this.#hash.digest('hex');
  }

  /** The file with its holes, padded to whole blocks. Pauses after each piece. */
  *copy(file: ExtraFile): Generator<void, void, void> {
    let position = 0;
    let from = file.tarOffset;
    for (const { offset, length } of file.runs) {
      yield* this.#skip(offset - position);
      yield* this.#copyRun(from, length);
      from += length;
      position = offset + length;
    }
    yield* this.#skip(alignUp(file.size, BLOCK) - position);
  }

  *#skip(bytes: number): Generator<void, void, void> {
    this.#out.skip(bytes);
    for (let left = bytes; left > 0; left -= PIECE_BYTES) {
      this.#hash.update(this.#zeros.subarray(0, Math.min(left, PIECE_BYTES)));
      yield;
    }
  }

  *#copyRun(from: number, length: number): Generator<void, void, void> {
    for (let done = 0; done < length; ) {
      const piece = readExactly(
        this.#tarFd,
        this.#buffer.subarray(0, Math.min(length - done, PIECE_BYTES)),
        from + done,
      );
      this.#hash.update(piece);
      this.#out.append(piece);
      done += piece.length;
      yield;
    }
  }
}

function checkHoles(files: readonly ExtraFile[]): void {
  let holes = 0;
  for (const { size, runs } of files) holes += size - runs.reduce((sum, run) => sum + run.length, 0);
  if (holes <= MAX_HOLE_BYTES) return;
  throw new LarderError('LARDER_LAYER_LIMIT', `${DOING}: ${holes} bytes of holes: more than ${MAX_HOLE_BYTES}`);
}

function readExactly(fd: number, buffer: Uint8Array, position: number): Uint8Array {
  for (let done = 0; done < buffer.length; ) {
    const got = readSync(fd, buffer, done, buffer.length - done, position + done);
    if (got === 0) throw new LarderError('LARDER_INTERNAL', `${DOING}: layer.tar: shorter than its index says`);
    done += got;
  }
  return buffer;
}
