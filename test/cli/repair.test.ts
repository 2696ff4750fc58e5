/** `larder repair` and what every command does with a damaged database, as a user sees it. */
import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { CommandHome } from '../helpers/command.js';

describe('larder repair', () => {
  let source: ImageSource;
  let home: CommandHome;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('demo');
    source.publish('demo', [sampleLayer('demo', 10_000)]);
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(async () => {
    home = new CommandHome();
    await home.ok('pull', reference);
  });
  afterEach(() => {
    source.setFault();
    home.dispose();
  });

  function flip(): void {
    const layers = join(home.root, 'layers', 'sha256');
    const path = join(layers, readdirSync(layers)[0] ?? '', 'layer.tar');
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(700) ^ 1, 700);
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    chmodSync(path, 0o400);
  }

  test('says that there is nothing to do', async () => {
    assert.equal(await home.ok('repair'), 'nothing to repair');
    assert.deepEqual(JSON.parse(await home.ok('repair', '--json')), { sound: true, repairs: [] });
  });

  test('mends a layer, of one image or of all', async () => {
    for (const args of [[], [reference]]) {
      flip();
      assert.match(
        await home.ok('repair', ...args),
        /^repaired: layer sha256:[0-9a-f]{64}: fetched again\n1 repaired$/,
      );
      assert.equal(await home.ok('check', '--deep'), 'clean');
    }
  });

  test('ends with 9 and the reason when the source is gone', async () => {
    flip();
    source.setFault(() => ({ kind: 'status', status: 404 }));
    const { status, stdout } = await home.run(['repair']);
    assert.equal(status, 9);
    assert.match(stdout, /^failed: layer sha256:[0-9a-f]{64}: .*demo:latest: .*\n1 of 1 could not be repaired\n$/);
  });

  test('is not needed for a damaged database: any command makes it again, and says so', async () => {
    for (const suffix of ['-wal', '-shm']) rmSync(join(home.root, 'metadata', `larder.db${suffix}`), { force: true });
    truncateSync(join(home.root, 'metadata', 'larder.db'), 0);
    const { status, stdout, stderr } = await home.run(['images']);
    assert.equal(status, 0, stderr);
    assert.match(stdout, /demo/);
    assert.match(stderr, /^warning: the database is damaged \(.*\) and is made again from the files of the store$/m);
    assert.equal((await home.run(['images'])).stderr, '');
  });
});
