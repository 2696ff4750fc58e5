/** The commands that look back and ahead: history, rollback, plan, export; opened here and through a daemon. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { DaemonHome } from '../helpers/daemon.js';

describe('commands that look back and ahead', () => {
  let source: ImageSource;
  let home: DaemonHome;
  let reference: string;
  const digests: string[] = [];

  before(async () => {
    source = await ImageSource.start();
    home = new DaemonHome();
    reference = source.reference('a:1');
    for (const name of ['old', 'new']) {
      digests.push(source.publish('a', [sampleLayer('base'), sampleLayer(name)], { tag: '1' }).digest);
      await ok('pull', '--refresh', reference);
    }
  });
  after(async () => {
    await home.dispose();
    await source[Symbol.asyncDispose]();
  });

  async function run(...args: readonly string[]) {
    return home.larder(args).ended;
  }

  async function ok(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await run(...args);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    return stdout.trimEnd();
  }

  async function states(): Promise<string[]> {
    const entries = JSON.parse(await ok('history', reference, '--json'));
    // What is pulled by digest, too, is kept.
    const left = (state: string): string => (state === 'kept' ? 'here' : state);
    return entries.map(
      ({ digest, state }: { digest: string; state: string }) => `${digests.indexOf(digest)} ${left(state)}`,
    );
  }

  async function all(): Promise<void> {
    const before = await states();
    assert.match(await ok('history', reference), /^SINCE .* STATE\n.*Z {2}\S*Z {2}sha256:[0-9a-f]{64} .* current/);
    const said = await ok('rollback', reference);
    assert.match(said, new RegExp(`is ${digests[0]} again, until it is pulled with --refresh`));
    assert.deepEqual(await states(), [
      '0 current',
      ...before.map((line) => line.replace(/^1 current/, '1 here').replace(/^0 here/, '0 current')),
    ]);
    assert.match(await ok('history', reference), /current \(taken back\)/);
    const taken = JSON.parse(await ok('pull', reference, '--as-of', digests[1]?.slice(7, 30) ?? '', '--json'));
    assert.equal(taken.digest, digests[1]);
    const there = await ok('plan', reference);
    assert.match(there, /nothing to fetch/);
    source.publish('b', [sampleLayer('base'), sampleLayer('b', 20_000)]);
    const plan = await ok('plan', source.reference('b'));
    assert.match(plan, /from +127\.0\.0\.1:\d+/);
    assert.match(plan, /have [\s\S]*fetch .* about /);
    assert.match(plan, /network: 1 layer, 2\d{4} bytes/);
    assert.equal(JSON.parse(await ok('plan', source.reference('b'), '--json')).layers.length, 2);
  }

  test('work on a store that is opened here', all);

  test('say what is wrong, with the status of that', async () => {
    const both = await run('pull', '--refresh', '--as-of', '7days', reference);
    assert.equal(both.status, 2);
    assert.match(both.stderr, /--refresh wants what there is now/);
    const early = await run('pull', '--as-of', '7days', reference);
    assert.equal(early.status, 3);
    assert.match(early.stderr, /nothing is known of that time\n {2}what is known begins at 20/);
    assert.match(await ok('history', 'never:pulled'), /never pulled into this store/);
    const full = await run('--reserved-disk-bytes', '9007199254740991', 'pull', source.reference('c'));
    assert.equal(full.status, 3);
    source.publish('c', [sampleLayer('c')]);
    const refused = await run('--reserved-disk-bytes', '9007199254740991', 'pull', source.reference('c'));
    assert.equal(refused.status, 7);
    assert.match(refused.stderr, /takes at least \d+ bytes, and \d+ are free/);
  });

  test('ask nobody when they are told to be offline', async () => {
    const before = source.registry.requests.length;
    assert.match(await ok('--offline', 'pull', reference), /2 layers/);
    assert.match(await ok('--offline', 'rollback', reference), /again/);
    assert.match(await ok('--offline', 'pull', `${source.reference('a')}@${digests[1]}`), /2 layers/);
    for (const args of [
      ['pull', '--refresh', reference],
      ['pull', 'gone'],
      ['plan', 'gone'],
      ['pull', 'appc:example.com/a'],
    ]) {
      const { status, stderr } = await run('--offline', ...args);
      assert.equal(status, 8, stderr);
      assert.match(stderr, /larder is offline/);
    }
    assert.equal(source.registry.requests.length, before);
    await ok('rollback', reference, digests[1] ?? '');
  });

  test('export an image under the name that is given', async () => {
    const path = join(home.directory, 'a.tar');
    assert.match(await ok('export', reference, `docker-archive:${path}:b:2`), /as b:2, /);
    const report = JSON.parse(await ok('export', reference, `oci-archive:${path}`, '--json'));
    assert.equal(report.rewritten, true);
    assert.equal(JSON.parse(await ok('pull', `oci-archive:${path}`, '--json')).imageId, report.imageId);
    assert.equal((await run('export', reference, path)).status, 2);
  });

  test('work through a daemon as well', async () => {
    const daemon = await home.start();
    try {
      await all();
      assert.equal((await home.client.plan(reference)).isHere, true);
      assert.ok((await home.client.history(reference)).length > 2);
    } finally {
      daemon.kill('SIGTERM');
      await daemon.ended;
    }
  });
});
