import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { LarderError, systemError } from '../errors.js';
import { hexOf } from '../spec/digest.js';
import { TarReader } from '../tar/reader.js';
import { type BuiltIndex, IndexBuilder } from '../tree/index-builder.js';
import type { TaskContext } from '../workers/protocol.js';
import { type DerivedFiles, writeDerivedFiles } from './derived-files.js';
import { readInPieces } from './file-pieces.js';
import type { IndexJob, IndexResult } from './layer-job.js';
import { removeStaged } from './staging.js';

/**
 * The task `index`: makes a layer's derived files again from its tar. Rejects with LARDER_LAYER_CORRUPT when the tar is
 * not what its name says; then nothing was written.
 */
export async function indexTask(data: unknown, { signal }: TaskContext): Promise<IndexResult> {
  const job = data as IndexJob;
  const builder = new IndexBuilder(job.limits);
  const reader = new TarReader(builder, job.limits, `layer ${job.diffId}`);
  const hash = createHash('sha256');
  let refusal: unknown;
  for await (const piece of readInPieces(job.tarPath, { signal })) {
    hash.update(piece);
    refusal ??= refusalOf(() => reader.write(piece));
  }
  refusal ??= refusalOf(() => reader.end());
  // The tar was indexed before it was adopted: when it no longer hashes to its name, that is the news.
  if (hash.digest('hex') !== hexOf(job.diffId)) throw corrupt(job, refusal);
  if (refusal !== undefined) throw refusal;
  const built = builder.finish(job.tarSize);
  const derived = await withTar(job.tarPath, (fd) => writeOrClean(built, fd, job.outDir, signal));
  return { diffId: job.diffId, tarSize: job.tarSize, entries: built.index.count, ...derived };
}

function refusalOf(work: () => void): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return error;
  }
}

async function withTar<T>(path: string, work: (fd: number) => Promise<T>): Promise<T> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw systemError(`read ${path}`, error);
  }
  try {
    return await work(fd);
  } finally {
    closeSync(fd);
  }
}

async function writeOrClean(
  built: BuiltIndex,
  tarFd: number,
  outDir: string,
  signal: AbortSignal,
): Promise<DerivedFiles> {
  try {
    return await writeDerivedFiles(built, tarFd, outDir, signal);
  } catch (error) {
    removeStaged(outDir);
    throw error;
  }
}

function corrupt({ diffId, tarPath }: IndexJob, cause: unknown): LarderError {
  return new LarderError('LARDER_LAYER_CORRUPT', `layer: ${diffId}: ${tarPath} does not hash to its name`, {
    details: { diffId },
    hint: 'run `larder repair`',
    ...(cause === undefined ? {} : { cause }),
  });
}
