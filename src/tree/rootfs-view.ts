/**
 * ▸ A layer's index seen as an Appc image (ACI): its `rootfs/` is the root, its `manifest` is no part of the tree, and a
 * path whitelist may hide more. Pure; nothing of it is stored. What reads a layer for a merge calls it, and the store
 * when it fetches an ACI, so that one that cannot be shown is never kept.
 *
 * Entry numbers stay, since the tree's inodes name entries by number; names and kinds are columns of their own over the
 * same pool. Entries that are not part of the tree have the kind `none`.
 *
 * Appc has no whiteouts, only replacement: an entry that an OCI layer would take for one is refused.
 */
import { u8, u16, u32 } from '../bytes.js';
import { LarderError } from '../errors.js';
import { shownName } from './clean-path.js';
import { applyWhitelist } from './path-whitelist.js';
import { type Names, RootfsIndex } from './rootfs-index.js';
import { KIND, type LayerIndex } from './types.js';

const SLASH = 0x2f;
const ROOTFS = Buffer.from('rootfs');
const MANIFEST = Buffer.from('manifest');

export interface AciFiles {
  /** The entry of the regular file `manifest`. */
  readonly manifestEntry: number;
}

/**
 * The index of an ACI's tar as its root filesystem. With `only` (see `whitelistSet`), entries that it does not list are
 * not part of the tree, as `applyWhitelist` tells.
 *
 * Rejects with LARDER_LAYER_INVALID when a hardlink leaves `rootfs/` or when `rootfs` is no directory, and with
 * LARDER_ENTRY_UNSUPPORTED when there is a whiteout. What else lies beside `rootfs/` is {@link aciFilesOf}'s matter.
 */
export function rootfsView(index: LayerIndex, only?: ReadonlySet<string>): LayerIndex {
  const names = belowRootfs(index);
  return only === undefined ? new RootfsIndex(index, names) : applyWhitelist(index, names, only);
}

/**
 * Checks an ACI's layout (Appc specification, aci.md, "Image Archives"): one regular file `manifest`, a directory
 * `rootfs` (which entries below it may imply), and nothing else at the top; no whiteouts, no hardlink out of `rootfs/`.
 * Rejects with LARDER_LAYER_INVALID or LARDER_ENTRY_UNSUPPORTED.
 */
export function aciFilesOf(index: LayerIndex): AciFiles {
  // For what it refuses.
  belowRootfs(index);
  const { kind, pool, pathStart, pathLength, count } = index;
  let manifestEntry = -1;
  let rootfs = false;
  for (let i = 0; i < count; i++) {
    const start = u32(pathStart, i);
    const end = start + u16(pathLength, i);
    if (start === end) continue;
    if (isAt(pool, start, end, ROOTFS) || isBelow(pool, start, end, ROOTFS)) {
      rootfs = true;
      continue;
    }
    if (!isAt(pool, start, end, MANIFEST)) throw invalid(index, i, 'an Appc image has only "manifest" and "rootfs"');
    if (u8(kind, i) !== KIND.file) throw invalid(index, i, 'the manifest must be a regular file');
    if (manifestEntry >= 0) throw invalid(index, i, 'there must be one manifest');
    manifestEntry = i;
  }
  if (manifestEntry < 0) throw lacking('it has no file "manifest"');
  if (!rootfs) throw lacking('it has no directory "rootfs"');
  return { manifestEntry };
}

/** Names without `rootfs/`, and the kind `none` for everything that is not there. */
function belowRootfs(index: LayerIndex): Names {
  const { kind, pool, count } = index;
  const names: Names = {
    kind: new Uint8Array(count),
    pathStart: index.pathStart.slice(),
    pathLength: index.pathLength.slice(),
    linkStart: index.linkStart.slice(),
    linkLength: index.linkLength.slice(),
  };
  for (let i = 0; i < count; i++) {
    const entryKind = u8(kind, i);
    if (entryKind >= KIND.whiteout) throw whiteout(index, i);
    const start = u32(index.pathStart, i);
    const end = start + u16(index.pathLength, i);
    const isRoot = isAt(pool, start, end, ROOTFS);
    if (isRoot && entryKind !== KIND.directory) throw invalid(index, i, 'the rootfs must be a directory');
    if (!isRoot && !isBelow(pool, start, end, ROOTFS)) continue;
    names.kind[i] = entryKind;
    shorten(names.pathStart, names.pathLength, i);
    if (entryKind !== KIND.hardlink) continue;
    const link = u32(index.linkStart, i);
    const linkEnd = link + u16(index.linkLength, i);
    if (!isAt(pool, link, linkEnd, ROOTFS) && !isBelow(pool, link, linkEnd, ROOTFS)) {
      throw invalid(index, i, `its target ${shownName(pool.subarray(link, linkEnd))} is outside the rootfs`);
    }
    shorten(names.linkStart, names.linkLength, i);
  }
  return names;
}

/** Takes `rootfs` or `rootfs/` away. */
function shorten(starts: Uint32Array, lengths: Uint16Array, i: number): void {
  const gone = Math.min(ROOTFS.length + 1, u16(lengths, i));
  starts[i] = u32(starts, i) + gone;
  lengths[i] = u16(lengths, i) - gone;
}

function isAt(pool: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  return end - start === name.length && startsWith(pool, start, name);
}

function isBelow(pool: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  return end - start > name.length && u8(pool, start + name.length) === SLASH && startsWith(pool, start, name);
}

function startsWith(pool: Uint8Array, start: number, name: Uint8Array): boolean {
  for (let k = 0; k < name.length; k++) if (u8(pool, start + k) !== u8(name, k)) return false;
  return true;
}

function whiteout(index: LayerIndex, i: number): LarderError {
  const { kind, pool, pathStart, pathLength } = index;
  const of = shownName(pool.subarray(u32(pathStart, i), u32(pathStart, i) + u16(pathLength, i)));
  const what = u8(kind, i) === KIND.opaque ? `the mark ".wh..wh..opq" in ${of}` : `the whiteout of ${of}`;
  return new LarderError('LARDER_ENTRY_UNSUPPORTED', `reading an Appc image: ${what}: Appc has no whiteouts`, {
    hint: 'an image that hides files of others can be kept as an OCI image, not as an Appc image',
  });
}

function invalid({ pool, pathStart, pathLength }: LayerIndex, i: number, problem: string): LarderError {
  const path = pool.subarray(u32(pathStart, i), u32(pathStart, i) + u16(pathLength, i));
  return new LarderError('LARDER_LAYER_INVALID', `reading an Appc image: entry ${shownName(path)}: ${problem}`);
}

function lacking(problem: string): LarderError {
  return new LarderError('LARDER_LAYER_INVALID', `reading an Appc image: ${problem}`);
}
