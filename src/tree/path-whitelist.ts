/**
 * An Appc image's `pathWhitelist` over its index. The specification (ace.md, "Filesystem Setup", step 3) removes all
 * paths that are not listed from the rendered tree, and its renderer compares whole paths:
 *
 * - A listed path is that one entry. A listed directory does not bring its content; a slash at the end says nothing.
 * - Directories above a listed path keep their own attributes, listed or not. All other directories go, as the text
 *   says; the renderer leaves those of the image itself behind, empty.
 * - Paths are compared as the archive writes them: no symlink is followed.
 * - A name that is removed takes no other name of its file with it. So a listed hardlink whose target in this image is
 *   not listed becomes the file itself, with its attributes and bytes; further ones become links to that one. (The
 *   renderer fails there.) The target is found by its name as written.
 */
import { u8, u16, u32 } from '../bytes.js';
import { OwnPaths } from './own-paths.js';
import { type Names, RootfsIndex } from './rootfs-index.js';
import { KIND, type LayerIndex } from './types.js';

/**
 * The set that {@link applyWhitelist} takes, from paths of a manifest: absolute, clean, and each character one byte of
 * the path's UTF-8, since an archive's names are bytes.
 */
export function whitelistSet(paths: Iterable<string>): ReadonlySet<string> {
  const set = new Set<string>();
  for (const path of paths) {
    const components = path.split('/').filter((component) => component !== '' && component !== '.');
    set.add(Buffer.from(`/${components.join('/')}`).toString('latin1'));
  }
  return set;
}

/** The view of `index` under `names` that shows only what is listed and what is above it. The root always stays. */
export function applyWhitelist(index: LayerIndex, names: Names, only: ReadonlySet<string>): LayerIndex {
  const whole = new RootfsIndex(index, names);
  const filter = new Filter(whole, only);
  for (let i = 0; i < index.count; i++) filter.take(i);
  return new RootfsIndex(index, filter.names, filter.standsFor);
}

class Filter {
  readonly names: Names;
  /** Made when the first hardlink becomes a file. */
  standsFor: Uint32Array | undefined;
  readonly #whole: LayerIndex;
  readonly #pool: Buffer;
  readonly #only: ReadonlySet<string>;
  readonly #sorted: readonly string[];
  readonly #own: OwnPaths;
  /** Per hardlink the entry at its end, see {@link Filter.#follow}. Made when there is a hardlink. */
  #ends: Uint32Array | undefined;
  /** Of an entry that is hidden: the hardlink that has become it. */
  readonly #heirs = new Map<number, number>();

  constructor(whole: LayerIndex, only: ReadonlySet<string>) {
    const { kind, pool, pathStart, pathLength, linkStart, linkLength } = whole;
    this.names = {
      kind: kind.slice(),
      pathStart,
      pathLength,
      linkStart: linkStart.slice(),
      linkLength: linkLength.slice(),
    };
    this.#whole = whole;
    this.#pool = Buffer.from(pool.buffer, pool.byteOffset, pool.byteLength);
    this.#only = only;
    // Each character is a byte, so the order of texts is that of bytes.
    this.#sorted = [...only].sort();
    this.#own = new OwnPaths(whole);
  }

  /** Decides about entry `i`. All entries, in order. */
  take(i: number): void {
    const { kind: kinds, pathStart, pathLength, linkStart, linkLength } = this.#whole;
    const kind = u8(kinds, i);
    if (kind === KIND.none) return;
    const path = this.#text(u32(pathStart, i), u16(pathLength, i));
    const listed = this.#only.has(path);
    if (!listed && (kind !== KIND.directory || !this.#isAbove(path))) this.names.kind[i] = KIND.none;
    if (kind !== KIND.hardlink) return;
    const end = this.#follow(i);
    const target = this.#text(u32(linkStart, i), u16(linkLength, i));
    if (listed && !this.#only.has(target)) this.#relink(i, end);
  }

  /**
   * The entry at the end of a chain of hardlinks: the file, or the last link whose target this layer has not. As long
   * as the archive is in order a target stands before its link; where it does not, the chain ends.
   */
  #follow(i: number): number {
    const { kind, pool, linkStart, linkLength, count } = this.#whole;
    this.#ends ??= new Uint32Array(count);
    const start = u32(linkStart, i);
    const target = this.#own.find(pool.subarray(start, start + u16(linkLength, i)));
    const found = target !== undefined && target < i;
    const end = !found ? i : u8(kind, target) === KIND.hardlink ? u32(this.#ends, target) : target;
    this.#ends[i] = end;
    return end;
  }

  /** Listed hardlink `i`, whose target is not listed, gets another target, or becomes what stands at `end`. */
  #relink(i: number, end: number): void {
    const { kind, pathStart, pathLength, linkStart, linkLength } = this.#whole;
    const endKind = u8(kind, end);
    // Left to the merge, which refuses it.
    if (endKind === KIND.directory) return;
    if (endKind === KIND.hardlink) {
      this.#link(i, u32(linkStart, end), u16(linkLength, end));
      return;
    }
    const name = u8(this.names.kind, end) === KIND.none ? this.#heirs.get(end) : end;
    if (name !== undefined) this.#link(i, u32(pathStart, name), u16(pathLength, name));
    else this.#inherit(i, end);
  }

  #inherit(i: number, from: number): void {
    this.standsFor ??= Uint32Array.from({ length: this.#whole.count }, (_, k) => k);
    this.standsFor[i] = from;
    this.#heirs.set(from, i);
    this.names.kind[i] = u8(this.#whole.kind, from);
    this.#link(i, u32(this.#whole.linkStart, from), u16(this.#whole.linkLength, from));
  }

  #link(i: number, start: number, length: number): void {
    this.names.linkStart[i] = start;
    this.names.linkLength[i] = length;
  }

  /** Whether something listed is below directory `path`. */
  #isAbove(path: string): boolean {
    if (path === '/') return true;
    const prefix = `${path}/`;
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#sorted[middle] ?? '') < prefix) low = middle + 1;
      else high = middle;
    }
    return this.#sorted[low]?.startsWith(prefix) ?? false;
  }

  /** As {@link whitelistSet} writes paths. */
  #text(start: number, length: number): string {
    return `/${this.#pool.toString('latin1', start, start + length)}`;
  }
}
