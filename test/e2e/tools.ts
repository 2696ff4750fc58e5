/** What a test needs of the machine. Each answers node:test's `skip`: false, or the reason. */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

export function needs(...programs: readonly string[]): string | false {
  const missing = programs.filter((program) => !isInstalled(program));
  return missing.length === 0 ? false : `needs ${missing.join(', ')}`;
}

export function needsRoot(...programs: readonly string[]): string | false {
  return process.getuid?.() === 0 ? needs(...programs) : 'needs root';
}

function isInstalled(program: string): boolean {
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  return path.split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
