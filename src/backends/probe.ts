/**
 * Whether backends work here, found out by doing on the store's own file system what they do, in a directory that is
 * removed again. Kernel versions tell nothing: options are missing, backported, or forbidden.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf, LarderError, systemError } from '../errors.js';
import { mknodAt, openDirectory, S_IFCHR } from '../linux/at-calls.js';
import { fileSystemOf, mayMount, mayOwnAnything } from '../linux/capabilities.js';
import { openErofs } from '../linux/erofs-mount.js';
import { makeDirectories } from '../linux/make-directories.js';
import { bindMount } from '../linux/mount.js';
import { mountOverlay } from '../linux/overlay-mount.js';
import { removeTree } from '../linux/remove-tree.js';
import { unmountTree } from '../linux/unmount-tree.js';
import { setXattr } from '../linux/xattr.js';
import { writeProbeImage } from './probe-image.js';

export interface Probed {
  readonly usable: boolean;
  /** One sentence, either way. */
  readonly reason: string;
  /** Not usable, by what need not be so the next time: an error of the disk, say. */
  readonly mayPass?: boolean;
}

const CONTENT = 'larder probe\n';
/** So that the unmount does not write back the whole file system of the store. */
const VOLATILE = { volatile: true } as const;
const NO_MOUNT = 'mounting needs root (CAP_SYS_ADMIN in the initial user namespace).';

/** A real image of one file, mounted as the backends mount theirs. */
export function probeErofs(scratch: string, on: 'overlay' | 'bind'): Probed {
  if (!mayMount()) return { usable: false, reason: NO_MOUNT };
  const file = attempt(scratch, (dir) => tryErofs(dir, 'file', on));
  if (file === undefined) return { usable: true, reason: 'EROFS mounts straight from files work here.' };
  const loop = attempt(scratch, (dir) => tryErofs(dir, 'loop', on));
  if (loop === undefined)
    return { usable: true, reason: `EROFS works here through loop devices (from files: ${file.message}).` };
  return {
    usable: false,
    reason: `EROFS with 512-byte blocks does not work here: ${file.message}; through loop devices: ${loop.message}.`,
    ...passing(file, loop),
  };
}

/** A whiteout, an opaque directory and a write, on the store's own file system. */
export function probeOverlay(scratch: string): Probed {
  if (!mayMount()) return { usable: false, reason: NO_MOUNT };
  const failure = attempt(scratch, tryOverlay);
  if (failure === undefined) return { usable: true, reason: 'overlayfs of directories works here.' };
  const reason = `overlayfs on ${fileSystemOf(dirname(scratch))} does not work here: ${failure.message}.`;
  return { usable: false, reason, ...passing(failure) };
}

export function probeCopy(scratch: string): Probed {
  const failure = attempt(scratch, (dir) => writeFileSync(join(dir, 'file'), CONTENT));
  if (failure !== undefined) {
    return { usable: false, reason: `files cannot be written here: ${failure.message}.`, ...passing(failure) };
  }
  return mayOwnAnything()
    ? { usable: true, reason: 'files are written one by one, with all their attributes.' }
    : { usable: true, reason: 'files are written one by one; without root they become your own.' };
}

/**
 * Why it failed, or undefined. Whatever was mounted or made is gone afterwards. Throws where the failure says nothing of
 * the backend: on a full disk another one would be chosen, for as long as this process lives.
 */
function attempt(scratch: string, work: (dir: string) => void): Error | undefined {
  const doing = `try out a backend in ${scratch}`;
  const made = makeDirectories(scratch);
  let failure: Error | undefined;
  try {
    failure = failureIn(scratch, work);
    if (made) rmdirSync(scratch);
  } catch (error) {
    throw systemError(doing, error);
  }
  if (SAYS_NOTHING.has(errnoOf(failure) ?? '')) throw systemError(doing, failure);
  return failure;
}

/** Not EROFS and EIO: so do mounts refuse that the kernel cannot do here. But so does a disk, once. */
const SAYS_NOTHING: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'ENOMEM']);
const MAY_PASS: ReadonlySet<string> = new Set(['EIO', 'EROFS', 'EBUSY', 'EAGAIN', 'EINTR']);

/** Of ways each of which would have done: where one of them need not fail the next time, nothing is decided. */
export function passing(...failures: readonly Error[]): Pick<Probed, 'mayPass'> {
  return failures.some((failure) => MAY_PASS.has(errnoOf(failure) ?? '')) ? { mayPass: true } : {};
}

function failureIn(scratch: string, work: (dir: string) => void): Error | undefined {
  const dir = mkdtempSync(join(scratch, 'probe-'));
  try {
    work(dir);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    unmountTree(join(dir, 'rootfs'));
    removeTree(dir);
  }
}

function tryErofs(dir: string, through: 'file' | 'loop', on: 'overlay' | 'bind'): void {
  writeProbeImage(dir, [{ name: 'file', content: Buffer.from(CONTENT) }]);
  const fds: number[] = [];
  const keep = (fd: number): number => {
    fds.push(fd);
    return fd;
  };
  try {
    const imageFd = keep(openSync(join(dir, 'image'), 'r'));
    const deviceFd = keep(openSync(join(dir, 'data'), 'r'));
    const mountFd = keep(openErofs({ imageFd, deviceFds: [deviceFd], through }));
    const rootfs = makeDirectory(dir, 'rootfs');
    if (on === 'bind') bindMount({ source: mountFd, target: rootfs, readOnly: true });
    else overlayOn(dir, [mountFd], rootfs);
    expectContent(join(rootfs, 'file'));
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

function tryOverlay(dir: string): void {
  const [base, top] = [makeDirectory(dir, 'base'), makeDirectory(dir, 'top')];
  for (const name of ['hidden', 'opaque']) makeDirectory(base, name);
  writeFileSync(join(base, 'opaque', 'below'), '');
  const directory = openDirectory(top);
  try {
    mknodAt(directory, 'hidden', S_IFCHR);
  } finally {
    closeSync(directory);
  }
  setXattr(makeDirectory(top, 'opaque'), 'trusted.overlay.opaque', Buffer.from('y'));
  writeFileSync(join(top, 'file'), CONTENT);
  const rootfs = makeDirectory(dir, 'rootfs');
  overlayOn(dir, [base, top], rootfs);
  expectContent(join(rootfs, 'file'));
  for (const path of ['hidden', 'opaque/below']) expectAbsent(join(rootfs, path));
}

function overlayOn(dir: string, lower: readonly (string | number)[], target: string): void {
  mountOverlay({
    lower,
    upper: makeDirectory(dir, 'upper'),
    work: makeDirectory(dir, 'work'),
    target,
    options: VOLATILE,
  });
  writeFileSync(join(target, 'written'), CONTENT);
}

function expectContent(path: string): void {
  if (readFileSync(path, 'utf8') !== CONTENT) throw failed('a file reads wrong');
}

function expectAbsent(path: string): void {
  try {
    closeSync(openSync(path, 'r'));
  } catch {
    return;
  }
  throw failed('whiteouts do not hide');
}

function failed(what: string): LarderError {
  return new LarderError('LARDER_BACKEND_UNAVAILABLE', `probe: ${what}`);
}

function makeDirectory(...parts: readonly [string, ...string[]]): string {
  const path = join(...parts);
  mkdirSync(path, { mode: 0o700 });
  return path;
}
