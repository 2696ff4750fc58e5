/**
 * A container's own overlay: lower directories that it shares, an upper directory that is its own.
 *
 * Options, and why:
 * - `xino=auto`: one st_dev for all files, inode numbers that stay at copy-up.
 * - `redirect_dir=on`: renaming a directory of the image works instead of failing with EXDEV.
 * - `metacopy=on`: chmod and chown of a large file copy its metadata only (0.2 ms instead of 100 ms for 64 MiB).
 * - `index=on`: a file with several names stays one file when it is copied up; an upper directory that is in use is
 *   refused.
 * The last three are refused to nobody: images cannot bring xattrs that overlayfs obeys (the layer index drops them),
 * the upper directory is new for each container and written through overlayfs alone, and it is mounted again, after a
 * reboot, over the same lower directories only.
 */
import { chmodSync, chownSync, lstatSync } from 'node:fs';
import { errnoOf, systemError } from '../errors.js';
import { AT_FDCWD } from '../linux/at-calls.js';
import { mountOverlay } from '../linux/overlay-mount.js';
import { check, cString, kernel } from '../linux/syscalls.js';
import { getXattr, listXattrs, setXattr } from '../linux/xattr.js';
import type { ProvisionedRootfs, ProvisionOptions } from './backend.js';
import { makePrivateDirectory, makeRootfs, type Step, upperOf, workOf } from './rootfs-files.js';

export const OVERLAY_OPTIONS = { xino: 'auto', redirect_dir: 'on', metacopy: 'on', index: 'on' } as const;

export interface ContainerOverlay {
  /** Base first. */
  readonly lower: readonly string[];
  readonly rootfs: string;
  readonly backendDir: string;
  readonly options: ProvisionOptions;
  readonly step: Step;
}

/** Steps that the backend's destroy undoes in any state between. */
export function mountContainerOverlay({
  lower,
  rootfs,
  backendDir,
  options,
  step,
}: ContainerOverlay): ProvisionedRootfs {
  const [upper, work] = [upperOf(backendDir), workOf(backendDir)];
  makeRootfs(rootfs, backendDir, step);
  step('make upper');
  makePrivateDirectory(upper);
  step('make work');
  makePrivateDirectory(work);
  try {
    step('copy attributes of the root');
    copyRootAttributes(lower.at(-1) ?? '', upper);
    step('mount');
    mountIt(lower, rootfs, backendDir, options);
    step('mounted');
  } catch (error) {
    throw systemError(`provision ${rootfs}: mount an overlay of ${lower.length} layers`, error);
  }
  return { ephemeral: [upper, work], warnings: [] };
}

/**
 * The same overlay after a reboot. Nothing is made: where a directory is missing, there is nothing to go on with. That
 * the lower directories are those of the first time, the kernel checks (`index=on`).
 */
export function remountContainerOverlay({
  lower,
  rootfs,
  backendDir,
  options,
}: Omit<ContainerOverlay, 'step'>): undefined {
  try {
    mountIt(lower, rootfs, backendDir, options);
  } catch (error) {
    throw systemError(`mount ${rootfs} again: an overlay of ${lower.length} layers`, error);
  }
}

function mountIt(lower: readonly string[], rootfs: string, backendDir: string, options: ProvisionOptions): void {
  const [upper, work] = [upperOf(backendDir), workOf(backendDir)];
  const overlayOptions = options.volatile === true ? { ...OVERLAY_OPTIONS, volatile: true as const } : OVERLAY_OPTIONS;
  mountOverlay({ lower, upper, work, target: rootfs, options: overlayOptions, ...mountFlags(options) });
}

export function mountFlags({ nodev = false, nosuid = false, noexec = false }: ProvisionOptions): {
  readonly nodev: boolean;
  readonly nosuid: boolean;
  readonly noexec: boolean;
} {
  return { nodev, nosuid, noexec };
}

/** An overlay's root shows what its upper directory says. */
function copyRootAttributes(from: string, to: string): void {
  const stats = lstatSync(from, { bigint: true });
  chownSync(to, Number(stats.uid), Number(stats.gid));
  chmodSync(to, Number(stats.mode & 0o7777n));
  for (const name of listXattrs(from)) copyXattr(from, to, name);
  const times = new BigInt64Array([0n, 0n, 0n, 0n]);
  for (const i of [0, 2]) [times[i], times[i + 1]] = splitTime(stats.mtimeNs);
  check(kernel().utimensat(AT_FDCWD, cString(to), new Uint8Array(times.buffer), 0), 'utimensat', to);
}

function copyXattr(from: string, to: string, name: Uint8Array): void {
  if (Buffer.from(name).toString('latin1').startsWith('trusted.overlay.')) return;
  const value = getXattr(from, name);
  try {
    if (value !== undefined) setXattr(to, name, value);
  } catch (error) {
    // As at copy-up: what the upper file system does not have is not kept.
    if (errnoOf(error) !== 'EOPNOTSUPP') throw error;
  }
}

function splitTime(ns: bigint): [bigint, bigint] {
  const fraction = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return [(ns - fraction) / 1_000_000_000n, fraction];
}
