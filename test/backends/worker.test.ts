import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { RunTask } from '../../src/backends/tasks.js';
import { dir, file, tar, whiteout } from '../../src/testing/tar-builder.js';
import { WorkerPool } from '../../src/workers/pool.js';
import { KINDS, makeBackend, makeStore, needsRoot } from './store-fixture.js';

describe('backends whose heavy work is done by worker threads', { skip: needsRoot }, () => {
  const pool = new WorkerPool({ entry: new URL('./worker-entry.js', import.meta.url), size: 2 });
  after(() => pool.close());

  const run: RunTask = (name, data, control = {}) => pool.run(name, data, control);

  for (const kind of KINDS) {
    it(`${kind} provisions and destroys`, async () => {
      const store = makeStore();
      try {
        const layers = [tar([dir('d'), file('d/a', 'x'), file('b')]), tar([whiteout('b')])].map((one) =>
          store.layers.add(one),
        );
        const backend = makeBackend(kind, store.layers.layout, store.layers, () => {}, run);
        const backendDir = join(store.directory, 'one');
        mkdirSync(backendDir, { mode: 0o700 });
        await backend.provision(layers, join(backendDir, 'rootfs'), backendDir);
        assert.deepEqual(readdirSync(join(backendDir, 'rootfs')), ['d']);
        assert.equal(readFileSync(join(backendDir, 'rootfs/d/a'), 'utf8'), 'x');
        assert.equal(await backend.destroy(join(backendDir, 'rootfs'), backendDir), true);
        assert.deepEqual(readdirSync(backendDir), []);
      } finally {
        store.dispose();
      }
    });
  }

  it('an error comes back as what it was', async () => {
    const data = { layers: [], chains: [{ depth: 0, directory: '/nowhere/at/all' }] };
    await assert.rejects(run('buildChains', data), { code: 'LARDER_INTERNAL', message: /open \/nowhere\/at\/all/ });
  });
});
