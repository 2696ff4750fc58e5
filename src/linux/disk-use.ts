/** What lies below a directory, as du(1) counts it: blocks in use, nothing behind another mount, links never followed. */
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { errnoOf, systemError } from '../errors.js';

const BLOCK = 512;

/** Bytes; 0 when there is nothing. A directory itself does not count, nor does what goes away meanwhile. */
export async function diskUse(path: string): Promise<number> {
  const top = await statOf(Buffer.from(path));
  if (top === undefined) return 0;
  const linked = new Set<number>();
  let bytes = top.isDirectory() ? 0 : top.blocks * BLOCK;
  const pending = top.isDirectory() ? [Buffer.from(path)] : [];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const name of await namesIn(directory)) {
      const child = Buffer.concat([directory, Buffer.from('/'), name]);
      const stats = await statOf(child);
      if (stats === undefined || stats.dev !== top.dev) continue;
      if (stats.nlink > 1 && !stats.isDirectory()) {
        if (linked.has(stats.ino)) continue;
        linked.add(stats.ino);
      }
      bytes += stats.blocks * BLOCK;
      if (stats.isDirectory()) pending.push(child);
    }
  }
  return bytes;
}

async function namesIn(directory: Buffer): Promise<Buffer[]> {
  try {
    return await readdir(directory, { encoding: 'buffer' });
  } catch (error) {
    if (isGone(error)) return [];
    throw systemError(`measure ${directory.toString()}`, error);
  }
}

async function statOf(path: Buffer): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw systemError(`measure ${path.toString()}`, error);
  }
}

function isGone(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR';
}
