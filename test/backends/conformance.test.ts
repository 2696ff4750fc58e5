import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type BackendFixture, backendConformance, type Place } from '../../src/testing/conformance/backend.js';
import { listTree } from '../../src/testing/tree-digest.js';
import type { KilledJob } from './killed-child.js';
import { KINDS, type Kind, makeBackend, makeStore, needsRoot } from './store-fixture.js';

const CHILD = fileURLToPath(new URL('./killed-child.js', import.meta.url));

for (const kind of KINDS) {
  backendConformance(
    `the ${kind} backend`,
    () => fixtureOf(kind),
    (name, _, body) => test(name, { skip: needsRoot }, body),
  );
}

function fixtureOf(kind: Kind): BackendFixture {
  const store = makeStore();
  const mounts = kind !== 'copy';
  return {
    backend: makeBackend(kind, store.layers.layout, store.layers),
    directory: store.directory,
    writable: !kind.startsWith('bind'),
    mounts,
    privileged: true,
    addLayer: (tar) => store.layers.add(tar),
    layersState: () => ({
      layers: store.layers.digests(),
      derived: listTree(store.layers.layout.derived).filter(({ path }) => !path.toString().endsWith('.lock')),
    }),
    killedAt: async (what, step, place, layers) => killedAt({ kind, root: store.root, layers, what, step }, place),
    dispose: () => store.dispose(),
  };
}

function killedAt(job: Omit<KilledJob, keyof Place | 'note'>, place: Place): string | undefined {
  const note = join(job.root, 'killed-at');
  const argument: KilledJob = { ...job, ...place, note };
  const { signal, status, stderr } = spawnSync(process.execPath, [CHILD, JSON.stringify(argument)], {
    encoding: 'utf8',
  });
  if (status === 0) return undefined;
  if (signal !== 'SIGKILL') throw new Error(`the child failed: ${stderr}`);
  const name = readFileSync(note, 'utf8');
  rmSync(note);
  return name;
}
