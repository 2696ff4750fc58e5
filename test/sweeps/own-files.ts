/** What this process has open below a directory. */
import { readdirSync, readlinkSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

/**
 * SQLite's files are closed when its statements are collected, where Node has no SQLite of its own: unless `thorough`,
 * they are left out.
 */
export async function openBelow(directory: string, thorough: boolean): Promise<readonly string[]> {
  if (!thorough) return list(directory).filter((path) => !SQLITE.test(path));
  for (let i = 0; i < 5 && list(directory).length > 0; i++) {
    collectGarbage();
    await turn();
  }
  return list(directory);
}

const SQLITE = /\/metadata\/(?:[^/]*\/)?larder\.db[^/]*$/;

function list(directory: string): string[] {
  return readdirSync('/proc/self/fd')
    .map((fd) => linkOf(`/proc/self/fd/${fd}`))
    .filter((path) => path.startsWith(`${directory}/`));
}

/** Empty for the descriptor by which the list itself is read. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
