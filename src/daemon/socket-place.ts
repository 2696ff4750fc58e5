/**
 * Where a daemon listens. Owns the socket and `<socket>.lock` beside it: who holds the lock may replace a socket that
 * nobody answers any more, and nobody else touches it. A socket that the service manager opened is not ours to remove.
 */
import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { errnoOf, LarderError, systemError } from '../errors.js';
import { type FileLock, tryLockFile } from '../linux/file-lock.js';
import { groupNumber } from '../linux/group-number.js';
import { makeDirectories } from '../linux/make-directories.js';
import { weakPlaceOn } from '../linux/weak-place.js';

/** unix(7): `sun_path`, with its terminator. */
const MAX_SOCKET_PATH = 107;
/** sd_listen_fds(3): descriptors begin here. */
const FIRST_FD = 3;

export interface SocketPlace {
  /** For messages. */
  readonly name: string;
  listen(server: Server): Promise<void>;
  /** After the server has closed. */
  release(): void;
}

/**
 * The place at `path`, taken from a dead daemon if need be; open to the members of `group`, by name or number. Rejects with LARDER_STORE_LOCKED where a daemon is alive,
 * LARDER_STORE_UNSAFE where others could replace the socket, LARDER_FLAGS_INVALID, LARDER_PERMISSION.
 */
export async function takeSocket(path: string, group?: string): Promise<SocketPlace> {
  if (!path.startsWith('/') || Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    throw new LarderError('LARDER_FLAGS_INVALID', `listen at ${path}: not an absolute path of at most 107 bytes`);
  }
  const gid = group === undefined ? undefined : await groupNumber(group);
  prepareDirectory(dirname(path), path);
  const lock = tryLockFile(`${path}.lock`, 'exclusive');
  if (lock === undefined) throw taken(path);
  try {
    await removeStale(path);
  } catch (error) {
    lock.release();
    throw error;
  }
  return new OwnPlace(path, lock, gid);
}

/** The socket that systemd opened for us, or undefined; see sd_listen_fds(3). */
export function activatedSocket(env: NodeJS.ProcessEnv): SocketPlace | undefined {
  const count = Number(env['LISTEN_FDS']);
  if (env['LISTEN_PID'] !== String(process.pid) || !(count >= 1)) return undefined;
  // Programs that we start have no part in it.
  for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES']) delete env[name];
  if (count > 1)
    throw new LarderError('LARDER_FLAGS_INVALID', `listen: the service manager gave ${count} sockets, expected one`);
  return {
    name: `descriptor ${FIRST_FD} of the service manager`,
    listen: (server) => listening(server, () => server.listen({ fd: FIRST_FD })),
    release: () => {},
  };
}

class OwnPlace implements SocketPlace {
  readonly name: string;
  readonly #lock: FileLock;
  readonly #gid: number | undefined;

  constructor(path: string, lock: FileLock, gid: number | undefined) {
    this.name = path;
    this.#lock = lock;
    this.#gid = gid;
  }

  /** The socket never is anybody else's to open, not for an instant: its mode is in force when it appears. */
  async listen(server: Server): Promise<void> {
    const old = process.umask(0o177);
    try {
      const done = listening(server, () => server.listen(this.name));
      // Bound by now: Node binds within the call.
      process.umask(old);
      await done;
      chmodSync(this.name, 0o600);
      if (this.#gid !== undefined) openToGroup(this.name, this.#gid);
    } finally {
      process.umask(old);
    }
  }

  release(): void {
    this.#lock.release({ unlink: true });
  }
}

/** The directory may be passed through, not listed; one that everybody may pass through stays as it is. */
function openToGroup(path: string, gid: number): void {
  const directory = dirname(path);
  try {
    const { mode } = lstatSync(directory);
    if ((mode & 0o001) === 0) {
      chownSync(directory, -1, gid);
      chmodSync(directory, (mode & 0o7777) | 0o010);
    }
    chownSync(path, -1, gid);
    chmodSync(path, 0o660);
  } catch (error) {
    throw systemError(`listen at ${path}: open it to group ${gid}`, error);
  }
}

function listening(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: unknown): void => reject(systemError('listen', error));
    server.once('error', onError);
    server.once('listening', () => {
      server.off('error', onError);
      resolve();
    });
    start();
  });
}

/** Who can make names in the directory could put a socket of his own there and answer for us. */
function prepareDirectory(directory: string, path: string): void {
  try {
    refuseWeakPlace(directory, path);
    makeDirectories(directory);
    // What was missing may have been made by somebody else meanwhile.
    refuseWeakPlace(directory, path);
    const { uid, mode } = lstatSync(directory);
    if ((uid === 0 || uid === process.getuid?.()) && (mode & 0o022) === 0) return;
  } catch (error) {
    throw systemError(`listen at ${path}`, error);
  }
  throw unsafe(path, `other users can write to ${directory}`);
}

function refuseWeakPlace(directory: string, path: string): void {
  const weak = weakPlaceOn(directory);
  if (weak !== undefined) throw unsafe(path, `another one could be put in its place at ${weak.path}: ${weak.why}`);
}

function unsafe(path: string, why: string): LarderError {
  return new LarderError('LARDER_STORE_UNSAFE', `listen at ${path}: ${why}`, {
    hint: 'name a socket in a directory of your own with --socket',
  });
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new LarderError('LARDER_FLAGS_INVALID', `listen at ${path}: there is something that is no socket`);
  if (await answers(path)) throw taken(path);
  try {
    unlinkSync(path);
  } catch (error) {
    throw systemError(`listen at ${path}: remove what a dead daemon left`, error);
  }
}

/** Whether somebody listens, who then has no lock of ours: a daemon that a service manager started. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      if (errnoOf(error) === 'ECONNREFUSED' || errnoOf(error) === 'ENOENT') resolve(false);
      else reject(systemError(`listen at ${path}`, error));
    });
  });
}

function taken(path: string): LarderError {
  return new LarderError('LARDER_STORE_LOCKED', `listen at ${path}: a daemon is there already`, {
    hint: 'end that one first, or name another place with --socket',
  });
}
