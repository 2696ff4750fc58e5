/** What a worker thread runs: the package's one file where it was built, else the modules beside this one. */
import { existsSync } from 'node:fs';

export function workerEntry(): URL {
  const bundled = new URL('../../bin/worker.js', import.meta.url);
  return existsSync(bundled) ? bundled : new URL('./assemble-worker.js', import.meta.url);
}
