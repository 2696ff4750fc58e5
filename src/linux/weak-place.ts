/**
 * ▸ Who else could put something else in the place of a path: the owner of any directory or link on the way to it, and
 * everybody where one of them is open to all, of which root is told. Who acts as root on such a path acts where they want.
 * Groups are trusted: that of a directory may be its owner's own.
 */
import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { errnoOf } from '../errors.js';
import { isInitialUserNamespace } from './capabilities.js';

export interface WeakPlace {
  readonly path: string;
  /** A clause: "it belongs to user 7". */
  readonly why: string;
  readonly isOpenToAll: boolean;
}

/** As many as the kernel follows: who has more is refused by whatever opens the path. */
const MAX_LINKS = 40;

/**
 * The first that the kernel meets on its way from the root directory, through every link, to what `path` is in the end,
 * which itself is not looked at. What is missing is nobody's. Throws the system's refusal.
 */
export function weakPlaceOn(path: string): WeakPlace | undefined {
  const left = namesOf(resolve(path));
  let here = '/';
  let links = 0;
  let stats: Stats | undefined = lstatSync(here);
  /** Anybody may have made what stands in it. */
  let isOpen = false;
  for (let name = left.shift(); name !== undefined && stats !== undefined; name = left.shift()) {
    const weak = weaknessOf(here, stats, isOpen);
    if (weak !== undefined) return weak;
    const next = name === '..' ? dirname(here) : join(here, name);
    isOpen = name !== '..' && (stats.mode & 0o002) !== 0;
    stats = statIfThere(next);
    if (stats?.isSymbolicLink() !== true) {
      here = next;
      continue;
    }
    const planted = weaknessOf(next, stats, isOpen);
    if (planted !== undefined || ++links > MAX_LINKS) return planted;
    const target = readlinkSync(next);
    left.unshift(...namesOf(target));
    if (target.startsWith('/')) here = '/';
    stats = lstatSync(here);
    // It was looked at on the way to the link.
    isOpen = false;
  }
  return undefined;
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

function weaknessOf(path: string, stats: Stats, isInOpenDirectory: boolean): WeakPlace | undefined {
  if (!isTrusted(stats.uid, isInOpenDirectory)) {
    const what = stats.isSymbolicLink() ? 'is a symbolic link of' : 'belongs to';
    return { path, why: `it ${what} user ${stats.uid}`, isOpenToAll: false };
  }
  // Who is not root acts there with no more rights than their own; a volume of a pod can be like this, and they cannot mend it.
  if (process.geteuid?.() !== 0 || !stats.isDirectory() || (stats.mode & 0o1002) !== 0o002) return undefined;
  return { path, why: 'everybody can write to it, and it is not sticky', isOpenToAll: true };
}

function statIfThere(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Who runs sudo may do what root may: a store below a home directory is his own. */
function sudoUser(): number | undefined {
  const { SUDO_UID } = process.env;
  return process.geteuid?.() === 0 && SUDO_UID !== undefined && /^[1-9]\d*$/.test(SUDO_UID)
    ? Number(SUDO_UID)
    : undefined;
}

/**
 * What all have that a user namespace has no number for. There it is the host's root, or somebody whom only he can let in; but
 * anybody where all may make names.
 */
const OVERFLOW = 65_534;

function isTrusted(uid: number, isInOpenDirectory: boolean): boolean {
  if (uid === 0 || uid === process.geteuid?.() || uid === sudoUser()) return true;
  return uid === OVERFLOW && !isInOpenDirectory && process.platform === 'linux' && !isInitialUserNamespace();
}
