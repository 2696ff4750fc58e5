/**
 * Writes every case that has names, links or attributes of its own as files, in a canary tree: `node naive-child.js CANARY
 * BACKEND…`. Answers JSON, a line for each. None of their names leads anywhere but to the victim, also where nothing
 * holds them back.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { RunTask } from '../../src/backends/tasks.js';
import { isLarderError } from '../../src/errors.js';
import { StoredLayers } from '../../src/testing/stored-layers.js';
import { WorkerPool } from '../../src/workers/pool.js';
import { KINDS, type Kind, makeBackend } from '../backends/store-fixture.js';
import { Canary } from './canary.js';
import type { LayerCase } from './case.js';
import { combinations } from './combinations.js';
import { inodeCases } from './inodes.js';
import { nameCases } from './names.js';
import { streamCases } from './streams.js';

export interface NaiveOutcome {
  readonly id: string;
  readonly what: string;
  readonly backend: string;
  /** `ok`, or why it failed. */
  readonly outcome: string;
  readonly changes: readonly string[];
}

const [, , place = '', ...backends] = process.argv;
const canary = new Canary(place, ['store']);
const pool = new WorkerPool({ entry: new URL('../backends/worker-entry.js', import.meta.url), size: 1 });
const run: RunTask = (name, data, control = {}) => pool.run(name, data, control);
const layers = new StoredLayers(join(place, 'store'));

/** Of the others only those about names: the rest are sizes, and bytes around a tar. */
const longNames = streamCases.filter(({ id }) => ['T76', 'T77', 'T78', 'T90'].includes(id));
const cases = [...nameCases, ...inodeCases, ...combinations, ...longNames];

let number = 0;
for (const one of cases) {
  for (const backend of KINDS.filter((kind) => backends.includes(kind))) {
    const outcome = await write(one, backend);
    const line: NaiveOutcome = { id: one.id, what: one.what, backend, outcome, changes: canary.changes() };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}
await pool.close();

async function write(one: LayerCase, kind: Kind): Promise<string> {
  // As deep as in a store: containers/<id>/rootfs.
  const backendDir = join(place, 'store', 'containers', `c${number++}`);
  mkdirSync(backendDir, { recursive: true, mode: 0o700 });
  const rootfs = join(backendDir, 'rootfs');
  const backend = makeBackend(kind, layers.layout, layers, () => {}, run);
  try {
    const paths = one.layers({ victim: canary.victim, at: (path) => path }).map((tar) => layers.add(tar));
    await backend.provision(paths, rootfs, backendDir);
    return 'ok';
  } catch (error) {
    if (isLarderError(error)) return error.message;
    throw error;
  } finally {
    await backend.destroy(rootfs, backendDir);
  }
}
