/** The whole way of an image with real programs: docker-registry, larder's command, the kernel, an OCI runtime. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { FIXTURES_NEED, type Fixtures, openFixtures } from './fixtures.js';
import { TestStore } from './larder.js';
import { needsRoot } from './tools.js';

describe('an image from pull to prune', { skip: FIXTURES_NEED }, () => {
  let fixtures: Fixtures;
  const stores: TestStore[] = [];

  before(async () => {
    fixtures = await openFixtures();
  });

  after(async () => {
    for (const store of stores) store.dispose();
    await fixtures?.registry.close();
  });

  function newStore(): TestStore {
    const store = new TestStore();
    stores.push(store);
    return store;
  }

  test('what is pulled is listed and read without a mount', async () => {
    const store = newStore();
    const reference = fixtures.reference('single');
    await store.ok('pull', reference);
    assert.ok((await store.ok('images')).includes(reference));
    assert.match(await store.ok('cat', reference, '/etc/os-release'), /^ID=debian$/m);
    assert.match(await store.ok('ls', reference, '/'), /\bbin\b[\s\S]*\busr\b/);
    assert.match(await store.ok('inspect', reference), /sha256:[0-9a-f]{64}/);
    assert.deepEqual(store.mounts(), []);
    await store.ok('check');
  });

  test('--json is JSON on every command that answers something', async () => {
    const store = newStore();
    const reference = fixtures.reference('single');
    for (const args of [
      ['pull', reference],
      ['images'],
      ['inspect', reference],
      ['ls', reference, '/etc'],
      ['containers'],
      ['prune'],
      ['check'],
      ['info'],
    ]) {
      const text = await store.ok('--json', ...args);
      assert.ok(isJson(text) || text.split('\n').every(isJson), `${args[0]}: ${text.slice(0, 200)}`);
    }
  });

  test('a container is writable, keeps to itself, and is gone when it is destroyed', async () => {
    const store = newStore();
    const reference = fixtures.reference('single');
    const [one, two] = [
      await store.ok('provision', reference, '--id', 'one'),
      await store.ok('provision', reference, '--id', 'two'),
    ];
    writeFileSync(join(one, 'etc', 'motd'), 'mine');
    writeFileSync(join(one, 'new'), 'mine');
    assert.ok(!existsSync(join(two, 'new')));
    assert.match(await store.ok('containers'), /\bone\b[\s\S]*\btwo\b/);
    await store.ok('destroy', 'one');
    assert.ok(!existsSync(one));
    assert.ok(existsSync(join(two, 'bin', 'sh')));
    await store.ok('destroy', 'two');
    assert.deepEqual(store.mounts(), []);
    assert.deepEqual(
      store.list('containers').filter((name) => !name.endsWith('.lock')),
      [],
    );
    await store.ok('check');
  });

  test('an image that is here is provisioned without the registry', async () => {
    const store = newStore();
    const gone = await openFixtures();
    const reference = gone.reference('single');
    await store.ok('pull', reference);
    await gone.registry.close();
    const rootfs = await store.ok('provision', reference, '--id', 'offline');
    assert.ok(existsSync(join(rootfs, 'bin', 'sh')));
    await store.ok('destroy', 'offline');
  });

  test('a second container of one name is refused', async () => {
    const store = newStore();
    await store.ok('provision', fixtures.reference('single'), '--id', 'c');
    const again = await store.run(['provision', fixtures.reference('single'), '--id', 'c']);
    assert.equal(again.status, 4, again.stderr);
    await store.ok('destroy', 'c');
  });

  test('what a container holds is not removed, and everything goes once it is destroyed', async () => {
    const store = newStore();
    const reference = fixtures.reference('many');
    await store.ok('provision', reference, '--id', 'holder');
    const refused = await store.run(['remove', reference]);
    assert.equal(refused.status, 6, refused.stderr);
    await store.ok('prune');
    assert.ok(store.list('layers', 'sha256').length > 0);
    await store.ok('destroy', 'holder');
    await store.ok('remove', reference);
    await store.ok('prune');
    assert.deepEqual(store.list('layers', 'sha256'), []);
    assert.deepEqual(store.list('blobs', 'sha256'), []);
    assert.deepEqual(store.list('gc'), []);
    assert.deepEqual(store.mounts(), []);
    await store.ok('check');
  });

  test('this machine’s image is taken out of a nested image index, another one where asked for', async () => {
    const store = newStore();
    const reference = fixtures.reference('multi');
    await store.ok('pull', reference);
    assert.match(await store.ok('cat', reference, '/etc/os-release'), /^ID=debian$/m);
    const other = newStore();
    await other.ok('--platform', 'linux/s390x', 'pull', reference);
    assert.equal(await other.ok('--platform', 'linux/s390x', 'cat', reference, '/platform'), 'linux/s390x');
  });

  test('the command in the container gives its output and its exit status', { skip: needsRoot('crun') }, async () => {
    const store = newStore();
    const reference = fixtures.reference('single');
    const { status, stdout, stderr } = await store.run([
      'run',
      reference,
      '--',
      '/bin/sh',
      '-c',
      'echo "$(id -u) $(cat /etc/debian_version)"; exit 7',
    ]);
    assert.equal(status, 7, stderr);
    assert.match(stdout, /^0 12\./m);
    assert.deepEqual(store.mounts(), []);
    assert.match(
      await store.ok('run', reference, '--', '/usr/bin/dpkg', '-s', 'bash'),
      /^Status: install ok installed$/m,
    );
    await store.ok('check');
  });

  test('a failure of larder itself ends run with 125', { skip: needsRoot('crun') }, async () => {
    const store = newStore();
    const { status, stderr } = await store.run(['run', `${fixtures.registry.host}/no/such:image`, '--', '/bin/true']);
    assert.equal(status, 125, stderr);
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
