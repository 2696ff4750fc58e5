import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { configOf, loadFlags, nearestName, optionName, parseFlags, SETTINGS, variableName } from '../src/config.js';
import { makeDirectory, removeDirectory } from './helpers/temporary.js';

describe('settings', () => {
  test('are taken as they are when they are right', () => {
    const flags = {
      root: '/x',
      max_parallel_layers: 3,
      insecure_registries: ['a', 'b:1'],
      image_provisioner_backend: 'copy',
    };
    assert.deepEqual(parseFlags(flags, 'test'), flags);
  });

  test('come as text from variables and options', () => {
    const text = { max_parallel_layers: '3', insecure_registries: 'a, b:1,', fetcher_stall_timeout: '5' };
    assert.deepEqual(parseFlags(text, 'test'), {
      max_parallel_layers: 3,
      insecure_registries: ['a', 'b:1'],
      fetcher_stall_timeout: 5000,
    });
  });

  const wrong: Record<string, readonly unknown[]> = {
    root: ['', 7, null, []],
    max_parallel_layers: [0, -1, 1.5, '1e3', 'x', ' 3', Number.NaN, '99999999999999999999', true],
    fetcher_stall_timeout: ['5 s', '-5', '5seconds', '0', 0, '1mins2secs', '', 'mins', '1e3'],
    insecure_registries: [7, [7], {}],
    image_provisioner_backend: ['zfs', 'EROFS', ''],
  };
  for (const [name, values] of Object.entries(wrong)) {
    test(`${name} is refused with its value and its place when it is wrong`, () => {
      for (const value of values) {
        const parse = (): unknown => parseFlags({ [name]: value }, 'the test');
        assert.throws(
          parse,
          { code: 'LARDER_FLAGS_INVALID', message: new RegExp(`setting ${name} \\(the test\\)`) },
          JSON.stringify(value),
        );
      }
    });
  }

  test('of other names are refused, with the nearest one where one is near', () => {
    const hintOf = (name: string): unknown => {
      try {
        return parseFlags({ [name]: 'x' }, 'test');
      } catch (error) {
        return (error as { hint: string }).hint;
      }
    };
    assert.equal(hintOf('rot'), 'did you mean root?');
    assert.equal(hintOf('max_paralel_layers'), 'did you mean max_parallel_layers?');
    assert.match(String(hintOf('something_else_altogether')), /^known settings: root, /);
    for (const name of ['__proto__x', 'constructor', 'toString'])
      assert.match(String(hintOf(name)), /^(known|did you)/);
  });

  test('left out have their defaults', () => {
    const config = configOf({ root: '/x' });
    assert.equal(config.stallTimeoutMs, 60_000);
    assert.ok(config.maxParallelLayers >= 2 && config.maxParallelLayers <= 6);
    assert.equal(config.owner, 'default');
    assert.deepEqual(config.insecureRegistries, []);
    assert.equal(config.backend, undefined);
  });

  test('are spelled alike in all places', () => {
    assert.equal(optionName('max_parallel_layers'), '--max-parallel-layers');
    assert.equal(variableName('max_parallel_layers'), 'LARDER_MAX_PARALLEL_LAYERS');
    for (const name of Object.keys(SETTINGS)) assert.match(name, /^[a-z]+(_[a-z]+)*$/);
  });

  test('the nearest name is none when none is near', () => {
    assert.equal(nearestName('pul', ['pull', 'prune']), 'pull');
    assert.equal(nearestName('PULL', ['pull', 'prune']), 'pull');
    assert.equal(nearestName('frobnicate', ['pull', 'prune']), undefined);
    assert.equal(nearestName('x', []), undefined);
  });
});

describe('settings of the command', () => {
  let home: string;

  beforeEach(() => {
    home = makeDirectory();
    mkdirSync(join(home, 'larder'));
  });
  afterEach(() => removeDirectory(home));

  const file = (text: string): void => writeFileSync(join(home, 'larder', 'config.json'), text);
  const load = (options = {}, env = {}): unknown => loadFlags(options, { XDG_CONFIG_HOME: home, ...env });

  test('come from the file, the variable, the option: the later wins, each for itself', () => {
    file('{"owner": "file", "root": "/file", "platform": "linux/file"}');
    const flags = load({ owner: 'option' }, { LARDER_OWNER: 'variable', LARDER_ROOT: '/variable' });
    assert.deepEqual(flags, { owner: 'option', root: '/variable', platform: 'linux/file' });
  });

  test('an empty variable is none', () => {
    assert.deepEqual(load({}, { LARDER_ROOT: '' }), {});
  });

  test('a wrong file and a wrong variable say where they are', () => {
    file('{');
    assert.throws(() => load(), { code: 'LARDER_FLAGS_INVALID', message: /larder\/config\.json: not JSON/ });
    file('{"max_layer_bytes": "many"}');
    assert.throws(() => load(), {
      code: 'LARDER_FLAGS_INVALID',
      message: /max_layer_bytes \(.*config\.json\): "many"/,
    });
    file('{}');
    assert.throws(() => load({}, { LARDER_MAX_LAYER_BYTES: 'x' }), {
      code: 'LARDER_FLAGS_INVALID',
      message: /the environment/,
    });
  });
});
