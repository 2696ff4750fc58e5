/** What lies under `derived/`, for prune: it goes by the disk, not by what it remembers. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, systemError } from '../errors.js';
import type { Layout } from '../layout.js';
import type { DerivedRecord } from '../metadata/records.js';

/** Something derived, by key. */
export interface DerivedFiles {
  list(): Promise<readonly { readonly key: string; readonly size: number }[]>;
  /** Under the exclusive store lock: the record goes, the file is renamed into gc/. False when there was nothing. */
  retire(key: string): Promise<boolean>;
}

export interface DerivedSource {
  readonly layout: Layout;
  readonly derived: { list(kind: DerivedRecord['kind']): readonly DerivedRecord[] };
}

/** What is under derived/<format>/`kind`/, recorded or not. */
export function derivedFiles(
  { layout, derived }: DerivedSource,
  kind: 'merged' | 'chains',
  retire: (key: string) => Promise<boolean>,
): DerivedFiles {
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
