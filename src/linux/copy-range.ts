/**
 * ▸ Copies bytes between two open files at given places: inside the kernel where it can (copy_file_range(2)), else
 * through memory.
 */
import { readSync, writeSync } from 'node:fs';
import { check, kernel } from './syscalls.js';

/** errno values with which the kernel says "not between these two": ENOSYS, EXDEV, EINVAL, EOPNOTSUPP, EPERM, EBADF. */
const NOT_HERE = new Set([38, 18, 22, 95, 1, 9]);
const CHUNK = 1 << 20;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;

/** How many bytes were copied: fewer than `length` only when the source ends before. */
export function copyRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): number {
  let copied = 0;
  while (copied < length) {
    const step = copyStep(from, fromOffset + copied, to, toOffset + copied, length - copied);
    if (step === 0) break;
    copied += step;
  }
  return copied;
}

/** Like {@link copyRange}, leaving holes of the source out: the target must read as zeros there already. */
export function copyData(from: number, fromOffset: number, to: number, toOffset: number, length: number): number {
  const end = fromOffset + length;
  for (let position = fromOffset; position < end; ) {
    const data = seek(from, position, SEEK_DATA);
    if (data === undefined || data >= end) break;
    const hole = Math.min(seek(from, data, SEEK_HOLE) ?? end, end);
    const copied = copyRange(from, data, to, toOffset + data - fromOffset, hole - data);
    if (copied < hole - data) return data - fromOffset + copied;
    position = hole;
  }
  return length;
}

/** Undefined when there is nothing of that kind until the end of the file. */
function seek(fd: number, offset: number, whence: number): number | undefined {
  const place = kernel().lseek(fd, offset, whence);
  if (place < 0 && kernel().lastErrno() === ENXIO) return undefined;
  return check(place, 'lseek');
}

const offsets = new BigInt64Array(2);
const fromPointer = new Uint8Array(offsets.buffer, 0, 8);
const toPointer = new Uint8Array(offsets.buffer, 8, 8);

function copyStep(from: number, fromOffset: number, to: number, toOffset: number, length: number): number {
  offsets[0] = BigInt(fromOffset);
  offsets[1] = BigInt(toOffset);
  const copied = kernel().copyFileRange(from, fromPointer, to, toPointer, Math.min(length, 1 << 30), 0);
  if (copied >= 0) return copied;
  if (!NOT_HERE.has(kernel().lastErrno())) check(copied, 'copy_file_range');
  return copyThroughMemory(from, fromOffset, to, toOffset, length);
}

let buffer: Uint8Array | undefined;

function copyThroughMemory(from: number, fromOffset: number, to: number, toOffset: number, length: number): number {
  buffer ??= new Uint8Array(CHUNK);
  const got = readSync(from, buffer, 0, Math.min(length, CHUNK), fromOffset);
  for (let written = 0; written < got; ) written += writeSync(to, buffer, written, got - written, toOffset + written);
  return got;
}
