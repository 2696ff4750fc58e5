/** What a worker thread runs: the package's one file where it was built, else the modules beside this one. */
import { existsSync } from 'node:fs';

/** `from`: where this module lies; elsewhere in a bundle that somebody made of larder, whose `bin/` is none of ours. */
export function workerEntry(from: string = import.meta.url): URL {
  const modules = new URL('./assemble-worker.js', from);
  const bundled = new URL('../../bin/worker.js', from);
  return existsSync(modules) && existsSync(bundled) ? bundled : modules;
}
