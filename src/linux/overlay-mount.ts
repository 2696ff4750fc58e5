/**
 * ▸ Mounts an overlay of any number of layers (the kernel's limit is 500), whatever their paths look like: each
 * directory is opened, and the kernel gets the descriptor (Linux 6.13), or `/proc/self/fd/N`, one layer per option
 * (6.5), or all in one string (before). No character of a path is ever parsed.
 */
import { closeSync } from 'node:fs';
import { openDirectoryPath } from './at-calls.js';
import { attach, FsContext, type MountFlags, MS_PRIVATE } from './mount.js';
import { check, cString, type KernelError, kernel, kernelError } from './syscalls.js';

export interface OverlayMount extends MountFlags {
  /** Base first, at least one; at least two without `upper`. Paths, or descriptors (unattached mounts too). */
  readonly lower: readonly (string | number)[];
  /** Both or neither; neither gives a read-only overlay. */
  readonly upper?: string;
  readonly work?: string;
  /** An existing directory. */
  readonly target: string;
  /** `xino: 'auto'` and so on; `true` for what has no value. */
  readonly options?: Readonly<Record<string, string | true>>;
  /** Tries only this way; for tests. */
  readonly way?: Way;
}

/** How the kernel is given the directories. */
export type Way = 'descriptors' | 'strings' | 'one-string';

const WAYS: readonly Way[] = ['descriptors', 'strings', 'one-string'];
const MS = { readOnly: 1, nosuid: 2, nodev: 4, noexec: 8 } as const;
/** mount(2) reads one page, with its terminator. */
const MAX_OPTIONS = 4095;
const E2BIG = 7;

interface Directories {
  /** Top first, as overlayfs counts. */
  readonly lower: readonly number[];
  readonly upper: number | undefined;
  readonly work: number | undefined;
}

export function mountOverlay(mount: OverlayMount): void {
  const opened: number[] = [];
  const open = (directory: string | number): number => {
    if (typeof directory === 'number') return directory;
    const fd = openDirectoryPath(directory);
    opened.push(fd);
    return fd;
  };
  try {
    const lower = mount.lower.map(open).reverse();
    const upper = mount.upper === undefined ? undefined : open(mount.upper);
    const work = mount.work === undefined ? undefined : open(mount.work);
    mountOpened(mount, { lower, upper, work });
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

/** The ways in turn, until one is not refused for what it is. The last one's error tells. */
function mountOpened(mount: OverlayMount, directories: Directories): void {
  const ways = mount.way === undefined ? WAYS : [mount.way];
  let refused: unknown;
  for (const way of ways) {
    try {
      if (way === 'one-string') mountByString(mount, directories);
      else mountByContext(mount, directories, way);
      return;
    } catch (error) {
      if (!isUnknownOption(error)) throw error;
      refused ??= error;
    }
  }
  throw refused;
}

/** EINVAL for a directory option, or no such call: this kernel does not know the way. */
function isUnknownOption(error: unknown): boolean {
  const { code, syscall } = error as Partial<KernelError>;
  return (
    code === 'ENOSYS' ||
    (code === 'EINVAL' && syscall !== undefined && /fsconfig (lowerdir\+|upperdir|workdir)$/.test(syscall))
  );
}

function mountByContext(mount: OverlayMount, { lower, upper, work }: Directories, way: Way): void {
  const context = new FsContext('overlay');
  try {
    const set = (key: string, fd: number): void => {
      if (way === 'descriptors') context.setFd(key, fd);
      else context.setString(key, `/proc/self/fd/${fd}`);
    };
    context.setString('source', 'larder');
    for (const fd of lower) set('lowerdir+', fd);
    if (upper !== undefined) set('upperdir', upper);
    if (work !== undefined) set('workdir', work);
    for (const [key, value] of Object.entries(mount.options ?? {})) {
      if (value === true) context.setFlag(key);
      else context.setString(key, value);
    }
    attachAndClose(context.mount(mount), mount.target);
  } finally {
    context.close();
  }
}

function attachAndClose(mountFd: number, target: string): void {
  try {
    attach(mountFd, target);
  } finally {
    closeSync(mountFd);
  }
}

function mountByString(mount: OverlayMount, { lower, upper, work }: Directories): void {
  const path = (fd: number): string => `/proc/self/fd/${fd}`;
  const options = [
    `lowerdir=${lower.map(path).join(':')}`,
    ...(upper === undefined ? [] : [`upperdir=${path(upper)}`]),
    ...(work === undefined ? [] : [`workdir=${path(work)}`]),
    ...Object.entries(mount.options ?? {}).map(([key, value]) => (value === true ? key : `${key}=${value}`)),
  ].join(',');
  if (options.length > MAX_OPTIONS) throw kernelError(E2BIG, `mount: ${lower.length} layers`, mount.target);
  const target = openDirectoryPath(mount.target);
  try {
    const place = cString(path(target));
    check(
      kernel().mount(cString('larder'), place, cString('overlay'), flagBits(mount), cString(options)),
      'mount',
      mount.target,
    );
  } finally {
    closeSync(target);
  }
  check(kernel().mount(null, cString(mount.target), null, MS_PRIVATE, null), 'mount private', mount.target);
}

function flagBits(flags: MountFlags): number {
  let bits = 0;
  if (flags.readOnly === true) bits |= MS.readOnly;
  if (flags.nosuid === true) bits |= MS.nosuid;
  if (flags.nodev === true) bits |= MS.nodev;
  if (flags.noexec === true) bits |= MS.noexec;
  return bits;
}
