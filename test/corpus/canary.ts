/** ▸ Files that nobody may touch, beside the store, and a look at everything about them. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/** What no peer's file is called, so that a relative name that climbs too far meets nothing. */
export const VICTIM = 'larder-victim';

export class Canary {
  /** Everything in it but `free` is looked at. */
  readonly directory: string;
  readonly victim: string;
  readonly #free: ReadonlySet<string>;
  #seen: ReadonlyMap<string, string>;

  /** `free` names what may change: the store, and what images are pulled from. */
  constructor(directory: string, free: readonly string[]) {
    this.directory = directory;
    this.victim = join(directory, VICTIM);
    this.#free = new Set(free);
    makeVictim(this.victim);
    for (const name of free) mkdirSync(join(directory, name), { mode: 0o700 });
    this.#seen = this.#look();
  }

  /** What is not as it was at the last look, one line each. */
  changes(): string[] {
    const before = this.#seen;
    this.#seen = this.#look();
    const paths = new Set([...before.keys(), ...this.#seen.keys()]);
    return [...paths]
      .filter((path) => before.get(path) !== this.#seen.get(path))
      .map((path) => `${path}: was ${before.get(path) ?? 'missing'}, is ${this.#seen.get(path) ?? 'missing'}`);
  }

  #look(): ReadonlyMap<string, string> {
    const seen = new Map<string, string>();
    const visit = (path: string): void => {
      const stats = lstatSync(path, { bigint: true });
      const { ino, mode, uid, gid, nlink, size, mtimeNs, ctimeNs } = stats;
      // The free directories come and go in this one.
      const times = path === this.directory ? [] : [nlink, size, mtimeNs, ctimeNs];
      const text = stats.isFile() ? sha256(path) : stats.isSymbolicLink() ? readlinkSync(path) : '';
      seen.set(path, [ino, mode.toString(8), uid, gid, ...times, text].join(' '));
      if (!stats.isDirectory()) return;
      for (const name of readdirSync(path)) {
        if (path !== this.directory || !this.#free.has(name)) visit(join(path, name));
      }
    };
    visit(this.directory);
    return seen;
  }
}

function makeVictim(victim: string): void {
  mkdirSync(join(victim, 'dir'), { recursive: true, mode: 0o755 });
  writeFileSync(join(victim, 'secret'), 'the secret', { mode: 0o600 });
  writeFileSync(join(victim, 'readonly'), 'to read only', { mode: 0o400 });
  writeFileSync(join(victim, 'program'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(join(victim, 'dir', 'kept'), 'kept');
  symlinkSync('dir', join(victim, 'link'));
  execFileSync('mkfifo', [join(victim, 'fifo')]);
  chmodSync(join(victim, 'dir'), 0o700);
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
