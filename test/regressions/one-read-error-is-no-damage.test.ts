import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const SOURCE = new URL('../../src/larder.js', import.meta.url).href;
/** Reads all of the database, as `repair` does, and tells which error there was. */
const OPEN = `
  const { openLarder } = await import(${JSON.stringify(SOURCE)});
  await openLarder({ root: process.argv[1] }, { thorough: true }).then((larder) => larder.close()).catch(({ code }) => console.log(code));`;

const canInject = spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0;

test('a page that the disk fails to give once is no reason to move a database away', {
  skip: canInject ? false : 'needs strace',
}, async () => {
  const directory = makeDirectory();
  const root = join(directory, 'store');
  const database = join(root, 'metadata', 'larder.db');
  try {
    await using source = await ImageSource.start();
    source.publish('image', [sampleLayer('image')]);
    {
      await using larder = await openLarder({ root });
      await (await larder.pull(source.reference('image')))[Symbol.asyncDispose]();
    }
    const { ino } = statSync(database);
    for (const nth of [4, 6, 9, 12, 15, 20]) {
      const inject = ['-f', '-qq', '-o', '/dev/null', '-P', database, '-e', `inject=pread64:error=EIO:when=${nth}`];
      const { stdout, stderr } = spawnSync(
        'strace',
        [...inject, process.execPath, '--input-type=module', '-e', OPEN, root],
        {
          encoding: 'utf8',
        },
      );
      assert.equal(stderr, '', `read ${nth}`);
      assert.ok(['', 'LARDER_INTERNAL\n'].includes(stdout), `read ${nth}: ${stdout}`);
      assert.equal(statSync(database).ino, ino, `read ${nth}`);
      assert.deepEqual(
        readdirSync(join(root, 'metadata')).filter((name) => /^(?:damaged|rebuilding)-/.test(name)),
        [],
      );
    }
  } finally {
    removeDirectory(directory);
  }
});
