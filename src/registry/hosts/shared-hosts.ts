/**
 * What the processes of a store tell each other about hosts: one small file for each host that lately failed or asked to
 * be left alone. Advice only: nothing waits for its disk, whoever cannot read it knows what it knows itself, and of two
 * that write at once one wins. A host's name and two instants are in it, and nothing of any user.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { errnoOf, isLarderError } from '../../errors.js';
import type { Layout } from '../../layout.js';
import { digestOf } from '../../spec/digest.js';
import { parseJson } from '../../spec/json.js';

/** On the clock of the wall, which all processes have in common; milliseconds since 1970. */
export interface SharedHealth {
  readonly restsUntil: number;
  readonly pausedUntil: number;
  /** In a row, so that each rest is longer. */
  readonly failures: number;
}

/** Hosts are named by images and by other hosts; nobody fills the disk with them. */
const MAX_FILES = 1000;
const MAX_BYTES = 1024;
/** Nothing in a file counts for longer than this. */
const STALE_MS = 15 * 60_000;
const MAX_FAILURES = 16;

export class SharedHosts {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Undefined where nobody has said anything that can be read. Never throws: what is there may be anything. */
  read(host: string): SharedHealth | undefined {
    try {
      return parseHealth(host, readSmall(this.#pathOf(host)));
    } catch (error) {
      // Whoever could not write has told so; a file that is none of ours, or that is not there, says nothing.
      if (errnoOf(error) !== undefined || isLarderError(error)) return undefined;
      throw error;
    }
  }

  /** Throws the system's error. Seen whole or not at all; not synced, since it is of no use after a crash. */
  write(host: string, health: SharedHealth): void {
    const path = this.#pathOf(host);
    if (!exists(path)) this.#makeRoom();
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      writeFileSync(temporary, JSON.stringify({ host, ...health }), { mode: 0o600, flag: 'wx' });
      renameSync(temporary, path);
    } catch (error) {
      removeQuietly(temporary);
      throw error;
    }
  }

  #pathOf(host: string): string {
    return this.#layout.host(digestOf(Buffer.from(host)));
  }

  #makeRoom(): void {
    const directory = this.#layout.hosts;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const names = readdirSync(directory);
    const stale = names.filter((name) => ageMs(join(directory, name)) > STALE_MS);
    for (const name of stale) removeQuietly(join(directory, name));
    if (names.length - stale.length < MAX_FILES) return;
    throw Object.assign(new Error(`${MAX_FILES} hosts are known already`), { code: 'ENOSPC' });
  }
}

function parseHealth(host: string, bytes: Uint8Array): SharedHealth | undefined {
  const value = parseJson(bytes, {
    doing: 'read what is known of a host',
    maxBytes: MAX_BYTES,
    code: 'LARDER_INTERNAL',
  });
  if (typeof value !== 'object' || value === null) return undefined;
  const { host: name, restsUntil, pausedUntil, failures } = value as Readonly<Record<string, unknown>>;
  if (name !== host || !isInstant(restsUntil) || !isInstant(pausedUntil) || !isInstant(failures)) return undefined;
  return { restsUntil, pausedUntil, failures: Math.min(failures, MAX_FAILURES) };
}

function isInstant(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** Never waits: what is no plain file gives nothing or an error. */
function readSmall(path: string): Uint8Array {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const bytes = Buffer.alloc(MAX_BYTES + 1);
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(fd);
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Of what is gone: 0. Of what is from the future, as after a jump of the clock: as old as can be. */
function ageMs(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  const age = Date.now() - stat.mtimeMs;
  return age < -STALE_MS ? Number.POSITIVE_INFINITY : age;
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Another process was faster, or it was never made; what is left goes when it is stale.
  }
}
