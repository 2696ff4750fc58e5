/**
 * The one place where an archive's names become paths of an image: relative, without `.`, empty components or a
 * trailing slash. Names are bytes; nothing is decoded, folded or normalised.
 *
 * A `..` component is refused, even where it would stay inside (`a/../b`): cleaning it away by text would be wrong
 * where `a` is a symlink, and no image tool writes it.
 */

import { displayName, u8 } from '../bytes.js';
import { LarderError } from '../errors.js';
import type { LayerLimits } from '../tar/entry.js';

const SLASH = 0x2f;
const DOT = 0x2e;
/** Longest name that a directory can hold (EROFS and every Linux file system). */
export const MAX_NAME_BYTES = 255;
/** Most bytes of paths and link targets in one layer; the pool is addressed with 32 bits. */
const MAX_POOL_BYTES = 2 ** 29;

/** A growing pool of cleaned paths, and facts about the path that went in last. */
export class PathPool {
  bytes = new Uint8Array(1 << 16);
  length = 0;
  /** Where the last component of the last path starts; equals `length` when that path is the root. */
  lastComponent = 0;
  /** Whether a component before the last one starts with `.wh..wh.` (metadata of the aufs driver). */
  insideAufs = false;
  readonly #limits: LayerLimits;

  constructor(limits: LayerLimits) {
    this.#limits = limits;
  }

  /** Appends the cleaned form of `raw`. Rejects with LARDER_LAYER_INVALID or LARDER_LAYER_LIMIT; nothing is appended then. */
  appendPath(raw: Uint8Array, what: string): void {
    this.#reserve(raw.length);
    const { bytes, length: base } = this;
    let out = base;
    let depth = 0;
    this.lastComponent = base;
    this.insideAufs = false;
    for (let i = 0; i < raw.length; ) {
      if (u8(raw, i) === SLASH) {
        i++;
        continue;
      }
      const start = out === base ? base : out + 1;
      let end = start;
      for (; i < raw.length && u8(raw, i) !== SLASH; i++) {
        if (u8(raw, i) === 0) throw invalid(`${what} contains a NUL byte`);
        bytes[end++] = u8(raw, i);
      }
      const size = end - start;
      if (u8(bytes, start) === DOT) {
        if (size === 1) continue;
        if (size === 2 && u8(bytes, start + 1) === DOT) throw invalid(`${what} has a ".." component`);
      }
      if (size > MAX_NAME_BYTES) throw invalid(`${what} has a component of ${size} bytes, at most 255 are possible`);
      if (start !== base) {
        bytes[start - 1] = SLASH;
        if (hasAufsPrefix(bytes, this.lastComponent, start - 1)) this.insideAufs = true;
      }
      this.lastComponent = start;
      depth++;
      out = end;
    }
    if (out === base) this.lastComponent = base;
    if (depth > this.#limits.maxDepth) throw limit(`${what} has ${depth} components`, this.#limits.maxDepth);
    if (out - base > this.#limits.maxPathBytes) {
      throw limit(`${what} has ${out - base} bytes`, this.#limits.maxPathBytes);
    }
    this.length = out;
  }

  /** Appends bytes as they are. */
  appendRaw(raw: Uint8Array): void {
    this.#reserve(raw.length);
    this.bytes.set(raw, this.length);
    this.length += raw.length;
  }

  #reserve(more: number): void {
    const needed = this.length + more + 1;
    if (needed <= this.bytes.length) return;
    if (needed > MAX_POOL_BYTES) throw limit('the paths of the layer are too long together', MAX_POOL_BYTES);
    const grown = new Uint8Array(Math.min(MAX_POOL_BYTES, Math.max(needed, this.bytes.length * 2)));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }
}

/** Where the last slash of [start, end) is; start - 1 when there is none. */
export function lastSlash(pool: Uint8Array, start: number, end: number): number {
  let i = end - 1;
  while (i >= start && u8(pool, i) !== SLASH) i--;
  return i;
}

/** `.wh.` as bytes at `start`. */
export function hasWhiteoutPrefix(bytes: Uint8Array, start: number, end: number): boolean {
  return (
    end - start >= 4 &&
    u8(bytes, start) === DOT &&
    u8(bytes, start + 1) === 0x77 &&
    u8(bytes, start + 2) === 0x68 &&
    u8(bytes, start + 3) === DOT
  );
}

/** `.wh..wh.` as bytes at `start`. */
export function hasAufsPrefix(bytes: Uint8Array, start: number, end: number): boolean {
  return hasWhiteoutPrefix(bytes, start, end) && hasWhiteoutPrefix(bytes, start + 4, end);
}

/** An archive's name for people: printable and short. */
export function shownName(raw: Uint8Array): string {
  const text = displayName(raw.subarray(0, 200));
  return JSON.stringify(raw.length > 200 ? `${text}…` : text);
}

/** What is wrong with the entry that is being read, in words behind "it" or "its": the reader adds which it is, and where. */
export function invalid(problem: string): LarderError {
  return new LarderError('LARDER_LAYER_INVALID', problem);
}

export function limit(problem: string, most: number): LarderError {
  return new LarderError('LARDER_LAYER_LIMIT', `${problem}, the limit is ${most}`);
}
