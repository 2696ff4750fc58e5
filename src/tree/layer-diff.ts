/**
 * ▸ What an overlay directory for an image's top layer must contain, so that mounted over the directories of the layers
 * below it shows the merged tree (kernel: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
 *
 * Not a translation of the layer's own entries: those may follow symlinks below, name lower files by hardlink, or imply
 * directories whose attributes come from below. Both merged trees are walked in parallel instead, and what differs is
 * in the directory. A file whose set of names changed is in it with all its names, so that link groups stay what they
 * are. Pure.
 */
import { at } from '../bytes.js';
import { IMPLIED, KIND, type MergedTree } from './types.js';

/** A selection of the upper tree, and the marks to add. */
export interface OverlayDiff {
  /** Per name of the upper tree: 1 when the directory contains it. The root always; with a name all above it. */
  readonly included: Uint8Array;
  /** Per inode of the upper tree: 1 for a directory that hides what is below it. */
  readonly opaque: Uint8Array;
  /** Directory inode of the upper tree -> names to hide there, in bytewise order. */
  readonly whiteouts: ReadonlyMap<number, readonly Uint8Array[]>;
}

/**
 * `lower` is the merged tree of all layers but the last of `upper`, from the same indexes; undefined when `upper` has
 * one layer.
 */
export function overlayDiff(lower: MergedTree | undefined, upper: MergedTree): OverlayDiff {
  if (lower === undefined) {
    const included = new Uint8Array(upper.nameCount).fill(1);
    return { included, opaque: new Uint8Array(upper.inodeCount), whiteouts: new Map() };
  }
  return new Diff(lower, upper).run();
}

class Diff {
  readonly #lower: MergedTree;
  readonly #upper: MergedTree;
  readonly #included: Uint8Array;
  readonly #opaque: Uint8Array;
  readonly #whiteouts = new Map<number, readonly Uint8Array[]>();
  /** Per inode of the upper tree: how many of its names are below too, as names of the same file. */
  readonly #namesBelow: Uint32Array;
  /** Per inode of the upper tree: how many names that file has below. */
  readonly #linksBelow: Uint32Array;
  /** Directories that both trees have at one path, still to be compared: lower and upper inode in turn. */
  readonly #pairs: number[] = [];

  constructor(lower: MergedTree, upper: MergedTree) {
    this.#lower = lower;
    this.#upper = upper;
    this.#included = new Uint8Array(upper.nameCount);
    this.#opaque = new Uint8Array(upper.inodeCount);
    this.#namesBelow = new Uint32Array(upper.inodeCount);
    this.#linksBelow = new Uint32Array(upper.inodeCount);
  }

  run(): OverlayDiff {
    this.#included[0] = 1;
    this.#pairs.push(0, 0);
    for (let above = this.#pairs.pop(); above !== undefined; above = this.#pairs.pop()) {
      this.#compare(this.#pairs.pop() ?? 0, above);
    }
    this.#includeFiles();
    this.#includeAbove();
    return { included: this.#included, opaque: this.#opaque, whiteouts: this.#whiteouts };
  }

  /** The children of both in bytewise order, like the merge of two sorted lists. */
  #compare(below: number, above: number): void {
    const [lower, upper] = [this.#lower, this.#upper];
    let i = at(lower.childStart, below);
    let j = at(upper.childStart, above);
    const [lowerEnd, upperEnd] = [i + at(lower.childCount, below), j + at(upper.childCount, above)];
    const gone: Uint8Array[] = [];
    let shared = 0;
    while (i < lowerEnd || j < upperEnd) {
      const [belowName, name] = [at(lower.children, i), at(upper.children, j)];
      const order = i === lowerEnd ? 1 : j === upperEnd ? -1 : Buffer.compare(lower.name(belowName), upper.name(name));
      if (order < 0) gone.push(lower.name(belowName));
      else if (order > 0) this.#includeDirectories(name);
      else if (this.#comparePair(at(lower.inodeOf, belowName), name)) shared++;
      if (order <= 0) i++;
      if (order >= 0) j++;
    }
    if (gone.length > 0) this.#hide(above, gone, shared);
  }

  /**
   * Hiding everything at once is the same when nothing in this directory is to show through; but not for the root: the
   * kernel merges the roots of all layers, whatever marks they have.
   */
  #hide(directory: number, names: readonly Uint8Array[], shared: number): void {
    if (shared === 0 && directory !== 0) this.#opaque[directory] = 1;
    else this.#whiteouts.set(directory, names);
  }

  /** Whether what is below shows through at this name, or merges with it. */
  #comparePair(below: number, name: number): boolean {
    const above = at(this.#upper.inodeOf, name);
    const same = this.#sameEntry(below, above);
    if (this.#upper.kind(above) !== KIND.directory) {
      if (!same) return false;
      this.#namesBelow[above] = at(this.#namesBelow, above) + 1;
      this.#linksBelow[above] = at(this.#lower.nlink, below);
      return true;
    }
    if (this.#lower.kind(below) !== KIND.directory) {
      // The kernel looks no further below by itself; the mark says so to whoever else reads the directory.
      this.#opaque[above] = 1;
      this.#includeDirectories(name);
      return false;
    }
    if (!same) this.#included[name] = 1;
    this.#pairs.push(below, above);
    return true;
  }

  /** One entry of one layer gives the same attributes and the same bytes. */
  #sameEntry(below: number, above: number): boolean {
    const layer = at(this.#lower.layer, below);
    if (layer !== at(this.#upper.layer, above)) return false;
    return layer === IMPLIED || at(this.#lower.entry, below) === at(this.#upper.entry, above);
  }

  /** All directories at a name that is not below; their files are found by {@link #includeFiles}. */
  #includeDirectories(name: number): void {
    const upper = this.#upper;
    const names = [name];
    for (let next = names.pop(); next !== undefined; next = names.pop()) {
      const inode = at(upper.inodeOf, next);
      if (upper.kind(inode) !== KIND.directory) continue;
      this.#included[next] = 1;
      const start = at(upper.childStart, inode);
      for (let i = 0; i < at(upper.childCount, inode); i++) names.push(at(upper.children, start + i));
    }
  }

  /** A file stays out only when exactly its names, no fewer and no more, are those of the same file below. */
  #includeFiles(): void {
    const upper = this.#upper;
    for (let name = 1; name < upper.nameCount; name++) {
      const inode = at(upper.inodeOf, name);
      if (upper.kind(inode) === KIND.directory) continue;
      const links = at(upper.nlink, inode);
      const unchanged = at(this.#namesBelow, inode) === links && at(this.#linksBelow, inode) === links;
      if (!unchanged) this.#included[name] = 1;
    }
  }

  /** The directories that lead to what is included or marked. */
  #includeAbove(): void {
    const upper = this.#upper;
    const nameOf = new Uint32Array(upper.inodeCount);
    for (let name = 0; name < upper.nameCount; name++) {
      const inode = at(upper.inodeOf, name);
      if (upper.kind(inode) === KIND.directory) nameOf[inode] = name;
    }
    for (const inode of this.#whiteouts.keys()) this.#included[at(nameOf, inode)] = 1;
    for (let inode = 0; inode < upper.inodeCount; inode++) {
      if (at(this.#opaque, inode) === 1) this.#included[at(nameOf, inode)] = 1;
    }
    for (let name = 1; name < upper.nameCount; name++) {
      if (at(this.#included, name) === 1) this.#includeParents(name, nameOf);
    }
  }

  /** Stops at the root, or at a directory whose own walk up has been or will be made. */
  #includeParents(name: number, nameOf: Uint32Array): void {
    for (let up = at(nameOf, at(this.#upper.parentOf, name)); up !== 0; up = at(nameOf, at(this.#upper.parentOf, up))) {
      if (at(this.#included, up) === 1) return;
      this.#included[up] = 1;
    }
  }
}
