import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { inspect } from 'node:util';
import {
  configOf,
  type ImageGcConfig,
  loadFlags,
  nearestName,
  optionName,
  parseFlags,
  SETTINGS,
  variableName,
} from '../src/config.js';
import type { LarderError } from '../src/errors.js';
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

  test('name token servers by their registries', () => {
    const { token_hosts } = parseFlags(
      { token_hosts: 'R.example=sso.test,r.example=b.test:8443,q.io=sso.test' },
      'test',
    );
    const { tokenHosts } = configOf({ root: '/x', ...(token_hosts && { token_hosts }) });
    assert.deepEqual({ ...tokenHosts }, { 'r.example': ['sso.test', 'b.test:8443'], 'q.io': ['sso.test'] });
    for (const pair of ['r.example', '=x', 'r.example=', 'r.example=https://x', 'a=b=c'])
      assert.throws(() => configOf({ root: '/x', token_hosts: [pair] }), { code: 'LARDER_FLAGS_INVALID' }, pair);
  });

  const wrong: Record<string, readonly unknown[]> = {
    root: ['', 7, null, []],
    max_parallel_layers: [0, -1, 1.5, '1e3', 'x', ' 3', Number.NaN, '99999999999999999999', true],
    fetcher_stall_timeout: ['5 s', '-5', '5seconds', '0', 0, '1mins2secs', '', 'mins', '1e3'],
    insecure_registries: [7, [7], {}],
    image_providers: ['', 'rkt', 'docker,rkt', [], 7],
    docker_ignore_runtime: ['yes', '', 1, null],
    docker_registry: ['registry', 'ftp://x', 'https://a b', '', 'relative/dir'],
    appc_simple_discovery_uri_prefix: ['example.com', 'file:relative', 7],
    docker_config: ['', 7, [], 'file:relative', '{"auths": "planted'],
    appc_trust: [
      '{',
      '[]',
      { requird: true },
      { required: 'yes' },
      { keys: [] },
      { keys: { 'example.com/': 'relative' } },
      { keys: { 'example.com/': [7] } },
    ],
    image_gc_config: [
      '{}',
      { image_disk_headrom: 0.1 },
      { image_disk_headroom: -0.1 },
      { image_disk_headroom: 1.1 },
      { image_disk_headroom: 'x' },
      { image_disk_headroom: 0.1, high_watermark: 0.5, low_watermark: 0.6 },
      { image_disk_headroom: 0.1, image_disk_watch_interval: { nanoseconds: -1 } },
      { image_disk_headroom: 0.1, image_disk_watch_interval: 0 },
      { image_disk_headroom: 0.1, store_max_bytes: 0 },
      { image_disk_headroom: 0.1, minimum_age: 'long' },
      { image_disk_headroom: 0.1, excluded_images: 'alpine' },
      { image_disk_headroom: 0.1, excluded_images: ['Not A Name'] },
      { image_disk_headroom: 0.1, excluded_images: ['appc:No_Name:1'] },
      { image_disk_headroom: 0.1, excluded_images: [{ type: 'DOCKER', docker: { name: ':' } }] },
      { image_disk_headroom: 0.1, excluded_images: [{ type: 'OTHER' }] },
    ],
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

  test('never show a value that may be a secret', () => {
    for (const value of ['{"auths": "planted', ['planted'], { auths: { planted: '\ud800' } }]) {
      try {
        parseFlags({ docker_config: value }, 'test');
      } catch (error) {
        assert.ok(!inspect(error, { depth: 9 }).includes('planted'));
      }
    }
    const config = configOf(parseFlags({ root: '/x', docker_config: '{"auths": {"planted": {}}}' }, 'test'));
    assert.ok(!`${JSON.stringify(config)}${inspect(config, { depth: 9, showHidden: true })}`.includes('planted'));
    assert.equal(config.dockerConfig?.kind === 'inline' && config.dockerConfig.text.reveal().includes('planted'), true);
  });

  test('that are durations are written as Mesos writes them, or as seconds', () => {
    const ms = (value: unknown): number =>
      configOf(parseFlags({ root: '/x', fetcher_stall_timeout: value }, 'test')).stallTimeoutMs;
    const texts = {
      '1mins': 60_000,
      '30secs': 30_000,
      '1.5hrs': 5_400_000,
      '250ms': 250,
      '1days': 86_400_000,
      '90': 90_000,
    };
    for (const [text, expected] of Object.entries(texts)) assert.equal(ms(text), expected, text);
    assert.equal(ms(0.5), 500);
    assert.equal(ms(5), 5000);
  });

  test('for the registry name one, or a directory', () => {
    const registry = (value: unknown): unknown =>
      configOf(parseFlags({ docker_registry: value }, 'test')).dockerRegistry;
    for (const value of ['https://registry-1.docker.io', 'http://localhost:5000/', '/srv/archives'])
      assert.equal(registry(value), value);
    for (const value of ['https://u:planted@host', 'https://host/path', 'https://']) {
      assert.throws(
        () => registry(value),
        (error: LarderError) => error.code === 'LARDER_FLAGS_INVALID' && !inspect(error).includes('planted'),
      );
    }
  });

  test('name image types without regard to case and order', () => {
    const providers = (value: unknown): unknown =>
      configOf(parseFlags({ image_providers: value }, 'test')).imageProviders;
    assert.deepEqual(providers('APPC, Docker'), ['docker', 'appc']);
    assert.deepEqual(providers(['Appc']), ['appc']);
    assert.deepEqual(configOf({ root: '/x' }).imageProviders, ['docker', 'appc']);
  });

  test('of Mesos for the stores’ places name the one root', () => {
    assert.equal(configOf({ docker_store_dir: '/a' }).root, '/a');
    assert.equal(configOf({ appc_store_dir: '/a/', root: '/a', docker_store_dir: '/b/../a' }).root, '/a');
    for (const flags of [
      { docker_store_dir: '/a', appc_store_dir: '/b' },
      { root: '/a', appc_store_dir: '/b' },
    ])
      assert.throws(() => configOf(flags), { code: 'LARDER_FLAGS_INVALID', message: /both name the one store/ });
  });

  test('for collecting images are Mesos’s, with larder’s beside them', () => {
    const gc = (value: unknown): unknown => configOf(parseFlags({ image_gc_config: value }, 'test')).imageGc;
    const mesos = {
      image_disk_headroom: 0.1,
      image_disk_watch_interval: { nanoseconds: 3.6e12 },
      excluded_images: [{ type: 'DOCKER', docker: { name: 'mysql' } }, 'alpine:3', 'appc:example.com/a:1'],
    };
    const expected = {
      headroom: 0.1,
      watchIntervalMs: 3_600_000,
      excludedImages: [
        { type: 'docker', name: 'mysql' },
        { type: 'docker', name: 'alpine:3' },
        { type: 'appc', name: 'example.com/a', labels: { version: '1' } },
      ],
      highWatermark: 0.9,
      lowWatermark: 0.85,
      storeMaxBytes: undefined,
      minimumAgeMs: 0,
    };
    assert.deepEqual(gc(mesos), expected);
    assert.deepEqual(gc(JSON.stringify(mesos)), expected);
    const own = {
      image_disk_headroom: 0.2,
      image_disk_watch_interval: '5mins',
      high_watermark: 0.75,
      low_watermark: 0.5,
      store_max_bytes: 1e12,
      minimum_age: '7days',
    };
    assert.deepEqual(gc(own), {
      headroom: 0.2,
      watchIntervalMs: 300_000,
      excludedImages: [],
      highWatermark: 0.75,
      lowWatermark: 0.5,
      storeMaxBytes: 1e12,
      minimumAgeMs: 7 * 86_400_000,
    });
    assert.equal((gc({ store_max_bytes: 5 }) as ImageGcConfig).highWatermark, 1);
    assert.equal((gc({ high_watermark: 0.5 }) as ImageGcConfig).headroom, 0.5);
  });

  test('for trust name keys for each prefix', () => {
    const trust = { required: true, keys: { 'example.com/': ['/k/1', '/k/2'], 'other/': '/k/3' } };
    const expected = { required: true, keys: { 'example.com/': ['/k/1', '/k/2'], 'other/': ['/k/3'] } };
    assert.deepEqual(configOf(parseFlags({ appc_trust: JSON.stringify(trust) }, 'test')).appcTrust, expected);
    assert.deepEqual(configOf({}).appcTrust, { required: false, keys: {} });
  });

  test('of Mesos that mean nothing here are refused with what to use instead', () => {
    const hints = { work_dir: /^root is/, gc_disk_headroom: /image_gc_config/, isolation: /leave it out$/ };
    for (const [name, hint] of Object.entries(hints)) {
      assert.throws(
        () => parseFlags({ [name]: 'x' }, 'test'),
        (error: LarderError) => error.code === 'LARDER_FLAGS_INVALID' && hint.test(error.hint ?? ''),
      );
    }
  });

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

  test('that are documents may be files, named by a path or a URL', () => {
    const path = join(home, 'gc.json');
    writeFileSync(path, '{"image_disk_headroom": 0.3}');
    for (const value of [path, `file://${path}`]) {
      const flags = loadFlags({}, { XDG_CONFIG_HOME: home, LARDER_IMAGE_GC_CONFIG: value });
      assert.equal(flags.image_gc_config?.headroom, 0.3);
    }
    writeFileSync(path, '{"image_disk_headroom": 0.3, "image_disk_headroom": 0.4}');
    const twice = () => load({ image_gc_config: path });
    assert.throws(twice, {
      code: 'LARDER_FLAGS_INVALID',
      message: /image_gc_config \(options\): .*gc\.json: .* twice/,
    });
    assert.throws(() => load({ image_gc_config: join(home, 'none') }), /none/);
    file('{"docker_config": {"auths": {}}, "image_gc_config": {"image_disk_headroom": 0.5}}');
    assert.equal(loadFlags({}, { XDG_CONFIG_HOME: home }).image_gc_config?.headroom, 0.5);
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
