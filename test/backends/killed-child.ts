/** Provisions or destroys, and kills itself at the step with the given number: argv is a JSON text, see `KilledJob`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StoredLayers } from '../../src/testing/stored-layers.js';
import type { Kind } from './store-fixture.js';
import { makeBackend } from './store-fixture.js';

export interface KilledJob {
  readonly kind: Kind;
  readonly root: string;
  readonly layers: readonly string[];
  readonly what: 'provision' | 'destroy';
  readonly step: number;
  readonly rootfs: string;
  readonly backendDir: string;
  /** Where the name of the step is left. */
  readonly note: string;
}

const job: KilledJob = JSON.parse(process.argv[2] ?? '');
const layers = new StoredLayers(job.root);
for (const path of job.layers) layers.add(readFileSync(join(path, 'layer.tar')));

let count = 0;
const backend = makeBackend(job.kind, layers.layout, layers, (name) => {
  if (count++ !== job.step) return;
  writeFileSync(job.note, name);
  process.kill(process.pid, 'SIGKILL');
});

if (job.what === 'provision') await backend.provision(job.layers, job.rootfs, job.backendDir);
else await backend.destroy(job.rootfs, job.backendDir);
