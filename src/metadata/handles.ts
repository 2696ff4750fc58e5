/**
 * Who is alive. Each open store handle keeps handles/<id> locked; the kernel unlocks it when the process ends, however
 * it ends. No clock, no process id and no boot id takes part, so nothing can be mistaken for alive or for dead.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LarderError, systemError } from '../errors.js';
import type { Layout } from '../layout.js';
import { ensureDirectory, unlinkIfThere } from '../linux/durable.js';
import { type FileLock, tryLockFile } from '../linux/file-lock.js';

const HANDLE_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export interface StoreHandle {
  readonly id: string;
  /** Ends the handle: what it held counts no more. Idempotent. */
  close(): void;
  [Symbol.dispose](): void;
}

/** Rejects with LARDER_NO_SPACE, LARDER_PERMISSION, LARDER_BACKEND_UNAVAILABLE. */
export async function openHandle(layout: Layout): Promise<StoreHandle> {
  await ensureDirectory(layout.handles, 0o700);
  const { id, lock } = await lockNew(layout);
  const close = (): void => lock.release({ unlink: true });
  return { id, close, [Symbol.dispose]: close };
}

/** Whether the handle is open, in this process or in any other. */
export function isHandleAlive(layout: Layout, id: string): boolean {
  if (!HANDLE_ID.test(id)) return false;
  const path = join(layout.handles, id);
  const lock = tryLockFile(path, 'shared', { create: false });
  lock?.release();
  return lock === undefined && existsSync(path);
}

/** Removes the files of handles that are no longer open; how many there were. */
export async function removeDeadHandles(layout: Layout): Promise<number> {
  const names = await readdir(layout.handles).catch((error: unknown) => {
    throw systemError(`list ${layout.handles}`, error);
  });
  const dead = names
    .filter((name) => HANDLE_ID.test(name))
    .map((name) => tryLockFile(join(layout.handles, name), 'exclusive', { create: false }))
    .filter((lock) => lock !== undefined);
  for (const lock of dead) lock.release({ unlink: true });
  return dead.length;
}

/**
 * Who looks whether it is alive has it locked for an instant, which is long where the kernel lets others run meanwhile.
 * Nobody waits for that: another one is as good.
 */
async function lockNew(layout: Layout): Promise<{ readonly id: string; readonly lock: FileLock }> {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const id = randomUUID();
    const path = join(layout.handles, id);
    const lock = tryLockFile(path, 'exclusive');
    if (lock !== undefined) return { id, lock };
    await unlinkIfThere(path);
  }
  throw new LarderError(
    'LARDER_STORE_LOCKED',
    `open handle: other programs keep each new file in ${layout.handles} locked`,
  );
}
