/** Sparse maps: which runs of a file have bytes in the archive (GNU tar manual, "Storing Sparse Files"). */
import { at } from '../bytes.js';
import type { SparseRun } from './entry.js';
import { BLOCK, FIELD, numeric, type Refuse } from './header.js';

/** Runs in a GNU header, and in each extension block after it; 24 bytes each. */
const HEADER_RUNS = 4;
const EXTENSION_RUNS = 21;
const EXTENSION_MORE = 504;

/**
 * The map's numbers (offset, length, offset, …) as runs: in order, apart, inside the file, and together exactly the
 * `stored` bytes. Empty runs say nothing and are dropped.
 */
export function sparseRuns(map: readonly number[], size: number, stored: number, refuse: Refuse): SparseRun[] {
  if (map.length % 2 !== 0) throw refuse('its sparse map has an offset without a length');
  const runs: SparseRun[] = [];
  let end = 0;
  let sum = 0;
  for (let i = 0; i < map.length; i += 2) {
    const offset = at(map, i);
    const length = at(map, i + 1);
    if (!(offset >= end && length >= 0 && offset + length <= size)) {
      throw refuse('its sparse map is out of order or goes past the end of the file');
    }
    end = offset + length;
    sum += length;
    if (length > 0) runs.push({ offset, length });
  }
  if (sum !== stored) throw refuse(`its sparse map names ${sum} bytes, but ${stored} are stored`);
  return runs;
}

/** Appends the runs of an old GNU sparse header. Whether extension blocks follow. */
export function readHeaderMap(header: Uint8Array, offset: number, map: number[], refuse: Refuse): boolean {
  readRuns(header, offset + FIELD.gnuSparse, HEADER_RUNS, map, refuse);
  return at(header, offset + FIELD.gnuExtended) !== 0;
}

/** Appends the runs of an extension block. Whether another follows. */
export function readExtensionMap(block: Uint8Array, offset: number, map: number[], refuse: Refuse): boolean {
  readRuns(block, offset, EXTENSION_RUNS, map, refuse);
  return at(block, offset + EXTENSION_MORE) !== 0;
}

function readRuns(block: Uint8Array, start: number, count: number, map: number[], refuse: Refuse): void {
  for (let i = start; i < start + count * 24; i += 24) {
    if (at(block, i) === 0) return;
    const offset = numeric(block, i, 12);
    const length = numeric(block, i + 12, 12);
    if (!(offset >= 0 && length >= 0)) throw refuse('its sparse map has a number that cannot be read');
    map.push(offset, length);
  }
}

/**
 * The map of GNU's format 1.0, which stands before the content: the number of runs, then offset and length of each,
 * in decimal with a newline each, filled up to a whole block. Takes bytes as they come.
 */
export class SparseMapText {
  readonly map: number[] = [];
  readonly #maxBytes: number;
  readonly #refuse: Refuse;
  /** How many numbers follow the first one; unknown until it is read. */
  #expected = -1;
  #value = 0;
  #digits = 0;
  /** Bytes taken so far. */
  bytes = 0;

  constructor(maxBytes: number, refuse: Refuse) {
    this.#maxBytes = maxBytes;
    this.#refuse = refuse;
  }

  /** Whether the map and its filling are complete. */
  get complete(): boolean {
    return this.map.length === this.#expected && this.bytes % BLOCK === 0;
  }

  push(byte: number): void {
    this.bytes += 1;
    if (this.map.length === this.#expected) return;
    if (this.bytes > this.#maxBytes) throw this.#refuse('its sparse map is too long', 'LARDER_LAYER_LIMIT');
    if (byte === 0x0a && this.#digits > 0) this.#number();
    else if (byte >= 0x30 && byte <= 0x39 && this.#digits < 16) {
      this.#value = this.#value * 10 + byte - 0x30;
      this.#digits += 1;
    } else throw this.#refuse('its sparse map has a number that cannot be read');
  }

  #number(): void {
    if (this.#expected < 0) this.#expected = this.#value * 2;
    else this.map.push(this.#value);
    this.#value = 0;
    this.#digits = 0;
  }
}
