/**
 * ▸ Who else could put something else in the place of a path: the owner of any directory or link on the way to it, and
 * everybody where one of them is open to all. Who acts as root on such a path acts where they want. Groups are trusted:
 * that of a directory may be its owner's own.
 */
import { lstatSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../errors.js';
import { isInitialUserNamespace } from './capabilities.js';

export interface WeakPlace {
  readonly path: string;
  /** A clause: "it belongs to user 7". */
  readonly why: string;
}

/** The first from the root directory on, `path` itself not looked at. What is missing is nobody's. Throws the system's refusal. */
export function weakPlaceAbove(path: string): WeakPlace | undefined {
  const above = dirname(path);
  if (above === path) return undefined;
  return weakPlaceAbove(above) ?? weaknessOf(above);
}

function weaknessOf(path: string): WeakPlace | undefined {
  const stats = statIfThere(path);
  if (stats === undefined) return undefined;
  if (!isTrusted(stats.uid)) {
    const what = stats.isSymbolicLink() ? 'is a symbolic link of' : 'belongs to';
    return { path, why: `it ${what} user ${stats.uid}` };
  }
  const open = stats.isDirectory() && (stats.mode & 0o1002) === 0o002;
  return open ? { path, why: 'everybody can write to it, and it is not sticky' } : undefined;
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

/** What all users have that a user namespace has no number for: there, the host's root. */
const OVERFLOW = 65_534;

function isTrusted(uid: number): boolean {
  if (uid === 0 || uid === process.geteuid?.() || uid === sudoUser()) return true;
  return uid === OVERFLOW && process.platform === 'linux' && !isInitialUserNamespace();
}
