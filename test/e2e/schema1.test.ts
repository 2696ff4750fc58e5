/** Schema 1 from a real registry, which verifies the signature when it is pushed and signs anew when it is pulled. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildSchema1Image } from '../../src/testing/schema1-builder.js';
import { dir, file, tar, whiteout } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { DockerRegistry } from './docker-registry.js';
import { TestStore } from './larder.js';
import { needs } from './tools.js';

describe('a schema 1 image in docker-registry', { skip: needs('docker-registry', 'skopeo') }, () => {
  const directory = makeDirectory();
  const image = buildSchema1Image({
    name: 'team/old',
    tag: '1',
    layers: [
      { tar: tar([dir('etc'), file('etc/motd', 'hello\n'), file('gone', 'x')]) },
      'empty',
      { tar: tar([whiteout('gone'), file('top', 'top\n')]) },
    ],
    config: { Cmd: ['/top'], Env: ['A=<&>\u2028'], ExposedPorts: { '80/tcp': {} } },
  });
  let registry: DockerRegistry;
  let store: TestStore;

  before(async () => {
    registry = await DockerRegistry.start(join(directory, 'registry'));
    await registry.push('team/old:1', image);
    store = new TestStore();
  });
  after(async () => {
    store?.dispose();
    await registry?.close();
    removeDirectory(directory);
  });

  for (const suffix of [':1', `@${image.digest}`]) {
    test(`is pulled by ${suffix.slice(0, 8)}, read, and whole`, async () => {
      const reference = `${registry.host}/team/old${suffix}`;
      const pulled = JSON.parse(await store.ok('--json', 'pull', reference)) as { digest: string };
      assert.equal(pulled.digest, image.digest);
      assert.equal(await store.ok('cat', reference, '/etc/motd'), 'hello');
      assert.equal((await store.run(['cat', reference, '/gone'])).status, 3);
      assert.match(await store.ok('inspect', reference), /\/top/);
      assert.equal(await store.ok('check', '--deep'), 'clean');
    });
  }

  test('has the config that skopeo makes of it', async () => {
    registry.skopeo(`docker://${registry.host}/team/old:1`, 'team/converted:1', '--format', 'v2s2');
    const reference = `${registry.host}/team/converted:1`;
    const theirs = JSON.parse(await store.ok('--json', 'pull', reference)) as { imageId: string };
    const ours = JSON.parse(await store.ok('--json', 'pull', `${registry.host}/team/old:1`)) as { imageId: string };
    assert.equal(typeof ours.imageId, 'string');
    assert.equal(theirs.imageId, ours.imageId);
  });
});
