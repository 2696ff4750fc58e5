import { join } from 'node:path';
import type { Layout } from '../layout.js';
import { mountNamesBelow } from '../linux/mountinfo.js';

/**
 * Unmounts what killed processes left mounted where only files may be: backends are tried out in `staging/`, and what is
 * there may have been renamed into `gc/` since. Before either is cleared, or the clearing would go through the mount.
 */
export async function unmountAbandoned(layout: Layout, isAlive: (handle: string) => boolean): Promise<void> {
  if (process.platform !== 'linux') return;
  const abandoned = [layout.staging, layout.gc].flatMap((directory) =>
    mountNamesBelow(directory)
      .filter((name) => directory === layout.gc || !isAlive(handleOf(name)))
      .map((name) => join(directory, name)),
  );
  if (abandoned.length === 0) return;
  const { unmountTree } = await import('../linux/unmount-tree.js');
  for (const path of abandoned.reverse()) unmountTree(path);
}

/** `staging/<handle>.<random>/…` */
function handleOf(path: string): string {
  return path.split('/', 1)[0]?.split('.', 1)[0] ?? '';
}
