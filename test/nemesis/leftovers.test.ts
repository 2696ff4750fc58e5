/** Nothing that lies about is taken for somebody who is alive: no lock file, whatever it says, and no process id. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { openLarder } from '../../src/index.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';
import { Resident } from './resident-client.js';

describe('what dead processes left', { skip: needsRoot }, () => {
  let source: ImageSource;
  let directory: string;
  let root: string;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('image');
    source.publish('image', [sampleLayer('below'), sampleLayer('above')]);
    source.publish('other', [sampleLayer('other')]);
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(() => {
    directory = makeDirectory();
    root = join(directory, 'store');
  });
  afterEach(() => removeDirectory(directory));

  test('lock files of every kind, with the ids of processes that live and of another boot in them, hold nobody up', async () => {
    const { config, layers } = await (async () => {
      await using larder = await openLarder({ root });
      await using image = await larder.pull(reference);
      const { config, layers } = image.record;
      await larder.prune({ all: true });
      return { config, layers };
    })();
    const [digest = ''] = layers.map((layer) => layer.digest.replace(':', '-'));
    const files = [
      'lock',
      'gate',
      'metadata/writer.lock',
      `handles/${randomUUID()}`,
      `pulls/${randomUUID()}.01234567`,
      'containers/c.lock',
      `ingest/${digest}.lock`,
      `mounts/${config.replace(/^sha256:/, '')}.lock`,
    ];
    for (const name of files) {
      mkdirSync(join(root, name, '..'), { recursive: true });
      writeFileSync(join(root, name), `${process.pid} ${process.ppid} 1 boot 00000000-0000-0000-0000-000000000000\n`);
    }
    await using larder = await openLarder({ root });
    assert.deepEqual(await larder.pulls(), []);
    await larder.provision(reference, { id: 'c' });
    await larder.destroy('c');
    await larder.recover([]);
    await larder.prune({ all: true });
    for await (const { kind, subject } of larder.check({ deep: true })) assert.notEqual(kind, 'fault', subject);
    assert.deepEqual(larder.images(), []);
  });

  test('a lease of a process that was killed does not live on in another of the same process id', async () => {
    const dead = await Resident.start(root);
    await dead.result({ what: 'hold', reference });
    await dead.kill();
    // In its own namespace it is process 1, as the dead one was in its own.
    await using alive = await Resident.start(root);
    await alive.result({ what: 'hold', reference: source.reference('other') });
    await using larder = await openLarder({ root });
    const layers = larder.images().flatMap(({ reference: name }) => name);
    assert.equal(layers.length, 2);
    const { images } = await larder.prune({ all: true });
    assert.deepEqual(
      images.map((name) => name.includes('/image:')),
      [true],
    );
    assert.equal(larder.images().length, 1);
    assert.ok(existsSync(join(root, 'handles')));
    assert.equal((await alive.ask({ what: 'check' })).code, undefined);
  });
});
