/**
 * Owners, modes, xattrs and times of what is being written from a merged tree; and the account of what an ordinary
 * user could not keep.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync } from 'node:fs';
import { at, displayName } from '../bytes.js';
import { errnoOf, LarderError } from '../errors.js';
import * as kernel from '../linux/at-calls.js';
import { takeOwnUmask } from '../linux/own-umask.js';
import { setXattrAt, setXattrOf } from '../linux/xattr.js';
import type { Xattr } from '../tar/entry.js';
import { IMPLIED, KIND, type LayerIndex, type MergedTree } from '../tree/types.js';

export interface Attributes {
  /** The index and entry that give the inode; undefined for an implied directory. */
  readonly index: LayerIndex | undefined;
  readonly entry: number;
  readonly kind: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  readonly mtimeNs: number;
  readonly xattrs: readonly Xattr[];
}

const IMPLIED_DIRECTORY: Attributes = {
  index: undefined,
  entry: 0,
  kind: KIND.directory,
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: 0,
  mtimeNs: 0,
  xattrs: [],
};

export interface AttributeOptions {
  /** Keep every owner, device node and xattr, or fail. */
  readonly privileged: boolean;
  /** Leave device nodes out. */
  readonly nodev?: boolean;
  /** Give no program another user or capabilities. */
  readonly nosuid?: boolean;
}

/** Without setuid, setgid and sticky, which writing or chown(2) may clear again. */
const PERMISSIONS = 0o777;

interface FreshFile {
  readonly uid: number;
  readonly gid: number;
  /** Of one that was created with {@link PERMISSIONS}. */
  readonly mode: number;
}

const SET_ID = 0o6000;
const CAPABILITY = Buffer.from('security.capability');
const OPAQUE = 'trusted.overlay.opaque';
const YES = Buffer.from('y');

export class AttributeWriter {
  readonly #tree: MergedTree;
  readonly #privileged: boolean;
  readonly #nodev: boolean;
  readonly #nosuid: boolean;
  readonly #where: () => string;
  readonly #uid = process.geteuid?.() ?? 0;
  readonly #gid = process.getegid?.() ?? 0;
  /** Inodes of device nodes that were not made. */
  readonly #leftOut = new Set<number>();
  #foreignOwners = 0;
  readonly #lostXattrs = new Map<string, number>();
  /** What a new file is without being told; nothing is known before {@link probe}. */
  #fresh: FreshFile = { uid: -1, gid: -1, mode: 0 };

  /** `where` names what is being written, for messages. */
  constructor(tree: MergedTree, options: AttributeOptions, where: () => string) {
    this.#tree = tree;
    this.#privileged = options.privileged;
    this.#nodev = options.nodev === true;
    this.#nosuid = options.nosuid === true;
    this.#where = where;
  }

  of(inode: number): Attributes {
    const layer = at(this.#tree.layer, inode);
    const index = layer === IMPLIED ? undefined : this.#tree.layers[layer];
    if (index === undefined) return IMPLIED_DIRECTORY;
    const entry = at(this.#tree.entry, inode);
    const kind = at(index.kind, entry);
    const mode = at(index.mode, entry);
    const xattrs = index.hasXattrs(entry) ? index.xattrs(entry) : [];
    const plain = this.#nosuid && kind === KIND.file;
    return {
      index,
      entry,
      kind,
      mode: plain ? mode & ~SET_ID : mode,
      uid: at(index.uid, entry),
      gid: at(index.gid, entry),
      mtime: at(index.mtime, entry),
      mtimeNs: at(index.mtimeNs, entry),
      xattrs: plain ? xattrs.filter(({ name }) => !CAPABILITY.equals(name)) : xattrs,
    };
  }

  /**
   * Sees what a file that is made below `directory` gets: so most need neither chown(2) nor chmod(2). What decides it
   * (umask, set-group-ID, the file system's own rules) is the same in all directories that are made below,
   * as long as these have not got their own attributes yet. Where another thread may change the umask meanwhile, nothing
   * is taken from it: each file gets its mode by chmod(2).
   */
  probe(directory: number): void {
    const name = `.larder-probe-${randomUUID()}`;
    const isSteady = takeOwnUmask();
    const file = kernel.createFileAt(directory, name, PERMISSIONS);
    try {
      const { uid, gid, mode } = fstatSync(file);
      this.#fresh = { uid, gid, mode: isSteady ? mode : 0 };
    } finally {
      closeSync(file);
      kernel.unlinkAt(directory, name);
    }
  }

  /** The mode with which to create a file. Nobody else gets at it: we alone can enter the tree's root yet. */
  modeToCreate({ mode }: Attributes): number {
    return this.#comesOut(mode) ? mode : 0o600;
  }

  /** Of a file that was just made with {@link modeToCreate}. */
  setNew(fd: number, attributes: Attributes): void {
    const { uid, gid, mode, xattrs, mtime, mtimeNs } = attributes;
    const owned = uid === this.#fresh.uid && gid === this.#fresh.gid;
    if (this.#mayOwn(uid, gid) && !owned) kernel.chown(fd, uid, gid);
    if (!this.#comesOut(mode)) kernel.chmod(fd, mode);
    for (const xattr of xattrs) this.#setXattr(attributes, xattr, () => setXattrOf(fd, xattr.name, xattr.value));
    kernel.setTime(fd, mtime, mtimeNs);
  }

  /** Of an open file or directory. */
  setOpen(fd: number, attributes: Attributes, opaque: boolean): void {
    const { uid, gid, mode, xattrs, mtime, mtimeNs } = attributes;
    if (this.#mayOwn(uid, gid)) kernel.chown(fd, uid, gid);
    kernel.chmod(fd, mode);
    for (const xattr of xattrs) this.#setXattr(attributes, xattr, () => setXattrOf(fd, xattr.name, xattr.value));
    if (opaque) setXattrOf(fd, OPAQUE, YES);
    kernel.setTime(fd, mtime, mtimeNs);
  }

  /** Of a symbolic link, device or fifo, which cannot be opened. */
  setNamed(directory: number, name: Uint8Array, attributes: Attributes): void {
    const { uid, gid, mode, kind, xattrs, mtime, mtimeNs } = attributes;
    if (this.#mayOwn(uid, gid)) kernel.chownAt(directory, name, uid, gid);
    if (kind !== KIND.symlink) kernel.chmodAt(directory, name, mode);
    for (const xattr of xattrs) {
      this.#setXattr(attributes, xattr, () => setXattrAt(directory, name, xattr.name, xattr.value));
    }
    kernel.setTimeAt(directory, name, mtime, mtimeNs);
  }

  /** Makes a device node; false when it is left out: none is wanted, or an ordinary user may not make it. */
  unlessForbidden(inode: number, make: () => void): boolean {
    if (this.#nodev) {
      this.#leftOut.add(inode);
      return false;
    }
    try {
      make();
      return true;
    } catch (error) {
      if (this.#privileged || !isForbidden(error)) throw error;
      this.#leftOut.add(inode);
      return false;
    }
  }

  isLeftOut(inode: number): boolean {
    return this.#leftOut.has(inode);
  }

  warnings(): readonly string[] {
    const sentences: string[] = [];
    if (this.#foreignOwners > 0) {
      sentences.push(
        `${count(this.#foreignOwners, 'file belongs', 'files belong')} to you instead of the owner in the image.`,
      );
    }
    if (this.#leftOut.size > 0) {
      const why = this.#privileged ? 'a copy has them with --dev only' : 'making one needs root';
      sentences.push(`${count(this.#leftOut.size, 'device node was', 'device nodes were')} left out: ${why}.`);
    }
    for (const [name, times] of this.#lostXattrs) {
      sentences.push(`The extended attribute ${name} could not be kept on ${count(times, 'file', 'files')}.`);
    }
    return sentences;
  }

  /** Whether a file that is created with this mode has it. */
  #comesOut(mode: number): boolean {
    return (mode & this.#fresh.mode & PERMISSIONS) === mode;
  }

  #mayOwn(uid: number, gid: number): boolean {
    if (this.#privileged) return true;
    if (uid !== this.#uid || gid !== this.#gid) this.#foreignOwners++;
    return false;
  }

  /**
   * What cannot be kept is counted: by an ordinary user, where the file system has no such attributes, and `user.*` on
   * what is neither file nor directory, which no file system takes (xattr(7)).
   */
  #setXattr({ kind, xattrs }: Attributes, { name, value }: Xattr, set: () => void): void {
    try {
      set();
    } catch (error) {
      const shown = displayName(name);
      const errno = errnoOf(error) ?? '';
      const nowhere = shown.startsWith('user.') && kind !== KIND.file && kind !== KIND.directory;
      const unsupported = errno === 'EOPNOTSUPP';
      if (TOO_LARGE.includes(errno) && sizeOf(xattrs) >= LARGE) {
        throw this.#refused(`cannot keep ${value.length} bytes in the extended attribute ${shown}`, error);
      }
      if (!unsupported && !((nowhere || !this.#privileged) && isForbidden(error))) {
        // The kernel checks the values of its own attributes; `erofs` shows them as they are.
        if (INVALID.includes(errno)) throw this.#refused(`does not take the extended attribute ${shown}`, error);
        throw error;
      }
      this.#lostXattrs.set(shown, (this.#lostXattrs.get(shown) ?? 0) + 1);
    }
  }

  #refused(what: string, cause: unknown): LarderError {
    const doing = `write a root filesystem: ${this.#where()}`;
    return new LarderError('LARDER_ENTRY_UNSUPPORTED', `${doing}: this file system ${what}`, {
      cause,
      hint: 'use the erofs backend, or a store on xfs or btrfs',
    });
  }
}

function sizeOf(xattrs: readonly Xattr[]): number {
  return xattrs.reduce((sum, { name, value }) => sum + name.length + value.length, 0);
}

/** A malformed capability; a default ACL on what is no directory. */
const INVALID: readonly string[] = ['EINVAL', 'EACCES'];
/** ext4 says "no space" for xattrs that do not fit into one block (xattr(7)). */
const TOO_LARGE: readonly string[] = ['ENOSPC', 'E2BIG', 'ERANGE'];
const LARGE = 2048;

function isForbidden(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'EPERM' || errno === 'EACCES';
}

function count(n: number, one: string, many: string): string {
  return n === 1 ? `1 ${one}` : `${n} ${many}`;
}
