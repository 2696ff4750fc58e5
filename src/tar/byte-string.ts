/**
 * A name that changes with every entry without an allocation for each: one buffer, and one view per length, made when
 * that length first occurs. A view is therefore only valid until the next change.
 */
import { u8 } from '../bytes.js';

const KEPT = 512;
const EMPTY = new Uint8Array(0);

export class ByteString {
  readonly #bytes = new Uint8Array(KEPT);
  readonly #views: (Uint8Array | undefined)[] = new Array<Uint8Array | undefined>(KEPT + 1).fill(undefined);
  view: Uint8Array = EMPTY;

  clear(): void {
    this.view = EMPTY;
  }

  /** Becomes `source[from, to)`. */
  set(source: Uint8Array, from: number, to: number): void {
    if (to - from > KEPT) {
      this.view = source.slice(from, to);
      return;
    }
    this.#cut(this.#copy(0, source, from, to));
  }

  /** Becomes the NUL-terminated field of at most `max` bytes at `from`. */
  setField(source: Uint8Array, from: number, max: number): void {
    this.#cut(this.#copyField(0, source, from, max));
  }

  /** Becomes `prefix/name` of two NUL-terminated fields that are at most `KEPT` bytes together. */
  setJoined(source: Uint8Array, prefix: number, prefixMax: number, name: number, nameMax: number): void {
    const length = this.#copyField(0, source, prefix, prefixMax);
    this.#bytes[length] = 0x2f;
    this.#cut(this.#copyField(length + 1, source, name, nameMax));
  }

  #copy(length: number, source: Uint8Array, from: number, to: number): number {
    const bytes = this.#bytes;
    let n = length;
    for (let i = from; i < to; i++) bytes[n++] = u8(source, i);
    return n;
  }

  #copyField(length: number, source: Uint8Array, from: number, max: number): number {
    const bytes = this.#bytes;
    const end = from + max;
    let n = length;
    for (let i = from; i < end; i++) {
      const byte = u8(source, i);
      if (byte === 0) break;
      bytes[n++] = byte;
    }
    return n;
  }

  #cut(length: number): void {
    let view = this.#views[length];
    if (view === undefined) {
      view = this.#bytes.subarray(0, length);
      this.#views[length] = view;
    }
    this.view = view;
  }
}
