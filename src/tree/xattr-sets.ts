/** The xattrs of a layer while it is indexed. Equal sets are stored once: labels are mostly the same on all files. */
import { createHash } from 'node:crypto';
import type { Xattr } from '../tar/entry.js';
import { limit } from './clean-path.js';
import { GrowingBytes, GrowingU32 } from './growing-columns.js';
import { encodeXattrSet, type IndexTables } from './index-tables.js';

/** Distinct sets cost memory beyond the entries' limit. */
const MAX_XATTR_BYTES = 2 ** 27;

export class XattrSets {
  readonly #numbers = new Map<string, number>();
  readonly #start = new GrowingU32();
  readonly #bytes = new GrowingBytes();
  readonly #entries = new GrowingU32();
  readonly #sets = new GrowingU32();

  /** Gives entry `i`, higher than all before it, a set. Rejects with LARDER_LAYER_LIMIT. */
  add(i: number, xattrs: readonly Xattr[]): void {
    const bytes = encodeXattrSet(xattrs);
    const key = keyOf(bytes);
    let set = this.#numbers.get(key);
    if (set === undefined) {
      if (this.#bytes.length + bytes.length > MAX_XATTR_BYTES) {
        throw limit('too many bytes of xattrs in one layer', MAX_XATTR_BYTES);
      }
      set = this.#start.length;
      this.#numbers.set(key, set);
      this.#start.push(this.#bytes.length);
      this.#bytes.append(bytes);
    }
    this.#entries.push(i);
    this.#sets.push(set);
  }

  /** Call once, at the end. */
  tables(): Pick<IndexTables, 'xattrEntry' | 'xattrSet' | 'setStart' | 'setBytes'> {
    this.#start.push(this.#bytes.length);
    return {
      xattrEntry: this.#entries.view(),
      xattrSet: this.#sets.view(),
      setStart: this.#start.view(),
      setBytes: this.#bytes.view(),
    };
  }
}

/** A short text that stands for the bytes in a map. */
function keyOf(bytes: Uint8Array): string {
  return bytes.length <= 128 ? Buffer.from(bytes).toString('latin1') : createHash('sha256').update(bytes).digest('hex');
}
