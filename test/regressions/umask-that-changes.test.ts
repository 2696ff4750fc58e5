import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openLarder } from '../../src/larder.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { file, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('a root filesystem that is copied', () => {
  const old = process.umask();
  after(() => void process.umask(old));

  it('has the modes of its image, although the application changes its umask meanwhile', async () => {
    const directory = makeDirectory();
    await using source = await ImageSource.start();
    source.publish('many', [tar(Array.from({ length: 4000 }, (_, i) => file(`f${i}`, 'x', { mode: 0o666 })))]);
    const larder = await openLarder({ root: join(directory, 'store'), image_provisioner_backend: 'copy' });
    try {
      process.umask(0);
      let isDone = false;
      const provisioning = larder.provision(source.reference('many'), { id: 'c' }).finally(() => {
        isDone = true;
      });
      for (let i = 0; !isDone; i++) {
        process.umask(i % 2 === 0 ? 0o077 : 0);
        await sleep(1);
      }
      const { rootfs } = await provisioning;
      const modes = readdirSync(rootfs).map((name) => statSync(join(rootfs, name)).mode & 0o777);
      assert.deepEqual([modes.length, ...new Set(modes)], [4000, 0o666]);
    } finally {
      await larder.close();
      removeDirectory(directory);
    }
  });
});
