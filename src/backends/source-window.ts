/**
 * Copies small files out of large ones. Files that follow each other in a tar are read together, some hundred kilobytes
 * at a time, and written one by one: a read for each costs more than its bytes, and copy_file_range(2), without shared
 * blocks, twice as much as both. What is read ahead grows while it is used, so that files in no order cost one small
 * read each.
 */
import { readSync, writeSync } from 'node:fs';
import { copyRange } from '../linux/copy-range.js';

const LARGEST = 1 << 18;
const SMALLEST = 1 << 14;
/** Past it the kernel copies alone, or shares blocks where the file system can. */
const LARGE_FILE = 1 << 17;
/** A file's header, and what else stands between two files' bytes. */
const GAP = 1 << 14;

export class SourceWindow {
  readonly #buffer = new Uint8Array(LARGEST);
  #fd = -1;
  #start = 0;
  #end = 0;
  #ahead = SMALLEST;

  /** Writes `length` bytes of `from` at `offset` to the start of `to`. Fewer only when the source ends before. */
  copy(from: number, offset: number, to: number, length: number): number {
    if (length > LARGE_FILE) return copyRange(from, offset, to, 0, length);
    if (from !== this.#fd || offset < this.#start || offset + length > this.#end) this.#read(from, offset, length);
    const there = Math.min(length, this.#end - offset);
    const start = offset - this.#start;
    for (let done = 0; done < there; ) done += writeSync(to, this.#buffer, start + done, there - done, done);
    return there;
  }

  #read(from: number, offset: number, length: number): void {
    const follows = from === this.#fd && offset >= this.#start && offset <= this.#end + GAP;
    this.#ahead = follows ? Math.min(this.#ahead * 2, LARGEST) : SMALLEST;
    const wanted = Math.max(length, this.#ahead);
    this.#fd = from;
    this.#start = offset;
    this.#end = offset;
    while (this.#end < offset + length) {
      const filled = this.#end - offset;
      const got = readSync(from, this.#buffer, filled, wanted - filled, this.#end);
      if (got === 0) return;
      this.#end += got;
    }
  }
}
