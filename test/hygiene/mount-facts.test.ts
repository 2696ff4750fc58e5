/** What overlayfs and EROFS do by themselves otherwise, and what a container must not notice of it. */
import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Larder, openLarder } from '../../src/index.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { dir, file, hardlink, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

const LARGE = 8 * 2 ** 20;

describe('a container on erofs', { skip: needsRoot }, () => {
  let source: ImageSource;
  let directory: string;
  let larder: Larder;
  let rootfs: string;

  before(async () => {
    source = await ImageSource.start();
    source.publish('a', [
      tar([
        dir('d'),
        file('d/in', 'in'),
        file('one', 'one'),
        hardlink('two', 'one'),
        file('large', Buffer.alloc(LARGE, 1)),
      ]),
    ]);
    directory = makeDirectory();
    // Strings of 256 bytes and more the kernel takes for no path.
    larder = await openLarder({ root: join(directory, 'x'.repeat(200), 'y'.repeat(200)) });
    ({ rootfs } = await larder.provision(source.reference('a'), { id: 'c', backend: 'erofs' }));
  });
  after(async () => {
    await larder?.destroy('c');
    await larder?.close();
    if (directory !== undefined) removeDirectory(directory);
    await source?.[Symbol.asyncDispose]();
  });

  test('may be in a store whose path the kernel would not take as an option, on each backend that mounts', async () => {
    assert.ok(rootfs.length > 400);
    for (const backend of ['overlay', 'bind'] as const) {
      const made = await larder.provision(source.reference('a'), { id: backend, backend });
      assert.equal(readFileSync(join(made.rootfs, 'one'), 'utf8'), 'one');
      await larder.destroy(backend);
    }
  });

  test('sees one device: files and directories, before and after they are changed', () => {
    const { dev } = statSync(rootfs);
    assert.equal(statSync(join(rootfs, 'one')).dev, dev);
    appendFileSync(join(rootfs, 'd/in'), '!');
    assert.equal(statSync(join(rootfs, 'd/in')).dev, dev);
  });

  test('keeps the names of one file together when it is changed, and its inode number', () => {
    const { ino } = statSync(join(rootfs, 'one'));
    writeFileSync(join(rootfs, 'one'), 'changed');
    assert.equal(readFileSync(join(rootfs, 'two'), 'utf8'), 'changed');
    assert.deepEqual([statSync(join(rootfs, 'two')).nlink, statSync(join(rootfs, 'two')).ino], [2, ino]);
  });

  test('renames a directory of the image', () => {
    renameSync(join(rootfs, 'd'), join(rootfs, 'renamed'));
    assert.deepEqual(readdirSync(join(rootfs, 'renamed')), ['in']);
  });

  test('changes the mode of a large file without a copy of it', () => {
    chmodSync(join(rootfs, 'large'), 0o600);
    const upper = statSync(join(rootfs, '..', 'upper', 'large'));
    assert.equal(upper.mode & 0o777, 0o600);
    assert.ok(upper.blocks * 512 < LARGE / 2, `${upper.blocks} blocks`);
    assert.ok(readFileSync(join(rootfs, 'large')).equals(Buffer.alloc(LARGE, 1)));
  });
});
