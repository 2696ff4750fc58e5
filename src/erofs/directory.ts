/**
 * The entries of one directory in the order and the blocks in which EROFS keeps them: bytewise by name, `.` and `..`
 * among the others, each 512-byte block complete in itself. One instance serves all directories, one after the other.
 */
import { at, u32 } from '../bytes.js';
import type { MergedTree } from '../tree/types.js';
import { BLOCK, DIRENT_BYTES, TYPE_OF_KIND } from './constants.js';

const DOT = 0x2e;
/** In the list of entries, instead of a name's number. */
const SELF = 0xffffffff;
const PARENT = 0xfffffffe;

export interface DirectoryFacts {
  readonly tree: MergedTree;
  /** Per name: its bytes. */
  readonly nameBytes: Uint8Array;
  /** Per inode: of a directory, the inode of the directory above. */
  readonly parent: Uint32Array;
}

export class Directory {
  readonly #facts: DirectoryFacts;
  /** The loaded directory's names, with SELF and PARENT where they sort. */
  #names = new Uint32Array(64);
  #count = 0;
  #inode = 0;

  constructor(facts: DirectoryFacts) {
    this.#facts = facts;
  }

  /** Makes directory `inode` the one that the other methods speak of. */
  load(inode: number): void {
    const { tree } = this.#facts;
    const start = u32(tree.childStart, inode);
    const count = u32(tree.childCount, inode);
    if (this.#names.length < count + 2) this.#names = new Uint32Array(2 * count + 2);
    const names = this.#names;
    let filled = 0;
    let special = 0;
    for (let i = 0; i < count; i++) {
      const name = u32(tree.children, start + i);
      if (special < 2) {
        const bytes = tree.name(name);
        while (special < 2 && sortsAfterDots(bytes, special + 1)) names[filled++] = special++ === 0 ? SELF : PARENT;
      }
      names[filled++] = name;
    }
    while (special < 2) names[filled++] = special++ === 0 ? SELF : PARENT;
    this.#count = filled;
    this.#inode = inode;
  }

  /** Bytes of the directory's content: full blocks but for the last. */
  measure(): number {
    let full = 0;
    let first = 0;
    for (;;) {
      const end = this.blockEnd(first);
      if (end === this.#count) return full + this.#bytesOf(first, end);
      full += BLOCK;
      first = end;
    }
  }

  /** The entry after the last one of the block that starts with entry `first`. */
  blockEnd(first: number): number {
    let used = 0;
    for (let i = first; i < this.#count; i++) {
      used += DIRENT_BYTES + this.#lengthOf(i);
      if (used > BLOCK) return i;
    }
    return this.#count;
  }

  get count(): number {
    return this.#count;
  }

  /** Writes entries [first, end), one block's or a tail's, to `piece` at `start`. `nids` are those of all inodes. */
  encode(first: number, end: number, nids: Uint32Array, piece: Uint8Array, view: DataView, start: number): void {
    const { tree } = this.#facts;
    let nameOffset = (end - first) * DIRENT_BYTES;
    for (let i = first; i < end; i++) {
      const entry = start + (i - first) * DIRENT_BYTES;
      const inode = this.#inodeOf(i);
      view.setUint32(entry, u32(nids, inode), true);
      view.setUint16(entry + 8, nameOffset, true);
      piece[entry + 10] = TYPE_OF_KIND[tree.kind(inode)]?.dirent ?? 0;
      nameOffset += this.#encodeName(i, piece, start + nameOffset);
    }
  }

  #encodeName(i: number, piece: Uint8Array, start: number): number {
    const name = u32(this.#names, i);
    if (name >= PARENT) {
      piece.fill(DOT, start, start + this.#lengthOf(i));
      return this.#lengthOf(i);
    }
    const bytes = this.#facts.tree.name(name);
    // Most names are too short for set() to pay.
    if (bytes.length > 32) piece.set(bytes, start);
    else for (let k = 0; k < bytes.length; k++) piece[start + k] = at(bytes, k);
    return bytes.length;
  }

  #lengthOf(i: number): number {
    const name = u32(this.#names, i);
    if (name >= PARENT) return name === SELF ? 1 : 2;
    return at(this.#facts.nameBytes, name);
  }

  #inodeOf(i: number): number {
    const name = u32(this.#names, i);
    if (name === SELF) return this.#inode;
    if (name === PARENT) return u32(this.#facts.parent, this.#inode);
    return u32(this.#facts.tree.inodeOf, name);
  }

  #bytesOf(first: number, end: number): number {
    let bytes = 0;
    for (let i = first; i < end; i++) bytes += DIRENT_BYTES + this.#lengthOf(i);
    return bytes;
  }
}

/** Whether `name` sorts after a name of `dots` dots. */
function sortsAfterDots(name: Uint8Array, dots: number): boolean {
  for (let i = 0; i < dots; i++) {
    const byte = name[i];
    if (byte === undefined) return false;
    if (byte !== DOT) return byte > DOT;
  }
  return true;
}
