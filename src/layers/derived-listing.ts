/** What lies under `derived/`, for prune: it goes by the disk, not by what it remembers. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, systemError } from '../errors.js';
import type { Layout } from '../layout.js';
import type { DerivedRecord } from '../metadata/records.js';

export interface DerivedSource {
  readonly layout: Layout;
  readonly derived: { list(kind: DerivedRecord['kind']): readonly DerivedRecord[] };
}

/** The store's `DerivedFiles`: what is under derived/<format>/`kind`/, recorded or not. */
export function derivedFiles(
  { layout, derived }: DerivedSource,
  kind: 'merged' | 'chains',
  retire: (...keys: readonly string[]) => Promise<boolean>,
) {
  const directory = join(layout.derived, kind);
  return {
    retire,
    list: async () => {
      const recorded = new Map(
        derived.list(kind === 'merged' ? 'merged' : 'chain').map(({ key, size }) => [key, size]),
      );
      const found = [];
      for (const name of await namesIn(directory)) {
        const key = /^([0-9a-f]{64})(?:\.erofs)?$/.exec(name)?.[1];
        if (key !== undefined) found.push({ key, size: recorded.get(key) ?? (await stat(join(directory, name))).size });
      }
      return found;
    },
  };
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw systemError(`list ${path}`, error);
  }
}
