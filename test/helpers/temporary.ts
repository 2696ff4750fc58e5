/** Directories that are gone after the test with all that is mounted in them. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mountsBelow } from '../e2e/larder.js';

export function makeDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'larder-test-'));
}

export function removeDirectory(path: string): void {
  for (const mount of mountsBelow(path).reverse()) spawnSync('umount', ['-l', mount]);
  const left = mountsBelow(path);
  if (left.length > 0) throw new Error(`${left.join(', ')}: still mounted, nothing is removed`);
  rmSync(path, { recursive: true, force: true, maxRetries: 3 });
}

/** node:test's `skip`: false, or the reason. */
export const needsRoot: string | false = process.getuid?.() === 0 ? false : 'needs root';
