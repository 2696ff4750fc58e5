import assert from 'node:assert/strict';
import { mkdirSync, promises, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

/** One descriptor too few, while a damaged database was made again, and the image had no name any more. */
describe('a database that is made again by a process which has no descriptor left', () => {
  const { open } = promises;
  let directory: string;
  let root: string;
  let source: ImageSource;

  beforeEach(async () => {
    directory = makeDirectory();
    root = join(directory, 'store');
    source = await ImageSource.start();
    source.publish('image', [sampleLayer('image')]);
    await using larder = await openLarder({ root });
    await (await larder.pull(source.reference('image')))[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    promises.open = open;
    syncBuiltinESMExports();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  const damage = (): void => {
    for (const suffix of ['-wal', '-shm']) truncateSync(join(root, 'metadata', `larder.db${suffix}`), 0);
    writeFileSync(join(root, 'metadata', 'larder.db'), 'damaged');
  };
  const namesOf = async (): Promise<readonly string[]> => {
    await using larder = await openLarder({ root });
    for await (const { kind, message } of larder.check({ deep: true })) assert.notEqual(kind, 'fault', message);
    return (await larder.images()).map(({ reference }) => reference);
  };

  it('forgets no image: it is not opened, and is whole when it is opened again', async () => {
    damage();
    let refused = 0;
    promises.open = async (path, ...more) => {
      if (!String(path).includes('/names/') || refused++ > 0) return open(path, ...more);
      throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE', errno: -24, syscall: 'open' });
    };
    syncBuiltinESMExports();
    await assert.rejects(openLarder({ root }), { code: 'LARDER_INTERNAL', details: { errno: 'EMFILE' } });
    assert.deepEqual(await namesOf(), [`${source.reference('image')}:latest`]);
    assert.ok(refused > 1);
  });

  it('goes by what can be read where something that is no file is in the place of one', async () => {
    damage();
    const names = join(root, 'metadata', 'names');
    assert.equal(readdirSync(names).length, 1);
    mkdirSync(join(names, `${'0'.repeat(64)}.json`));
    assert.deepEqual(await namesOf(), [`${source.reference('image')}:latest`]);
  });
});
