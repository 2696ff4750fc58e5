import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { promises, renameSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { WorkerPool } from '../../src/workers/pool.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const { run } = WorkerPool.prototype;

afterEach(() => {
  WorkerPool.prototype.run = run;
});

for (const nth of [1, 2]) {
  it(`an ACI whose successor comes in front of look ${nth} at it is pulled as that`, async () => {
    const directory = makeDirectory();
    const { stat } = promises;
    try {
      const [old, next] = [20_000, 60_000].map((size) =>
        buildAci({ name: 'example.com/app', files: { file: randomBytes(size) } }),
      );
      assert.ok(old !== undefined && next !== undefined);
      const acis = join(directory, 'acis');
      const [path = ''] = writeAciDirectory(acis, [old]);
      writeFileSync(`${path}.next`, next.bytes);
      let looks = 0;
      promises.stat = (async (...given: Parameters<typeof stat>) => {
        if (given[0] === path && ++looks === nth) renameSync(`${path}.next`, path);
        return stat(...given);
      }) as typeof stat;
      syncBuiltinESMExports();
      await using larder = await openLarder({
        root: join(directory, 'store'),
        appc_simple_discovery_uri_prefix: `${acis}/`,
      });
      await using image = await larder.pull('appc:example.com/app');
      assert.ok(looks >= nth);
      assert.equal(image.imageId, next.id);
    } finally {
      promises.stat = stat;
      syncBuiltinESMExports();
      removeDirectory(directory);
    }
  });
}

it('an ACI in a directory that gets a successor while it is pulled is pulled as that', async () => {
  const directory = makeDirectory();
  try {
    const [old, next] = ['old', 'next, and longer than the one before'].map((text) =>
      buildAci({
        name: 'example.com/app',
        files: { file: text },
        compression: 'none',
        annotations: { text: text.repeat(40) },
      }),
    );
    assert.ok(old !== undefined && next !== undefined);
    const acis = join(directory, 'acis');
    const [path = ''] = writeAciDirectory(acis, [old]);
    writeFileSync(`${path}.next`, next.bytes);
    WorkerPool.prototype.run = async function <T>(this: WorkerPool, ...given: Parameters<typeof run>): Promise<T> {
      if (given[0] === 'layer') {
        WorkerPool.prototype.run = run;
        renameSync(`${path}.next`, path);
      }
      return run.apply(this, given) as Promise<T>;
    };
    await using larder = await openLarder({
      root: join(directory, 'store'),
      appc_simple_discovery_uri_prefix: `${acis}/`,
    });
    await using image = await larder.pull('appc:example.com/app');
    assert.equal(image.imageId, next.id);
  } finally {
    removeDirectory(directory);
  }
});
