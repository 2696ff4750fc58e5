/** Where settings come from, and who wins: file, variable, option. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { CommandHome } from '../helpers/command.js';

describe('settings of the command', () => {
  let home: CommandHome;

  beforeEach(() => {
    home = new CommandHome();
  });
  afterEach(() => home.dispose());

  /** The root that is used, as the store that was made says. */
  async function rootWith(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const { status, stdout, stderr } = await home.run([...args, 'info', '--json'], { root: false, env });
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout).root;
  }

  const place = (name: string): string => join(home.directory, name);

  test('come from the user’s file, a variable and an option, the later winning', async () => {
    home.write('.config/larder/config.json', JSON.stringify({ root: place('by-file') }));
    assert.equal(await rootWith([]), place('by-file'));
    const env = { LARDER_ROOT: place('by-variable') };
    assert.equal(await rootWith([], env), place('by-variable'));
    assert.equal(await rootWith(['--root', place('by-option')], env), place('by-option'));
  });

  test('come from XDG_CONFIG_HOME where it is set', async () => {
    home.write('.config/larder/config.json', JSON.stringify({ root: place('home') }));
    home.write('xdg/larder/config.json', JSON.stringify({ root: place('by-xdg') }));
    assert.equal(await rootWith([], { XDG_CONFIG_HOME: place('xdg') }), place('by-xdg'));
  });

  test('stand before or after the name of the command', async () => {
    for (const args of [
      ['--root', place('a'), '--json', 'info'],
      ['info', '--root', place('a'), '--json'],
      ['--json', 'info', `--root=${place('a')}`],
    ]) {
      const { stdout, stderr } = await home.run(args, { root: false });
      assert.equal(JSON.parse(stdout || '{}').root, place('a'), stderr);
    }
  });

  test('that are unknown are refused with the nearest name, in a file, and as an option', async () => {
    home.write('.config/larder/config.json', JSON.stringify({ rooot: '/x' }));
    const file = await home.run(['info']);
    assert.equal(file.status, 2);
    assert.match(file.stderr, /config\.json\): "rooot": no such setting\n {2}did you mean root\?/);
    home.write('.config/larder/config.json', '{}');
    const option = await home.run(['--ownr', 'x', 'info']);
    assert.equal(option.status, 2);
    assert.match(option.stderr, /unknown option '--ownr'[\s\S]*--owner/);
  });

  test('that are yes or no are options of both kinds, which win over a variable', async () => {
    await using source = await ImageSource.start();
    source.publish('demo', [sampleLayer('demo')], { config: { Cmd: ['/x'] } });
    const reference = source.reference('demo');
    const runtimeWith = async (args: readonly string[], env: Readonly<Record<string, string>>): Promise<unknown> => {
      const { stdout, stderr } = await home.run([...args, 'inspect', reference], { env });
      return JSON.parse(stdout || stderr).runtime?.cmd;
    };
    assert.deepEqual(await runtimeWith([], {}), ['/x']);
    assert.equal(await runtimeWith(['--docker-ignore-runtime'], {}), undefined);
    assert.equal(await runtimeWith([], { LARDER_DOCKER_IGNORE_RUNTIME: 'true' }), undefined);
    assert.deepEqual(await runtimeWith(['--no-docker-ignore-runtime'], { LARDER_DOCKER_IGNORE_RUNTIME: 'true' }), [
      '/x',
    ]);
  });

  test('of Mesos name the store, and images of types that are left out are refused', async () => {
    assert.equal(await rootWith(['--docker-store-dir', place('mesos')]), place('mesos'));
    const two = await home.run(['--docker-store-dir', place('a'), '--appc-store-dir', place('b'), 'info'], {
      root: false,
    });
    assert.equal(two.status, 2);
    assert.match(two.stderr, /both name the one store/);
    const left = await home.run(['--image-providers', 'APPC', 'pull', 'localhost:1/x']);
    assert.equal(left.status, 10, left.stderr);
    assert.match(left.stderr, /image_providers/);
  });

  test('of a single image’s login come from a file that only its owner can write', async () => {
    const auth = { type: 'basic', username: 'u', password: 'planted-9d' } as const;
    await using source = new ImageSource(await startRegistry({ auth }));
    source.publish('private', [sampleLayer('demo')]);
    const login = { auth: Buffer.from('u:planted-9d').toString('base64') };
    home.write('login.json', JSON.stringify({ auths: { [source.registry.host]: login } }));
    chmodSync(place('login.json'), 0o666);
    const args = ['pull', '--registry-config', place('login.json'), source.reference('private')];
    const refused = await home.run(args);
    assert.equal(refused.status, 5);
    assert.match(refused.stderr, /others than root and you can write to it/);
    chmodSync(place('login.json'), 0o600);
    const pulled = await home.run(['--debug', ...args]);
    assert.equal(pulled.status, 0, pulled.stderr);
    assert.ok(!`${refused.stderr}${pulled.stderr}${pulled.stdout}`.includes('planted'));
    assert.equal((await home.run(['pull', '--refresh', source.reference('private')])).status, 5);
  });

  test('in a file that is not JSON, or no object, are refused with the file’s name', async () => {
    for (const text of ['{', '[]', '"x"', 'null']) {
      home.write('.config/larder/config.json', text);
      const { status, stderr } = await home.run(['info']);
      assert.equal(status, 2, stderr);
      assert.match(stderr, /^larder: read the configuration: .*config\.json: not (a )?JSON/);
    }
    assert.ok(!existsSync(home.root));
  });
});
