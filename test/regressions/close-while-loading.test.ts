import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openLarder } from '../../src/larder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const POOL = new URL('../../src/workers/pool.js', import.meta.url).href;
const ENTRY = new URL('../../src/assemble-worker.js', import.meta.url).href;

/** Closes pools whose threads are loading the decoder, at every moment of that. */
const SCRIPT = `
  import { WorkerPool } from ${JSON.stringify(POOL)};
  for (let i = 0; i < 80; i++) {
    const pool = new WorkerPool({ entry: new URL(${JSON.stringify(ENTRY)}), size: 2 });
    pool.warm(2, 'prepare');
    await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 70));
    await pool.close();
  }`;

it('does not take the process along when a pool is closed while its threads load native code', () => {
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', SCRIPT], { encoding: 'utf8' });
  assert.deepEqual([child.status, child.signal, child.stderr], [0, null, '']);
});

it('leaves no file of the layer open when a store is closed in the midst of a pull', async () => {
  const directory = makeDirectory();
  await using source = await ImageSource.start();
  source.publish('image', [sampleLayer('image', 3_000_000)]);
  source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 1_500_000 } : undefined));
  try {
    const larder = await openLarder({ root: directory });
    const begun = new Promise<void>((resolve) => {
      const onEvent = (event: { readonly type: string }): void => {
        if (event.type === 'layer-progress') resolve();
      };
      larder.pull(source.reference('image'), { onEvent }).then(
        () => assert.fail('it was pulled'),
        () => {},
      );
    });
    await begun;
    await sleep(300);
    await larder.close();
    assert.deepEqual(
      openBelow(directory).filter((path) => /layer\.tar|data$/.test(path)),
      [],
    );
  } finally {
    removeDirectory(directory);
  }
});

function openBelow(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(directory) ? [path] : [];
    } catch {
      // The one that listed the directory.
      return [];
    }
  });
}
