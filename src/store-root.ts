/**
 * ▸ The store's root directory: made 0700, refused when it or what stands in it is not ours, when others can enter it or
 * put another one in its place, or when it is something else's. Its `format` file says which larder may use it.
 */
import { constants, type Stats } from 'node:fs';
import { chmod, lstat, open, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, isLarderError, LarderError, systemError } from './errors.js';
import { STORE_FORMAT } from './layout.js';
import { ensureDirectory, unlinkIfThere, writeFileDurable } from './linux/durable.js';
import { makeDirectories } from './linux/make-directories.js';
import { namesIn } from './linux/names-in.js';
import { weakPlaceOn } from './linux/weak-place.js';

/** Longer is no version number. */
const MAX_FORMAT_BYTES = 64;

/**
 * Answers the root's real path, by which the mount table knows it. Rejects with LARDER_STORE_UNSAFE,
 * LARDER_FORMAT_VERSION, LARDER_PERMISSION, LARDER_NO_SPACE.
 */
export async function prepareRoot(path: string): Promise<string> {
  try {
    return await prepare(path);
  } catch (error) {
    throw errnoOf(error) === undefined ? error : systemError(`open the store ${path}`, error);
  }
}

async function prepare(path: string): Promise<string> {
  refuseWeakPlace(path);
  const root = await makeRoot(path);
  // What was missing may have been made by somebody else meanwhile; and this path has neither links nor `..`.
  refuseWeakPlace(root);
  await refuseForeign(root);
  const version = (await readFormat(join(root, 'format'))) ?? (await initialise(root));
  if (version !== String(STORE_FORMAT)) {
    throw new LarderError(
      'LARDER_FORMAT_VERSION',
      `open ${root}: the store's format is ${version}, this larder knows ${STORE_FORMAT}`,
      {
        hint: 'use the larder that made this store, or a newer one',
      },
    );
  }
  await refuseUnsafe(root);
  await auditInside(root);
  return root;
}

async function makeRoot(path: string): Promise<string> {
  try {
    makeDirectories(dirname(path), 0o777);
    await ensureDirectory(path, 0o700);
    return await realpath(path);
  } catch (error) {
    throw systemError(`open the store ${path}`, error);
  }
}

/**
 * A directory that is empty, and ours, becomes a store; one with other things in it never does, except where somebody else
 * made a store of it meanwhile. Answers the store's format.
 */
async function initialise(root: string): Promise<string> {
  const format = join(root, 'format');
  const names = await namesIn(root);
  const strange = names.filter((name) => name !== 'lost+found' && name !== 'format' && !UNFINISHED.test(name));
  if (strange.length > 0) {
    // The format comes first into a store.
    const made = await readFormat(format);
    if (made !== undefined) return made;
    throw new LarderError(
      'LARDER_STORE_UNSAFE',
      `open ${root}: not a larder store and not empty (it has ${strange.slice(0, 3).join(', ')})`,
      {
        hint: 'name an empty directory with --root, or one that does not exist yet',
      },
    );
  }
  if ((await lstat(root)).uid === process.getuid?.()) await chmod(root, 0o700);
  try {
    await writeFileDurable(format, Buffer.from(`${STORE_FORMAT}\n`));
  } catch (error) {
    // Whoever was faster took ours for what a killed one left.
    const isTaken = isLarderError(error) && error.details?.['errno'] === 'ENOENT';
    if (!isTaken || (await readFormat(format)) === undefined) throw error;
  }
  for (const name of names.filter((name) => UNFINISHED.test(name))) await unlinkIfThere(join(root, name));
  return String(STORE_FORMAT);
}

/** What those wrote who were killed before the file had its name. */
const UNFINISHED = /^\.?format\./;

async function readFormat(path: string): Promise<string | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!(await file.stat()).isFile()) throw noFile(path);
      const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_FORMAT_BYTES), 0, MAX_FORMAT_BYTES, 0);
      return buffer.toString('latin1', 0, bytesRead).trim();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    // A link, a socket.
    throw ['ELOOP', 'ENXIO'].includes(errnoOf(error) ?? '') ? noFile(path) : systemError(`open ${path}`, error);
  }
}

function noFile(path: string): LarderError {
  return new LarderError('LARDER_STORE_UNSAFE', `open ${path}: not a regular file`, {
    hint: 'name an empty directory with --root, or one that does not exist yet',
  });
}

/**
 * Nothing is written where others could let it lead elsewhere tomorrow; and where they may make names, as in /tmp, a link of
 * theirs would lead us to a directory of their choice.
 */
function refuseWeakPlace(path: string): void {
  const weak = weakPlaceOn(path);
  if (weak === undefined) return;
  const place = 'name a store with --root to which only directories of your own, and of root, lead';
  throw new LarderError(
    'LARDER_STORE_UNSAFE',
    `open ${path}: something else could be put in its place at ${weak.path}: ${weak.why}`,
    { hint: weak.isOpenToAll ? `${place}, or run: chmod +t ${weak.path}` : place },
  );
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw systemError(`open the store ${path}`, error);
  });
}

/** Before anything is written into it. */
async function refuseForeign(root: string): Promise<void> {
  refuseOwner(root, (await lstat(root)).uid, 'it belongs to');
}

function refuseOwner(path: string, uid: number, what: string): void {
  if (uid === (process.getuid?.() ?? uid) || uid === 0) return;
  throw new LarderError('LARDER_STORE_UNSAFE', `open ${path}: ${what} user ${uid}, who could change what is in it`, {
    hint: `use a store of your own with --root, or, where it is yours by right, run: chown -h ${process.getuid?.() ?? 0} ${path}`,
  });
}

async function refuseUnsafe(root: string): Promise<void> {
  const { mode } = await lstat(root);
  if ((mode & 0o077) !== 0) throw openToOthers(root, root, mode, 'enter', '700');
}

/**
 * What stands directly in the store is ours, and closed: a copy made with other owners, or a `chmod -R`, would otherwise be
 * found out by somebody else. What is below is as closed as these are.
 */
async function auditInside(root: string): Promise<void> {
  for (const name of await namesIn(root)) {
    const path = join(root, name);
    refuseOwner(path, (await lstatIfThere(path))?.uid ?? 0, 'it belongs to');
    // Where a link of ours leads.
    const found = await stat(path).catch((error: unknown) => {
      // Gone meanwhile.
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw systemError(`open ${path}`, error);
    });
    if (found === undefined || name === 'lost+found') continue;
    refuseOwner(path, found.uid, 'it belongs to');
    if (found.isDirectory() && (found.mode & 0o077) !== 0) throw openToOthers(root, path, found.mode, 'enter', '700');
    if (found.isFile() && (found.mode & 0o022) !== 0) throw openToOthers(root, path, found.mode, 'write to', '600');
  }
}

function openToOthers(root: string, path: string, mode: number, how: string, wanted: string): LarderError {
  const what = path === root ? '' : ` ${path}`;
  const shown = (mode & 0o777).toString(8);
  return new LarderError(
    'LARDER_STORE_UNSAFE',
    `open ${root}: other users can ${how}${what || ' it'} (mode ${shown})`,
    {
      hint: `run: chmod ${wanted} ${path}`,
    },
  );
}
