/**
 * Writes a merged tree, or what an overlay directory must contain of it, as real files. Synchronous work in steps, for
 * a worker thread: {@link materialise} is a generator that pauses often, so that its driver can give up between.
 *
 * Safe against any image: the target is empty and nobody else may enter it meanwhile; directories are held open, and
 * everything is made by calls that take one name below such a descriptor and follow no symbolic link at it. No path of
 * the image is ever resolved. Where this is done as root, the thread sees nothing but the target (`linux/confine.ts`). Files are created exclusively. Owner before mode (chown(2) clears setuid), both before
 * xattrs (it clears capabilities too), times last, those of a directory after all that is in it.
 */

import { randomUUID } from 'node:crypto';
import { closeSync, ftruncateSync } from 'node:fs';
import { at, displayName } from '../bytes.js';
import { errnoOf, LarderError, systemError } from '../errors.js';
import * as kernel from '../linux/at-calls.js';
import { copyData, copyRange } from '../linux/copy-range.js';
import type { SparseRun } from '../tar/entry.js';
import type { OverlayDiff } from '../tree/layer-diff.js';
import { KIND, type LayerIndex, type MergedTree } from '../tree/types.js';
import { type AttributeOptions, type Attributes, AttributeWriter } from './attributes.js';
import { corrupt } from './checked-file.js';
import { SourceWindow } from './source-window.js';

/** Open descriptors of one layer's data, in the order of the tree's layers. */
export interface LayerData {
  readonly tar: number;
  readonly extra: number | undefined;
}

/** `privileged` false keeps what an ordinary user can and counts the rest. */
export interface MaterialiseOptions extends AttributeOptions {
  /** Only this part of the tree, with its whiteouts and opaque marks. */
  readonly diff?: OverlayDiff;
}

export interface Materialised {
  /** Names made. */
  readonly names: number;
  /** Apparent bytes of the files. */
  readonly bytes: number;
  /** What could not be kept: one sentence each. */
  readonly warnings: readonly string[];
}

/** Bytes and names of work between two pauses. */
const PAUSE_BYTES = 8 << 20;
const PAUSE_NAMES = 256;

/** `directory`: an open, empty directory that only we can enter. It gets the attributes of the tree's root. */
export function materialise(
  tree: MergedTree,
  data: readonly LayerData[],
  directory: number,
  options: MaterialiseOptions,
): Generator<void, Materialised, void> {
  return new Materialiser(tree, data, options).run(directory);
}

class Materialiser {
  readonly #tree: MergedTree;
  readonly #data: readonly LayerData[];
  readonly #diff: OverlayDiff | undefined;
  readonly #attributes: AttributeWriter;
  /** Where files with several names wait under their inode's number until all their names are made. */
  #links: number | undefined;
  readonly #linked = new Set<number>();
  readonly #window = new SourceWindow();
  /** Names from the root to what is being made; for messages. */
  readonly #trail: Uint8Array[] = [];
  #names = 0;
  #bytes = 0;
  #workSincePause = 0;

  constructor(tree: MergedTree, data: readonly LayerData[], options: MaterialiseOptions) {
    this.#tree = tree;
    this.#data = data;
    this.#diff = options.diff;
    this.#attributes = new AttributeWriter(tree, options, () => this.#where());
  }

  *run(directory: number): Generator<void, Materialised, void> {
    try {
      this.#attributes.probe(directory);
      const links = this.#makeLinksDirectory(directory);
      yield* this.#fill(directory, 0);
      if (links !== undefined) this.#removeLinksDirectory(directory, links);
      this.#finishDirectory(directory, 0);
    } catch (error) {
      const doing = `write a root filesystem: ${this.#where()}`;
      throw error instanceof ShortData ? corrupt(doing, error.message) : systemError(doing, error);
    } finally {
      if (this.#links !== undefined) closeSync(this.#links);
    }
    return { names: this.#names, bytes: this.#bytes, warnings: this.#attributes.warnings() };
  }

  *#fill(directory: number, inode: number): Generator<void, void, void> {
    const { children, childStart, childCount } = this.#tree;
    const start = at(childStart, inode);
    for (let i = start; i < start + at(childCount, inode); i++) {
      const name = at(children, i);
      if (this.#diff !== undefined && at(this.#diff.included, name) === 0) continue;
      const child = at(this.#tree.inodeOf, name);
      const bytes = this.#tree.name(name);
      this.#names++;
      this.#trail.push(bytes);
      if (this.#tree.kind(child) === KIND.directory) yield* this.#makeDirectory(directory, bytes, child);
      else this.#make(directory, bytes, child);
      this.#trail.pop();
      this.#workSincePause += PAUSE_BYTES / PAUSE_NAMES;
      if (this.#workSincePause < PAUSE_BYTES) continue;
      this.#workSincePause = 0;
      yield;
    }
    for (const name of this.#diff?.whiteouts.get(inode) ?? []) kernel.mknodAt(directory, name, kernel.S_IFCHR);
  }

  #make(directory: number, name: Uint8Array, inode: number): void {
    if (at(this.#tree.nlink, inode) > 1 && this.#links !== undefined) {
      this.#makeLink(this.#links, directory, name, inode);
    } else this.#makeOther(directory, name, inode);
  }

  *#makeDirectory(parent: number, name: Uint8Array, inode: number): Generator<void, void, void> {
    kernel.mkdirAt(parent, name);
    const directory = kernel.openDirectoryAt(parent, name);
    try {
      yield* this.#fill(directory, inode);
      this.#finishDirectory(directory, inode);
    } finally {
      closeSync(directory);
    }
  }

  #finishDirectory(directory: number, inode: number): void {
    const opaque = this.#diff !== undefined && at(this.#diff.opaque, inode) === 1;
    this.#attributes.setOpen(directory, this.#attributes.of(inode), opaque);
  }

  /** The first name makes the file apart; every name is a link to it. A device that could not be made has none. */
  #makeLink(links: number, directory: number, name: Uint8Array, inode: number): void {
    const apart = Buffer.from(String(inode));
    if (!this.#linked.has(inode)) {
      this.#linked.add(inode);
      this.#makeOther(links, apart, inode);
    }
    if (this.#attributes.isLeftOut(inode)) return;
    try {
      kernel.linkAt(links, apart, directory, name);
    } catch (error) {
      if (errnoOf(error) !== 'EMLINK') throw error;
      throw new LarderError(
        'LARDER_ENTRY_UNSUPPORTED',
        `write a root filesystem: ${this.#where()}/${displayName(name)}: this file system allows no more names of one file`,
        {
          cause: error,
          hint: 'use the erofs backend, or a store on xfs or btrfs',
        },
      );
    }
  }

  #makeOther(directory: number, name: Uint8Array, inode: number): void {
    const attributes = this.#attributes.of(inode);
    const { index, entry } = attributes;
    if (index === undefined) throw impossible('a file that no layer gave');
    const kind = at(index.kind, entry);
    if (kind === KIND.file) {
      this.#makeFile(directory, name, inode, index, attributes);
      return;
    }
    if (kind === KIND.symlink) {
      const start = at(index.linkStart, entry);
      kernel.symlinkAt(index.pool.subarray(start, start + at(index.linkLength, entry)), directory, name);
    } else if (kind === KIND.fifo) {
      kernel.mknodAt(directory, name, kernel.S_IFIFO | 0o600);
    } else if (kind === KIND.character || kind === KIND.block) {
      const type = kind === KIND.character ? kernel.S_IFCHR : kernel.S_IFBLK;
      const made = this.#attributes.unlessForbidden(inode, () => {
        kernel.mknodAt(directory, name, type | 0o600, at(index.size, entry), at(index.offset, entry));
      });
      if (!made) return;
    } else {
      throw impossible(`an inode of kind ${kind}`);
    }
    this.#attributes.setNamed(directory, name, attributes);
  }

  #makeFile(directory: number, name: Uint8Array, inode: number, index: LayerIndex, attributes: Attributes): void {
    const file = kernel.createFileAt(directory, name, this.#attributes.modeToCreate(attributes));
    try {
      this.#writeData(file, at(this.#tree.layer, inode), index, attributes.entry);
      this.#attributes.setNew(file, attributes);
    } finally {
      closeSync(file);
    }
  }

  #writeData(file: number, layer: number, index: LayerIndex, entry: number): void {
    const [size, offset] = [at(index.size, entry), at(index.offset, entry)];
    this.#bytes += size;
    this.#workSincePause += size;
    if (size === 0) return;
    const inExtra = index.inExtra(entry);
    const from = inExtra ? this.#data[layer]?.extra : this.#data[layer]?.tar;
    if (from === undefined) throw impossible('a data file that is not open');
    const runs = index.sparse(entry);
    if (runs === undefined && !inExtra) {
      expectAll(this.#window.copy(from, offset, file, size), size);
      return;
    }
    ftruncateSync(file, size);
    if (runs === undefined) expectAll(copyData(from, offset, file, 0, size), size);
    else copyRuns(from, offset, file, runs);
  }

  /** A name of its own in the root, which the image does not use; gone before the root's times are set. */
  #makeLinksDirectory(root: number): Uint8Array | undefined {
    if (!this.#tree.nlink.some((links, inode) => links > 1 && this.#tree.kind(inode) !== KIND.directory))
      return undefined;
    const name = Buffer.from(`.larder-links-${randomUUID()}`);
    kernel.mkdirAt(root, name);
    this.#links = kernel.openDirectoryAt(root, name);
    return name;
  }

  #removeLinksDirectory(root: number, name: Uint8Array): void {
    const links = this.#links;
    if (links === undefined) return;
    for (const inode of this.#linked) if (!this.#attributes.isLeftOut(inode)) kernel.unlinkAt(links, String(inode));
    kernel.rmdirAt(root, name);
  }

  #where(): string {
    return `/${this.#trail.map(displayName).join('/')}`;
  }
}

/** The runs follow each other in the source and keep holes between them in the file. */
function copyRuns(from: number, offset: number, file: number, runs: readonly SparseRun[]): void {
  let position = offset;
  for (const run of runs) {
    expectAll(copyRange(from, position, file, run.offset, run.length), run.length);
    position += run.length;
  }
}

function expectAll(copied: number, expected: number): void {
  if (copied !== expected) throw new ShortData(`its data ends after ${copied} of ${expected} bytes`);
}

/** Becomes LARDER_LAYER_CORRUPT where the file's path is known. */
class ShortData extends Error {}

function impossible(what: string): LarderError {
  return new LarderError('LARDER_INTERNAL', `write a root filesystem: ${what}`);
}
