/** Appc images on the command line, as a user has them. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { Progress } from '../../src/cli/progress.js';
import { buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { CommandHome } from '../helpers/command.js';

const BASE = buildAci({
  name: 'example.com/base',
  labels: { version: '1' },
  files: { 'etc/motd': 'hello\n', gone: 'x' },
});
const APP = buildAci({
  name: 'example.com/app',
  labels: { version: '2', os: 'linux' },
  files: { app: 'app' },
  dependencies: [{ imageName: BASE.name, imageID: BASE.id, labels: BASE.labels }],
  pathWhitelist: ['/etc/motd', '/app'],
  app: { exec: ['/app', 'x'], user: '1', group: '2' },
});
const NAME = 'appc:example.com/app:2';

describe('the command with Appc images', () => {
  let home: CommandHome;

  beforeEach(() => {
    home = new CommandHome();
    writeAciDirectory(join(home.directory, 'acis'), [BASE, APP]);
    home.write(
      '.config/larder/config.json',
      JSON.stringify({ appc_simple_discovery_uri_prefix: `${home.directory}/acis/` }),
    );
  });
  afterEach(async () => {
    await home.ok('prune');
    assert.equal(await home.ok('check', '--deep'), 'clean');
    home.dispose();
  });

  async function json(...args: readonly string[]): Promise<ReturnType<typeof JSON.parse>> {
    return JSON.parse(await home.ok('--json', ...args));
  }

  test('pull tells of each image by its name, short where it has an id, and again only what there is', async () => {
    const { stdout, stderr } = await home.run(['pull', NAME]);
    assert.match(stdout, /^appc:example\.com\/app:2 {2}[0-9a-f]{12} {2}linux\/\S+ {2}2 layers, \S+ \S+ compressed\n$/);
    assert.match(stderr, /^appc:example\.com\/app:2: resolved to sha512:[0-9a-f]{128} /m);
    assert.match(stderr, /^appc:example\.com\/base:1@sha512-[0-9a-f]{12}…: \d+ B fetched, .* entries/m);
    const again = await home.run(['pull', NAME]);
    assert.deepEqual([again.stdout, again.stderr], [stdout, '']);
  });

  test('pull --json lists the layers in order with the ids and names of their images', async () => {
    const { layers, imageId } = await json('pull', NAME);
    const listed = layers.map((layer: { imageId: string; name: string }) => [layer.imageId, layer.name]);
    assert.deepEqual(
      listed,
      [BASE, APP].map(({ id, name }) => [id, name]),
    );
    assert.equal(imageId, APP.id);
  });

  test('inspect, ls, cat and images read what the whitelist shows, also with --platform', async () => {
    await home.ok('pull', NAME);
    const { runtime, appcManifest } = await json('inspect', NAME);
    assert.deepEqual([runtime.entrypoint, runtime.cmd, runtime.user], [['/app'], ['x'], { user: 1, group: 2 }]);
    assert.equal(appcManifest.name, APP.name);
    assert.equal(await home.ok('ls', NAME, '/'), 'app\netc');
    assert.equal(await home.ok('cat', NAME, '/etc/motd'), 'hello');
    const { platform } = await json('pull', NAME);
    assert.equal(await home.ok('ls', '--platform', platform, NAME, '/etc'), 'motd');
    assert.match(
      await home.ok('images'),
      /^appc:example\.com\/app:2 .*^appc:example\.com\/base:1@sha512-[0-9a-f]{12}… /ms,
    );
  });

  test('provision, containers, destroy and remove take its name', async () => {
    const rootfs = await home.ok('provision', '--backend', 'copy', '--id', 'c', NAME);
    assert.ok(existsSync(join(rootfs, 'etc/motd')) && !existsSync(join(rootfs, 'gone')));
    assert.match(await home.ok('containers'), /^c +appc:example\.com\/app:2 +copy /m);
    assert.equal((await home.run(['remove', NAME])).status, 6);
    await home.ok('destroy', 'c');
    assert.match(await home.ok('remove', NAME), /removed 1 image, 1 layer/);
    assert.doesNotMatch(await home.ok('images'), /app:2/);
  });

  test('what is not there, or is another, ends with its status and says what to do', async () => {
    const missing = await home.run(['pull', 'appc:example.com/app:3']);
    assert.equal(missing.status, 3);
    assert.match(missing.stderr, /there is no file .*example\.com\/app-3-linux-/);
    const other = await home.run(['pull', `${NAME}@sha512-${'0'.repeat(128)}`]);
    assert.equal(other.status, 9);
    const strict = await home.run(['pull', `${NAME},channel=beta`]);
    assert.equal(strict.status, 2);
    assert.match(strict.stderr, /has no label channel.*\n {2}check the name, the labels and the id/);
  });
});

test('progress of a download that no plan told of has a bar of its own, whole when it is done', () => {
  let text = '';
  const write = (part: string): void => {
    text += part;
  };
  const progress = new Progress({ write, isTTY: true, columns: 100 });
  const layer = 'appc:example.com/app:2';
  progress.onEvent({ type: 'layer-start', layer, size: 1000, resumedFrom: 0 });
  progress.onEvent({ type: 'layer-progress', layer, received: 500, written: 0 });
  progress.onEvent({ type: 'merge', layers: 1, entries: 1, ms: 1 });
  assert.match(text, /appc:example\.com\/app:2 {2}\[#{12}\.{12}\] +50 %/);
  assert.match(text, /total +0 of 1 layer, 500 B of 1\.00 kB/);
  progress.onEvent({ type: 'layer-done', layer, diffId: 'd', received: 1000, written: 5000, entries: 3, ms: 10 });
  assert.match(text, /appc:example\.com\/app:2: 1\.00 kB fetched, 5\.00 kB written, 3 entries/);
});
