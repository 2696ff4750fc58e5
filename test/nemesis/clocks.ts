/**
 * Clocks of the wall that jump by up to ten years while a process runs, one for each, through libfaketime. What only
 * goes forward is left alone, as a real clock's being set leaves it alone.
 */
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const LIBRARIES = '/usr/lib';
const SHARED_MEMORY = '/dev/shm';
const YEAR_S = 365 * 86_400;

/** Undefined where it is not installed. */
export function libfaketime(): string | undefined {
  const [found] = readdirSync(LIBRARIES)
    .map((name) => join(LIBRARIES, name, 'faketime', 'libfaketimeMT.so.1'))
    .filter((path) => existsSync(path));
  return found;
}

export class Clocks {
  readonly #directory: string;
  readonly #library = libfaketime();

  constructor(directory: string) {
    this.#directory = directory;
  }

  get canJump(): boolean {
    return this.#library !== undefined;
  }

  /** The library leaves a piece of shared memory and a semaphore behind for each process that was killed. */
  tidy(): void {
    for (const name of existsSync(SHARED_MEMORY) ? readdirSync(SHARED_MEMORY) : []) {
      const [, pid] = /^(?:sem\.)?faketime_(?:shm|sem)_(\d+)$/.exec(name) ?? [];
      if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(SHARED_MEMORY, name), { force: true });
    }
  }

  /** For the process that shall live by this clock. */
  environmentOf(clock: number): Readonly<Record<string, string>> {
    if (this.#library === undefined) return {};
    if (!existsSync(this.#pathOf(clock))) this.set(clock, 0);
    return {
      LD_PRELOAD: this.#library,
      FAKETIME_TIMESTAMP_FILE: this.#pathOf(clock),
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      // Seconds, by the true clock.
      FAKETIME_CACHE_DURATION: '1',
    };
  }

  /** Ten years there or back, a little, or the right time again. */
  jump(clock: number, random: (below: number) => number): void {
    const jumps = [0, 10 * YEAR_S, -10 * YEAR_S, random(YEAR_S) - YEAR_S / 2, random(600) - 300];
    this.set(clock, jumps[random(jumps.length)] ?? 0);
  }

  set(clock: number, seconds: number): void {
    const path = this.#pathOf(clock);
    writeFileSync(`${path}.new`, `${seconds < 0 ? '-' : '+'}${Math.abs(seconds)}\n`);
    renameSync(`${path}.new`, path);
  }

  #pathOf(clock: number): string {
    return join(this.#directory, `clock-${clock}`);
  }
}
