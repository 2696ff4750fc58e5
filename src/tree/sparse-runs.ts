/** Whether the kernel can map a sparse file's runs straight from the tar, and in what pieces. */
import { alignUp } from '../bytes.js';
import type { SparseRun } from '../tar/entry.js';

const BLOCK = 512;
/** More chunks than this make the metadata larger than a copy of the file is worth. */
const MAX_CHUNKS = 65_536;
/** EROFS keeps log2(chunk size / block size) in five bits. */
const MAX_CHUNK_BITS = 40;

/** Runs that touch joined into one, empty ones left out. */
export function joinRuns(runs: readonly SparseRun[]): SparseRun[] {
  const joined: { offset: number; length: number }[] = [];
  for (const { offset, length } of runs) {
    const last = joined.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else if (length > 0) joined.push({ offset, length });
  }
  return joined;
}

/**
 * log2 of the largest chunk size in which a file of `size` bytes with these joined runs can be mapped: every chunk is
 * a hole or lies in one run, contiguous in the tar. `undefined` when it cannot: something is not a multiple of 512 or
 * too many chunks would be needed. The caller has made sure that the last run's rest of a block is zero.
 */
export function chunkBitsOf(size: number, runs: readonly SparseRun[]): number | undefined {
  const fileEnd = alignUp(size, BLOCK);
  let bits = 9;
  while (bits < MAX_CHUNK_BITS && 2 ** bits < size) bits++;
  for (const [k, { offset, length }] of runs.entries()) {
    const isLast = k === runs.length - 1;
    const end = isLast ? alignUp(offset + length, BLOCK) : offset + length;
    bits = Math.min(bits, alignmentBits(offset));
    if (end !== fileEnd) bits = Math.min(bits, alignmentBits(end));
  }
  return bits < 9 || size / 2 ** bits > MAX_CHUNKS ? undefined : bits;
}

/** log2 of the largest power of two that divides `n`; large for 0. */
function alignmentBits(n: number): number {
  if (n === 0) return MAX_CHUNK_BITS;
  let bits = 0;
  let rest = n;
  while (rest % 2 === 0 && bits < MAX_CHUNK_BITS) {
    rest /= 2;
    bits++;
  }
  return bits;
}
