/**
 * ▸ Makes a directory and those above it that are missing. Not by Node's `recursive`, which answers ENOENT where a full
 * or read-only disk was the reason.
 */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, systemError } from '../errors.js';

/** Nothing is durable by it. True when the directory was not there. Throws LARDER_NO_SPACE, LARDER_PERMISSION. */
export function makeDirectories(path: string, mode = 0o700): boolean {
  try {
    return makeOne(path, mode);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || dirname(path) === path) throw systemError(`create directory ${path}`, error);
  }
  makeDirectories(dirname(path), mode);
  try {
    return makeOne(path, mode);
  } catch (error) {
    throw systemError(`create directory ${path}`, error);
  }
}

function makeOne(path: string, mode: number): boolean {
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST' && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return false;
    throw error;
  }
}
