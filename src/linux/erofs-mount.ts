/**
 * ▸ Mounts an EROFS image with its data files. File-backed where the kernel can (Linux 6.12, and a file system below
 * that can be read page by page), else all of it through loop devices; never a mixture, which the kernel refuses.
 *
 * The kernel does not compare what it is given with what the image was written for: the order of the descriptors and
 * the size of each file are the caller's to check, before each mount.
 */
import { closeSync } from 'node:fs';
import { attachLoop } from './loop.js';
import { attach, FsContext, type MountFlags } from './mount.js';

export interface ErofsSource extends MountFlags {
  /** Open for reading; may be closed when the call has returned. */
  readonly imageFd: number;
  /** In the order of the image's device table. */
  readonly deviceFds: readonly number[];
  /** Default `file`. */
  readonly through?: 'file' | 'loop';
  /** Reads past the page cache of the files below. Default false. */
  readonly direct?: boolean;
}

export interface ErofsMount extends ErofsSource {
  /** An existing directory. */
  readonly target: string;
}

/** What {@link openErofs} fails with where only loop devices may do, or nothing. */
export const NOT_FILE_BACKED: ReadonlySet<string> = new Set(['ENOTBLK', 'EINVAL', 'EOPNOTSUPP', 'ENODEV']);

export function mountErofs(mount: ErofsMount): void {
  const mountFd = openErofs(mount);
  try {
    attach(mountFd, mount.target);
  } finally {
    closeSync(mountFd);
  }
}

/** A mount without a place: a descriptor that can be attached, be a layer of an overlay, or be closed. */
export function openErofs(source: ErofsSource): number {
  if (source.through !== 'loop') {
    return openFrom(
      `/proc/self/fd/${source.imageFd}`,
      source.deviceFds.map((fd) => `/proc/self/fd/${fd}`),
      source,
    );
  }
  const loops: { readonly fd: number; readonly path: string }[] = [];
  try {
    const image = attachLoop(source.imageFd);
    loops.push(image);
    for (const fd of source.deviceFds) loops.push(attachLoop(fd));
    return openFrom(
      image.path,
      loops.slice(1).map(({ path }) => path),
      source,
    );
  } finally {
    // The mount holds the devices from here on; each frees itself with its last user.
    for (const { fd } of loops) closeSync(fd);
  }
}

function openFrom(image: string, devices: readonly string[], flags: ErofsSource): number {
  const context = new FsContext('erofs');
  try {
    context.setFlag('ro');
    if (flags.direct === true) context.setFlag('directio');
    context.setString('source', image);
    for (const device of devices) context.setString('device', device);
    return context.mount({ ...flags, readOnly: true });
  } finally {
    context.close();
  }
}
