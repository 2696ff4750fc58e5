/**
 * ▸ Mounting, by the calls of Linux 5.2 and later: a file system is configured option by option (no separator that a
 * path could contain), exists before it has a place, and is put onto a directory that is held open (no path that could
 * be swapped meanwhile).
 *
 * Everything larder mounts is made private: what a container's runtime mounts inside its root filesystem (volumes,
 * /proc) must not appear in other namespaces, and what others mount must not appear there. Mesos shares it instead,
 * because its agent mounts volumes into running containers from outside; larder never does. Where the parent is
 * shared, unmounting still reaches the copies in other namespaces, since that follows the parent's peers.
 *
 * Failures are KernelErrors whose message includes what the kernel said of the file system that it refused.
 */
import { closeSync, readSync } from 'node:fs';
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, openDirectoryPath } from './at-calls.js';
import { check, cString, EMPTY_PATH, type KernelError, kernel, kernelError, type PathLike } from './syscalls.js';

export interface MountFlags {
  readonly readOnly?: boolean;
  readonly nodev?: boolean;
  readonly nosuid?: boolean;
  readonly noexec?: boolean;
}

const FSCONFIG = { flag: 0, string: 1, fd: 5, create: 6 } as const;
const ATTRIBUTE = { readOnly: 1, nosuid: 2, nodev: 4, noexec: 8, nosymfollow: 0x200000 } as const;
const OPEN_TREE_CLONE = 1;
const AT_RECURSIVE = 0x8000;
const MOVE_BY_DESCRIPTORS = 0x04 | 0x40;
export const MS_PRIVATE = 1 << 18;
const UMOUNT_NOFOLLOW = 8;
const MNT_DETACH = 2;

/** A file system under configuration; its log is read into the error of the step that fails. */
export class FsContext {
  readonly #fd: number;
  readonly #type: string;

  constructor(type: string) {
    this.#type = type;
    this.#fd = check(kernel().fsopen(cString(type), 1), 'fsopen', type);
  }

  /** Strings of 256 bytes and more are refused by the kernel; pass files as `/proc/self/fd/N`. */
  setString(key: string, value: string): void {
    this.#configure(FSCONFIG.string, key, cString(value), 0);
  }

  setFd(key: string, fd: number): void {
    this.#configure(FSCONFIG.fd, key, null, fd);
  }

  setFlag(key: string): void {
    this.#configure(FSCONFIG.flag, key, null, 0);
  }

  /** Creates the file system. The descriptor is a mount without a place: {@link attach} gives it one, closing ends it. */
  mount(flags: MountFlags = {}): number {
    this.#configure(FSCONFIG.create, undefined, null, 0);
    return this.#checked(kernel().fsmount(this.#fd, 1, attributesOf(flags)), 'fsmount');
  }

  close(): void {
    closeSync(this.#fd);
  }

  #configure(command: number, key: string | undefined, value: Uint8Array | null, aux: number): void {
    const name = key === undefined ? null : cString(key);
    this.#checked(kernel().fsconfig(this.#fd, command, name, value, aux), `fsconfig ${key ?? 'create'}`);
  }

  #checked(result: number, syscall: string): number {
    if (result >= 0) return result;
    const error = kernelError(kernel().lastErrno(), `${this.#type}: ${syscall}`);
    throw withLog(error, this.#readLog());
  }

  /** Each read answers one message, ENODATA ends the list. */
  #readLog(): readonly string[] {
    const lines: string[] = [];
    const buffer = Buffer.alloc(1024);
    for (;;) {
      try {
        const length = readSync(this.#fd, buffer, 0, buffer.length, null);
        if (length === 0) return lines;
        lines.push(
          buffer
            .toString('utf8', 0, length)
            .replace(/^[ewi] /, '')
            .trim(),
        );
      } catch {
        // Whatever ends the log: the failure that it would explain is reported anyway.
        return lines;
      }
    }
  }
}

function withLog(error: KernelError, log: readonly string[]): KernelError {
  if (log.length > 0) error.message += ` (the kernel says: ${log.join('; ')})`;
  return error;
}

/** Puts a mount without a place onto a directory, and makes it private. The descriptor stays open and the caller's. */
export function attach(mountFd: number, target: PathLike): void {
  const targetFd = openDirectoryPath(target);
  try {
    check(kernel().moveMount(mountFd, EMPTY_PATH, targetFd, EMPTY_PATH, MOVE_BY_DESCRIPTORS), 'move_mount', target);
  } finally {
    closeSync(targetFd);
  }
  setAttributes(mountFd, { propagation: MS_PRIVATE });
}

export interface BindOptions extends MountFlags {
  /** A directory: its path, or a descriptor (an unattached mount too). */
  readonly source: PathLike | number;
  readonly target: PathLike;
}

/** Shows a directory at a second place, with flags of its own whatever those of the source are. */
export function bindMount(options: BindOptions): void {
  const { source, target } = options;
  const mountFd =
    typeof source === 'number'
      ? check(kernel().openTree(source, EMPTY_PATH, OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH), 'open_tree')
      : check(kernel().openTree(AT_FDCWD, cString(source), OPEN_TREE_CLONE | O_CLOEXEC), 'open_tree', source);
  try {
    const set = attributesOf(options);
    setAttributes(mountFd, { set, clear: attributesOf(ALL_FLAGS) & ~set });
    attach(mountFd, target);
  } finally {
    closeSync(mountFd);
  }
}

/**
 * A directory as a mount without a place, through which no symbolic link is followed and nothing is executed or opened
 * as a device (Linux 5.14). Closing the descriptor ends it.
 */
export function cloneMount(directory: number): number {
  const flags = OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH;
  const mountFd = check(kernel().openTree(directory, EMPTY_PATH, flags), 'open_tree');
  try {
    const { nosuid, nodev, noexec, nosymfollow } = ATTRIBUTE;
    setAttributes(mountFd, { set: nosuid | nodev | noexec | nosymfollow, propagation: MS_PRIVATE });
    return mountFd;
  } catch (error) {
    closeSync(mountFd);
    throw error;
  }
}

const ALL_FLAGS: MountFlags = { readOnly: true, nosuid: true, nodev: true, noexec: true };

function attributesOf(flags: MountFlags): number {
  let attributes = 0;
  if (flags.readOnly === true) attributes |= ATTRIBUTE.readOnly;
  if (flags.nosuid === true) attributes |= ATTRIBUTE.nosuid;
  if (flags.nodev === true) attributes |= ATTRIBUTE.nodev;
  if (flags.noexec === true) attributes |= ATTRIBUTE.noexec;
  return attributes;
}

interface AttributeChange {
  readonly set?: number;
  readonly clear?: number;
  readonly propagation?: number;
  readonly recursive?: boolean;
}

/** mount_setattr(2), Linux 5.12. */
function setAttributes(mountFd: number, change: AttributeChange): void {
  const attributes = new BigUint64Array([
    BigInt(change.set ?? 0),
    BigInt(change.clear ?? 0),
    BigInt(change.propagation ?? 0),
    0n,
  ]);
  const flags = AT_EMPTY_PATH | (change.recursive === true ? AT_RECURSIVE : 0);
  const bytes = new Uint8Array(attributes.buffer);
  check(kernel().mountSetattr(mountFd, EMPTY_PATH, flags, bytes, bytes.length), 'mount_setattr');
}

/** The same without keeping this thread: it can take as long as writing back a file system does. */
export async function unmountAside(path: PathLike, options: { readonly detach?: boolean } = {}): Promise<void> {
  const flags = UMOUNT_NOFOLLOW | (options.detach === true ? MNT_DETACH : 0);
  const errno = await kernel().umount2Aside(cString(path), flags);
  if (errno !== 0) throw kernelError(errno, 'umount2', path);
}

/** Removes the uppermost mount at `path`; `detach` also when it is in use. A symbolic link there is not followed. */
export function unmount(path: PathLike, options: { readonly detach?: boolean } = {}): void {
  const flags = UMOUNT_NOFOLLOW | (options.detach === true ? MNT_DETACH : 0);
  check(kernel().umount2(cString(path), flags), 'umount2', path);
}
