/** Where settings come from, and who wins: file, variable, option. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
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
