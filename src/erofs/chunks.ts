/**
 * Where a regular file's bytes are, as EROFS says it: the file is cut into chunks of one size, a power of two, and each
 * chunk is a hole or lies in one piece on a device. A file in one run needs one chunk; a sparse file needs chunks that
 * every edge between data and hole is a multiple of.
 */
import type { SparseRun } from '../tar/entry.js';
import { BLOCK, CHUNK_INDEX_BYTES, MAX_CHUNK_BITS, MAX_CHUNKS, NULL_ADDRESS } from './constants.js';

export interface FileChunks {
  /** log2(chunk size / block size). */
  readonly bits: number;
  readonly count: number;
  /** Runs of the file, in blocks, with the block of the device at which each starts. */
  readonly runs: readonly ChunkRun[];
}

const MAX_CHUNK_BYTES = BLOCK * 2 ** MAX_CHUNK_BITS;

interface ChunkRun {
  readonly block: number;
  readonly blocks: number;
  readonly address: number;
}

/** log2 of the smallest chunk, in blocks, that holds a file of `size` > 0 bytes in one run, as far as chunks can grow. */
export function contiguousBits(size: number): number {
  if (size > MAX_CHUNK_BYTES) return MAX_CHUNK_BITS;
  return 32 - Math.clz32(Math.ceil(size / BLOCK) - 1);
}

/** How many chunks a file of `size` > 0 bytes in one run takes. */
export function contiguousCount(size: number): number {
  return size > MAX_CHUNK_BYTES ? Math.ceil(size / MAX_CHUNK_BYTES) : 1;
}

/**
 * The chunks of a file whose runs follow each other on the device from byte `offset`, which is a multiple of 512.
 * `runs` are those of the index: every run starts at a multiple of 512, in the file and in the tar.
 * Undefined when they do not, when a run reaches past the file's end, or when it takes more than 65,536 chunks: such a
 * file's content belongs into the layer's extra file.
 */
export function sparseChunks(size: number, offset: number, runs: readonly SparseRun[]): FileChunks | undefined {
  const joined = joinRuns(size, offset, runs);
  if (joined === undefined) return undefined;
  let bits = contiguousBits(size);
  const end = Math.ceil(size / BLOCK);
  for (const { block, blocks } of joined) {
    bits = Math.min(bits, trailingZeros(block));
    // The last chunk of a file may be incomplete.
    if (block + blocks < end) bits = Math.min(bits, trailingZeros(blocks));
  }
  const count = Math.ceil(size / (BLOCK * 2 ** bits));
  return count > MAX_CHUNKS ? undefined : { bits, count, runs: joined };
}

function joinRuns(size: number, offset: number, runs: readonly SparseRun[]): ChunkRun[] | undefined {
  const joined: { block: number; blocks: number; address: number }[] = [];
  let from = offset;
  let end = 0;
  for (const run of runs) {
    if (run.length === 0) continue;
    if (run.offset % BLOCK !== 0 || from % BLOCK !== 0 || run.offset < end || run.offset + run.length > size) {
      return undefined;
    }
    const last = joined.at(-1);
    const blocks = Math.ceil(run.length / BLOCK);
    if (last !== undefined && run.offset === end) last.blocks += blocks;
    else joined.push({ block: run.offset / BLOCK, blocks, address: from / BLOCK });
    from += run.length;
    end = run.offset + run.length;
  }
  return joined;
}

/** The exponent of the largest power of two that divides `n` (a safe integer); the largest exponent there is for 0. */
function trailingZeros(n: number): number {
  let zeros = 0;
  while (zeros < MAX_CHUNK_BITS && n % 2 ** (zeros + 1) === 0) zeros++;
  return zeros;
}

/** Writes the index of every chunk to `view`, one after the other from `start`. */
export function encodeChunks(file: FileChunks, device: number, view: DataView, start: number): void {
  for (let i = 0; i < file.count; i++) view.setUint32(start + i * CHUNK_INDEX_BYTES + 4, NULL_ADDRESS, true);
  const step = 2 ** file.bits;
  for (const { block, blocks, address } of file.runs) {
    const first = start + (block / step) * CHUNK_INDEX_BYTES;
    for (let i = 0; i * step < blocks; i++) {
      view.setUint16(first + i * CHUNK_INDEX_BYTES + 2, device, true);
      view.setUint32(first + i * CHUNK_INDEX_BYTES + 4, address + i * step, true);
    }
  }
}
