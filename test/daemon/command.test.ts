/** The command asks the daemon that has the store, and does without where there is none: with the same results. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import type { Ended } from '../helpers/child.js';
import { DaemonHome, end } from '../helpers/daemon.js';
import { needsRoot } from '../helpers/temporary.js';

describe('the command beside a daemon', { skip: needsRoot }, () => {
  const home = new DaemonHome();
  let source: ImageSource;
  let image: string;
  let said = '';

  before(async () => {
    source = await ImageSource.start();
    source.publish('a', [sampleLayer('a', 50_000), sampleLayer('b')]);
    image = source.reference('a');
    const daemon = await home.start();
    daemon.process.stderr?.on('data', (text: string) => {
      said += text;
    });
  });
  after(async () => {
    await home.dispose();
    await source[Symbol.asyncDispose]();
  });

  const ok = async (...args: readonly string[]): Promise<string> => outputOf(await home.larder(args).ended);
  const direct = async (...args: readonly string[]): Promise<string> =>
    outputOf(await home.bare(['--root', home.root, '--socket', 'none', ...args]).ended);
  /** Whether the daemon did it. */
  const served = async (operation: string, work: () => Promise<unknown>): Promise<boolean> => {
    said = '';
    await work();
    return said.includes(`larder: ${operation}: uid`);
  };

  test('pulls, provisions, destroys, removes, prunes and checks through it', async () => {
    assert.ok(await served('pull', () => ok('pull', image)));
    assert.ok(await served('provision', () => ok('provision', image, '--id', 'c')));
    assert.ok(await served('destroy', () => ok('destroy', 'c')));
    assert.ok(await served('check', () => ok('check')));
    assert.ok(await served('remove', () => ok('remove', image)));
    assert.ok(await served('prune', () => ok('prune')));
  });

  test('shows the same progress and prints the same as without it', async () => {
    const through = await home.larder(['pull', image]).ended;
    await direct('remove', image);
    const without = await home.bare(['--root', home.root, '--socket', 'none', 'pull', image]).ended;
    assert.equal(through.stdout, without.stdout);
    const lines = (text: string): string[] =>
      text
        .split('\n')
        .map((line) => line.replace(/[\d.]+ (ms|s)$/, 'TIME'))
        .sort();
    assert.deepEqual(lines(through.stderr), lines(without.stderr));
    assert.match(through.stderr, /2 layers, 2 to fetch/);
    for (const command of ['images', 'containers', 'info', 'check'])
      assert.deepEqual(JSON.parse(await ok(command, '--json')), JSON.parse(await direct(command, '--json')), command);
  });

  test('fails with the same words and status', async () => {
    for (const args of [
      ['remove', 'never-pulled'],
      ['pull', 'NOT//a reference'],
      ['destroy', 'nobody'],
      ['provision', image, '--id', '../up'],
    ]) {
      const through = await home.larder(args).ended;
      const without = await home.bare(['--root', home.root, '--socket', 'none', ...args]).ended;
      assert.deepEqual([through.status, through.stderr], [without.status, without.stderr], args.join(' '));
      assert.notEqual(through.status, 0);
    }
  });

  test('mounts where its caller sees it', async () => {
    const rootfs = await ok('provision', image, '--id', 'seen');
    assert.equal(readFileSync(join(rootfs, 'a'), 'utf8'), 'this is a\n');
    assert.equal(await direct('cat', image, '/b'), 'this is b');
    assert.match(await direct('containers'), /seen/);
    assert.equal(await direct('destroy', 'seen'), 'seen');
    assert.equal(await ok('containers'), 'no containers');
    assert.ok(!existsSync(rootfs));
  });

  test('is not asked for another store, nor where a setting is given that it does not share', async () => {
    const other = join(home.directory, 'other');
    const elsewhere = await home.bare(['--root', other, '--socket', home.socket, 'pull', image]).ended;
    assert.equal(elsewhere.status, 0, elsewhere.stderr);
    assert.match(elsewhere.stderr, /is not asked: its store is/);
    assert.ok(existsSync(join(other, 'format')));
    assert.ok(!(await served('pull', () => ok('--max-parallel-layers', '3', 'pull', image))));
    assert.ok(!(await served('pull', () => direct('pull', image))));
  });

  test('loads nothing of a store to ask it', async () => {
    const loaded = await home.larder(['destroy', 'nobody', '--debug'], {
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(LIST_LOADED)}`,
    }).ended;
    const names = /LOADED (.*)/.exec(loaded.stderr)?.[1] ?? assert.fail(loaded.stderr);
    assert.match(names, /daemon\/client\.js/);
    assert.doesNotMatch(names, /koffi|sqlite|\/assemble|\/larder\.js|\/metadata\/|valibot/);
  });

  test('is done without when it is gone', async () => {
    const second = new DaemonHome();
    try {
      const daemon = await second.start();
      daemon.kill('SIGKILL');
      await daemon.ended;
      const { status, stdout, stderr } = await second.larder(['images']).ended;
      assert.deepEqual([status, stdout], [0, 'no images\n']);
      assert.match(stderr, /warning: ask the daemon at .*: nobody is there/);
      await end(await second.start());
    } finally {
      await second.dispose();
    }
  });
});

/** Names what was resolved by the time that the process ends. */
const LIST_LOADED = `
import module from 'node:module';
const { port1, port2 } = new MessageChannel();
const names = [];
port1.on('message', (name) => names.push(name)).unref();
const hooks = 'let port; export function initialize(data) { port = data; } export async function resolve(s, c, n) { const r = await n(s, c); port.postMessage(r.url); return r; }';
module.register('data:text/javascript,' + encodeURIComponent(hooks), { data: port2, transferList: [port2] });
process.on('exit', () => process.stderr.write('LOADED ' + names.concat(Object.keys(module._cache ?? {})).join(' ') + '\\n'));
`;

function outputOf({ status, stdout, stderr }: Ended): string {
  assert.equal(status, 0, stderr);
  return stdout.replace(/\n$/, '');
}
