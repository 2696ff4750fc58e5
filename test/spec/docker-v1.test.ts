import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseDiffId } from '../../src/spec/digest.js';
import { configFromDockerV1, dockerV1From, parseDockerV1 } from '../../src/spec/docker-v1.js';
import { parseImageConfig } from '../../src/spec/image-config.js';

const bytes = (document: unknown): Uint8Array => Buffer.from(JSON.stringify(document));
const parse = (document: unknown) => parseDockerV1(bytes(document));

/** Every field of `v1.proto`. */
const CONFIG = {
  Hostname: 'h',
  Entrypoint: ['/e'],
  Env: ['A=b'],
  User: 'u',
  Cmd: ['c'],
  WorkingDir: '/w',
  Image: 'sha256:x',
  Labels: { l: 'm' },
};
const WHOLE = {
  id: 'i',
  parent: 'p',
  comment: 'c',
  created: '2014-01-01T00:00:00Z',
  container: 'k',
  container_config: CONFIG,
  docker_version: '1.7.0',
  author: 'a',
  config: CONFIG,
  architecture: 'amd64',
  os: 'linux',
  Size: 12,
};

describe('a Docker v1 image', () => {
  it('has every field that Mesos knows', () => assert.deepEqual(parse(WHOLE), WHOLE));
  it('leaves out what Mesos does not know', () => {
    assert.deepEqual(parse({ id: 'i', throwaway: true, config: { StopSignal: 'x', Volumes: {} } }), {
      id: 'i',
      config: {},
    });
  });
  it('takes null for unset, wherever it is', () => {
    const unset = Object.fromEntries(Object.keys(CONFIG).map((name) => [name, null]));
    assert.deepEqual(parse({ ...Object.fromEntries(Object.keys(WHOLE).map((name) => [name, null])), id: 'i' }), {
      id: 'i',
    });
    assert.deepEqual(parse({ config: unset, container_config: unset }), { config: {}, container_config: {} });
  });
  it('takes one text for a list, and a text for a number', () => {
    assert.deepEqual(parse({ Size: '12', config: { Cmd: 'sh', Entrypoint: 'e', Env: 'A=b' } }), {
      Size: 12,
      config: { Cmd: ['sh'], Entrypoint: ['e'], Env: ['A=b'] },
    });
  });
  it('may be empty, as its config may be missing', () => assert.deepEqual(parse({}), {}));
  for (const bad of [
    [],
    { id: 7 },
    { Size: 'x' },
    { Size: -1 },
    { Size: 1.5 },
    { config: [] },
    { config: 'x' },
    { config: { Cmd: [1] } },
    { config: { Env: {} } },
    { config: { Labels: ['a'] } },
    { config: { Labels: { a: 1 } } },
  ]) {
    it(`like ${JSON.stringify(bad)} is refused`, () =>
      assert.throws(() => parse(bad), { code: 'LARDER_CONFIG_INVALID' }));
  }
  it('seen in a modern image takes its id from the config', () => {
    const config = { architecture: 'amd64', config: { Env: ['A=b'] }, docker_version: '20', rootfs: {} };
    assert.deepEqual(dockerV1From(bytes(config), 'abc'), {
      id: 'abc',
      architecture: 'amd64',
      docker_version: '20',
      config: { Env: ['A=b'] },
    });
  });
});

describe('the config made of a Docker v1 image', () => {
  const diffId = parseDiffId(`sha256:${'a'.repeat(64)}`);
  it('keeps all but what only v1 has, and reads as a config', () => {
    const v1 = { ...WHOLE, config: { ...CONFIG, StopSignal: 'SIGINT' } };
    const made = configFromDockerV1(bytes(v1), [diffId], [{ created_by: 'x' }]);
    const { id: _id, parent: _parent, Size: _size, ...kept } = v1;
    assert.deepEqual(JSON.parse(Buffer.from(made).toString()), {
      ...kept,
      rootfs: { type: 'layers', diff_ids: [diffId] },
      history: [{ created_by: 'x' }],
    });
    const image = parseImageConfig(made);
    assert.equal(image.config.StopSignal, 'SIGINT');
    assert.deepEqual(image.diffIds, [diffId]);
  });
  it('is written as Go writes it, so that the image has the ID that Docker gives it', () => {
    const made = configFromDockerV1(bytes({ os: 'linux', config: { Env: ['A=<&>\u2028'], Cmd: [] } }), [diffId], []);
    assert.equal(
      Buffer.from(made).toString(),
      `{"config":{"Env":["A=\\u003c\\u0026\\u003e\\u2028"],"Cmd":[]},"history":[],"os":"linux",` +
        `"rootfs":{"type":"layers","diff_ids":["${diffId}"]}}`,
    );
  });
  it('is not taken from the v1 JSON where that pretends to have layers', () => {
    const made = configFromDockerV1(
      bytes({ rootfs: { type: 'layers', diff_ids: ['x'] }, history: [{}] }),
      [diffId],
      [],
    );
    assert.deepEqual(JSON.parse(Buffer.from(made).toString()), {
      rootfs: { type: 'layers', diff_ids: [diffId] },
      history: [],
    });
  });
});
