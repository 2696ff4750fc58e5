import { readdirSync, statSync } from 'node:fs';
import { errnoOf, systemError } from '../../errors.js';

/** Whether it is there and is one; links are followed. Throws as `systemError` where that cannot be told. */
export function isDirectory(path: string): boolean {
  return look(path)?.isDirectory() === true;
}

/** The same for a place that nobody named: what is shut to us is not there for us. */
export function isOpenDirectory(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errnoOf(error) ?? '')) return false;
    throw systemError(`registry hosts: ${path}`, error);
  }
}

/** Whether something other than a directory is there. Throws as `systemError` where that cannot be told. */
export function isFile(path: string): boolean {
  return look(path)?.isDirectory() === false;
}

/** Names in alphanumerical order; none where there is no such directory. Throws as `systemError`. */
export function namesIn(path: string): readonly string[] {
  return quietly(path, () => readdirSync(path).sort()) ?? [];
}

function look(path: string) {
  return quietly(path, () => statSync(path));
}

function quietly<T>(path: string, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw systemError(`registry hosts: ${path}`, error);
  }
}
