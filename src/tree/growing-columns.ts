/** Typed arrays that grow: the builder's columns while an archive's length is not known yet. */
import type { EntryColumns } from './index-tables.js';

/** A growing list of unsigned 32-bit numbers. */
export class GrowingU32 {
  #items = new Uint32Array(16);
  length = 0;

  push(value: number): void {
    if (this.length === this.#items.length) {
      const grown = new Uint32Array(this.length * 2);
      grown.set(this.#items);
      this.#items = grown;
    }
    this.#items[this.length++] = value;
  }

  view(): Uint32Array {
    return this.#items.subarray(0, this.length);
  }
}

/** A growing list of doubles. */
export class GrowingF64 {
  #items = new Float64Array(16);
  length = 0;

  push(value: number): void {
    if (this.length === this.#items.length) {
      const grown = new Float64Array(this.length * 2);
      grown.set(this.#items);
      this.#items = grown;
    }
    this.#items[this.length++] = value;
  }

  view(): Float64Array {
    return this.#items.subarray(0, this.length);
  }
}

/** A growing run of bytes. */
export class GrowingBytes {
  #items = new Uint8Array(256);
  length = 0;

  append(bytes: Uint8Array): void {
    const needed = this.length + bytes.length;
    if (needed > this.#items.length) {
      const grown = new Uint8Array(Math.max(needed, this.#items.length * 2));
      grown.set(this.#items.subarray(0, this.length));
      this.#items = grown;
    }
    this.#items.set(bytes, this.length);
    this.length = needed;
  }

  view(): Uint8Array {
    return this.#items.subarray(0, this.length);
  }
}

export function makeColumns(capacity: number): EntryColumns {
  return {
    kind: new Uint8Array(capacity),
    flags: new Uint8Array(capacity),
    mode: new Uint16Array(capacity),
    uid: new Uint32Array(capacity),
    gid: new Uint32Array(capacity),
    mtime: new Float64Array(capacity),
    mtimeNs: new Uint32Array(capacity),
    size: new Float64Array(capacity),
    offset: new Float64Array(capacity),
    pathStart: new Uint32Array(capacity),
    pathLength: new Uint16Array(capacity),
    linkStart: new Uint32Array(capacity),
    linkLength: new Uint16Array(capacity),
  };
}

/** The same columns with room for `capacity` entries. */
export function growColumns(from: EntryColumns, capacity: number): EntryColumns {
  const to = makeColumns(capacity);
  to.kind.set(from.kind);
  to.flags.set(from.flags);
  to.mode.set(from.mode);
  to.uid.set(from.uid);
  to.gid.set(from.gid);
  to.mtime.set(from.mtime);
  to.mtimeNs.set(from.mtimeNs);
  to.size.set(from.size);
  to.offset.set(from.offset);
  to.pathStart.set(from.pathStart);
  to.pathLength.set(from.pathLength);
  to.linkStart.set(from.linkStart);
  to.linkLength.set(from.linkLength);
  return to;
}

/** Views on the first `count` elements of each column. */
export function viewColumns(of: EntryColumns, count: number): EntryColumns {
  return {
    kind: of.kind.subarray(0, count),
    flags: of.flags.subarray(0, count),
    mode: of.mode.subarray(0, count),
    uid: of.uid.subarray(0, count),
    gid: of.gid.subarray(0, count),
    mtime: of.mtime.subarray(0, count),
    mtimeNs: of.mtimeNs.subarray(0, count),
    size: of.size.subarray(0, count),
    offset: of.offset.subarray(0, count),
    pathStart: of.pathStart.subarray(0, count),
    pathLength: of.pathLength.subarray(0, count),
    linkStart: of.linkStart.subarray(0, count),
    linkLength: of.linkLength.subarray(0, count),
  };
}
