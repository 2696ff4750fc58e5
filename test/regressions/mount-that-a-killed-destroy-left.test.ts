import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Assembly } from '../../src/assemble.js';
import { configOf } from '../../src/config.js';
import { parseImageGcConfig } from '../../src/config-documents.js';
import { Larder } from '../../src/larder.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { unmountTree } from '../../src/linux/unmount-tree.js';
import { parseContainerId } from '../../src/spec/container-id.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

test('a collection unmounts an image that no container uses: its deleted layers would keep their blocks', {
  skip: needsRoot,
}, async () => {
  const root = join(makeDirectory(), 'store');
  await using source = await ImageSource.start();
  source.publish('image', [sampleLayer('image', 1_000_000)]);
  const assembly = await Assembly.open(configOf({ root }));
  const larder = new Larder(assembly);
  try {
    const { rootfs } = await larder.provision(source.reference('image'), { id: 'c', backend: 'erofs' });
    // What a process that is killed between these two steps leaves: no claim, and the image still mounted.
    unmountTree(rootfs);
    await assembly.claims.remove(parseContainerId('c'));
    assert.equal(mountsUnder(join(root, 'mounts')).length, 1);
    const limits = parseImageGcConfig({ store_max_bytes: 1 }, 'test');
    await larder.collectGarbage({ config: limits, dryRun: true });
    assert.equal(mountsUnder(join(root, 'mounts')).length, 1);
    await larder.collectGarbage({ config: limits });
    assert.deepEqual(mountsUnder(join(root, 'mounts')), []);
    assert.deepEqual(larder.images(), []);
    await larder.destroy('c');
    for await (const { subject, message } of larder.check({ deep: true })) assert.fail(`${subject}: ${message}`);
  } finally {
    await larder.close();
    removeDirectory(join(root, '..'));
  }
});
