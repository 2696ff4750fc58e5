/**
 * ▸ The mount table of this process's mount namespace (proc_pid_mountinfo(5)). The only truth about what is mounted:
 * no record of ours is ever asked.
 */
import { readFileSync } from 'node:fs';
import { systemError } from '../errors.js';

export interface MountEntry {
  readonly id: number;
  readonly parent: number;
  /** `major:minor` of the file system. */
  readonly device: string;
  /** The directory of the file system that is the root of this mount. */
  readonly root: string;
  /** As bytes in a `latin1` string, like all paths here: names in the table need not be UTF-8. */
  readonly mountPoint: string;
  readonly options: string;
  /** `shared:1`, `master:2`, …; empty for a private mount. */
  readonly propagation: readonly string[];
  readonly type: string;
  readonly source: string;
  readonly superOptions: string;
}

/** In the order of mounting. */
export function listMounts(): readonly MountEntry[] {
  try {
    return parseMountinfo(readFileSync('/proc/self/mountinfo', 'latin1'));
  } catch (error) {
    throw systemError('read the mount table: /proc/self/mountinfo', error);
  }
}

export function parseMountinfo(text: string): readonly MountEntry[] {
  return text
    .split('\n')
    .map(parseLine)
    .filter((entry) => entry !== undefined);
}

function parseLine(line: string): MountEntry | undefined {
  const fields = line.split(' ');
  // Optional fields end with a single hyphen; a mount point cannot be mistaken for it, spaces are escaped.
  const separator = fields.indexOf('-', 6);
  const [id, parent, device, root, mountPoint, options] = fields;
  const [type, source, superOptions] = fields.slice(separator + 1);
  if (separator < 0 || mountPoint === undefined || superOptions === undefined) return undefined;
  return {
    id: Number(id),
    parent: Number(parent),
    device: device ?? '',
    root: unescapeOctal(root ?? ''),
    mountPoint: unescapeOctal(mountPoint),
    options: options ?? '',
    propagation: fields.slice(6, separator),
    type: type ?? '',
    source: unescapeOctal(source ?? ''),
    superOptions: unescapeOctal(superOptions),
  };
}

/** `\040` and its like: space, tab, newline and backslash are written as three octal digits. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-3][0-7]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The mounts at `path` and below, in the order of mounting. `path` is absolute, without symbolic links. */
export function mountsUnder(path: string, mounts: readonly MountEntry[] = listMounts()): readonly MountEntry[] {
  const prefix = Buffer.from(path).toString('latin1');
  return mounts.filter(({ mountPoint }) => mountPoint === prefix || mountPoint.startsWith(`${prefix}/`));
}

/** Where below `path` something is mounted, relative to it, as bytes in a `latin1` string; in the order of mounting. */
export function mountNamesBelow(path: string, mounts: readonly MountEntry[] = listMounts()): readonly string[] {
  const start = Buffer.byteLength(path) + 1;
  return mountsUnder(path, mounts).flatMap(({ mountPoint }) => mountPoint.slice(start) || []);
}

/** The mount that one sees at `path`: the last of those upon each other. Undefined when `path` is no mount point. */
export function findMount(path: string, mounts: readonly MountEntry[] = listMounts()): MountEntry | undefined {
  const wanted = Buffer.from(path).toString('latin1');
  return mounts.filter(({ mountPoint }) => mountPoint === wanted).at(-1);
}
