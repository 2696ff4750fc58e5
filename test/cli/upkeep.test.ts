/** The commands that look after a store's disk, as a user has them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { CommandHome } from '../helpers/command.js';

describe('the command for the store’s disk', () => {
  let source: ImageSource;
  let home: CommandHome;
  let kept: string;
  let gone: string;

  before(async () => {
    source = await ImageSource.start();
    const base = sampleLayer('base', 200_000);
    [kept, gone] = [source.reference('kept'), source.reference('gone')];
    source.publish('kept', [base, sampleLayer('kept', 100_000)]);
    source.publish('gone', [base, sampleLayer('gone', 100_000)]);
    home = new CommandHome();
    await home.ok('pull', kept, gone);
  });
  after(async () => {
    home.dispose();
    await source[Symbol.asyncDispose]();
  });

  async function json(...args: readonly string[]): Promise<ReturnType<typeof JSON.parse>> {
    return JSON.parse(await home.ok('--json', ...args));
  }

  test('df shows what each image holds alone and shares, and the store', async () => {
    const text = await home.ok('df', '--containers');
    assert.match(text, /^IMAGE +PLATFORM +ALONE +SHARED +USED/);
    assert.match(text, /kept .* just now/);
    assert.match(text, /3 layers/);
    assert.match(text, /waits to be deleted +0 B/);
    const { images, storeBytes, layerBytes } = await json('df');
    assert.equal(images.length, 2);
    for (const { aloneBytes, sharedBytes } of images) assert.ok(aloneBytes > 100_000 && sharedBytes > 200_000);
    assert.ok(storeBytes > layerBytes);
  });

  test('why names who holds a layer, by a few digits of it', async () => {
    const [{ layers }] = await json('images');
    const text = await home.ok('why', layers[0].diffId.slice(7, 19));
    assert.match(text, new RegExp(`^layer ${layers[0].diffId} is held by\\n`));
    assert.match(text, /image .*kept \(linux\/\S+\): layer 1/);
    assert.equal(await home.ok('why', 'f'.repeat(64)), `${'f'.repeat(64)}: not in the store`);
    assert.equal((await home.run(['why', 'nothing of the sort'])).status, 2);
  });

  test('a pinned image says so, and stays when all others go', async () => {
    assert.equal(await home.ok('pin', kept), `${kept}: pinned`);
    assert.equal(await home.ok('pin', kept), `${kept}: was pinned already`);
    assert.match(await home.ok('images'), /kept \(pinned\)/);
    assert.equal((await home.run(['gc'])).status, 2);
    const setting = ['--image-gc-config', JSON.stringify({ store_max_bytes: 1 })];
    assert.match(await home.ok(...setting, 'gc', '--dry-run'), /the limit is 1\n.*gone.*\nwould remove 1 image/);
    assert.match(await home.ok(...setting, 'gc'), /removed 1 image[\s\S]*not enough: what is left/);
    assert.deepEqual(
      (await json('images')).map(({ reference }: { reference: string }) => reference),
      [`${kept}:latest`],
    );
    assert.match(await home.ok('prune'), /removed 0 images/);
    assert.match(await home.ok('prune', '--all', '--dry-run'), /would remove 1 image, 2 layers/);
    assert.equal(await home.ok('unpin', kept), `${kept}: unpinned`);
    assert.match(await home.ok('prune'), /removed 1 image, 2 layers/);
    assert.equal(await home.ok('check'), 'clean');
  });
});
