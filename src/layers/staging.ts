/**
 * One pull's workbench: `staging/<handle>.<random>/`. The name says which store handle made it, so that whoever finds
 * it can tell whether anybody still works there. Nothing refers into it (I6): removing it at any moment is safe.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, systemError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { namesIn } from '../linux/names-in.js';
import { type DiffId, type Digest, hexOf } from '../spec/digest.js';

const OWNED = /^([A-Za-z0-9_-]{1,64})\.[0-9a-f]{16}$/;

export class Staging implements AsyncDisposable {
  readonly path: string;
  readonly #onEvent: OnEvent | undefined;

  constructor(path: string, onEvent?: OnEvent) {
    this.path = path;
    this.#onEvent = onEvent;
  }

  /** Where one layer is worked on: pure, the task makes it. */
  outDir(of: Digest | DiffId): string {
    return join(this.path, hexOf(of));
  }

  /** Removes it with all that was not adopted. What cannot be removed is reported and left to the next recovery. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await rm(this.path, { recursive: true, force: true });
    } catch (error) {
      this.#onEvent?.({ type: 'warning', message: systemError(`remove staging: ${this.path}`, error).message });
    }
  }
}

/** Makes an empty one under `area`, which is there. */
export async function createStaging(area: string, handle: string, onEvent?: OnEvent): Promise<Staging> {
  const path = join(area, `${handle}.${randomBytes(8).toString('hex')}`);
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    throw systemError(`create staging: ${path}`, error);
  }
  return new Staging(path, onEvent);
}

/** What a job that failed has staged. The error that is told counts: what cannot be removed now goes with the workbench. */
export function removeStaged(outDir: string): void {
  try {
    for (const part of ['layer', 'derived']) rmSync(join(outDir, part), { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

/** Paths under `area` whose owner is not alive, and such as no store handle can have made. */
export async function abandonedStagings(
  area: string,
  isAlive: (handle: string) => Promise<boolean>,
): Promise<string[]> {
  const abandoned: string[] = [];
  for (const name of await namesIn(area)) {
    const handle = OWNED.exec(name)?.[1];
    if (handle === undefined || !(await isAlive(handle))) abandoned.push(join(area, name));
  }
  return abandoned;
}
