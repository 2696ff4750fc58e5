import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

it('an image whose files could not be opened lets go of what it holds, quietly', async () => {
  const directory = makeDirectory();
  await using source = await ImageSource.start();
  try {
    source.publish('image', [sampleLayer('image')]);
    await using larder = await openLarder({ root: join(directory, 'store') });
    const image = await larder.pull(source.reference('image'));
    rmSync(join(larder.root, 'derived'), { recursive: true });
    rmSync(join(larder.root, 'layers', 'sha256', image.record.layers[0]?.diffId.slice(7) ?? ''), { recursive: true });
    await assert.rejects(image.fs.readFile('/image'), { code: 'LARDER_PATH_NOT_FOUND' });
    await image[Symbol.asyncDispose]();
    await larder.prune();
    assert.deepEqual(larder.images(), []);
  } finally {
    removeDirectory(directory);
  }
});
