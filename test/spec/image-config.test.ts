import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseImageConfig, platformOfConfig } from '../../src/spec/image-config.js';

const ROOTFS = { type: 'layers', diff_ids: [`sha256:${'a'.repeat(64)}`] };
const parse = (document: unknown) => parseImageConfig(Buffer.from(JSON.stringify(document)));
const withConfig = (config: unknown) => parse({ architecture: 'amd64', os: 'linux', config, rootfs: ROOTFS });

describe('an image config', () => {
  it('of Docker is read with all that it says', () => {
    const image = parse({
      architecture: 'arm64',
      variant: 'v8',
      os: 'linux',
      created: '2024-01-01T00:00:00Z',
      docker_version: '20.10',
      container_config: { Cmd: ['x'] },
      config: {
        Env: ['PATH=/bin'],
        Entrypoint: ['/e'],
        Cmd: ['a', 'b'],
        User: 'nobody',
        WorkingDir: '/w',
        StopSignal: 'SIGINT',
        ExposedPorts: { '80/tcp': {} },
        Volumes: { '/v': {} },
        Labels: { a: 'b' },
        Healthcheck: { Test: ['CMD', 'true'], Interval: 30e9 },
        OnBuild: null,
        ArgsEscaped: true,
      },
      rootfs: ROOTFS,
      history: [{ created_by: 'x', empty_layer: true }, {}],
    });
    assert.deepEqual(platformOfConfig(image), { os: 'linux', architecture: 'arm64' });
    assert.deepEqual(image.config.ExposedPorts, ['80/tcp']);
    assert.deepEqual(image.config.Healthcheck, {
      Test: ['CMD', 'true'],
      Interval: 30e9,
      Timeout: 0,
      StartPeriod: 0,
      Retries: 0,
    });
    assert.deepEqual(
      image.history.map((entry) => entry.emptyLayer),
      [true, false],
    );
    assert.equal(image.diffIds.length, 1);
  });

  it('may have null wherever Go writes it', () => {
    const config = {
      Env: null,
      Cmd: null,
      Entrypoint: null,
      Labels: null,
      Volumes: null,
      ExposedPorts: null,
      User: null,
      Healthcheck: null,
    };
    const image = parse({ created: null, config, rootfs: ROOTFS, history: null });
    assert.deepEqual(image.config.Env, []);
    assert.equal(image.config.Cmd, undefined);
    assert.equal(platformOfConfig(image), undefined);
    assert.deepEqual(parse({ config: null, rootfs: ROOTFS }).config, image.config);
  });

  it('may have a single string for a command', () => assert.deepEqual(withConfig({ Cmd: 'sh' }).config.Cmd, ['sh']));

  const refused: Readonly<Record<string, unknown>> = {
    'is empty': {},
    'is a list': [],
    'has no DiffIDs': { rootfs: { type: 'layers', diff_ids: [] } },
    'has another kind of root file system': { rootfs: { type: 'other', diff_ids: ROOTFS.diff_ids } },
    'has an Env that is no list': { config: { Env: 'a=b' }, rootfs: ROOTFS },
    'has a label that is no text': { config: { Labels: { a: 1 } }, rootfs: ROOTFS },
  };
  for (const [what, document] of Object.entries(refused)) {
    it(`that ${what} is refused`, () => assert.throws(() => parse(document), { code: 'LARDER_CONFIG_INVALID' }));
  }
  it('with a DiffID that is none is refused', () => {
    const rootfs = { type: 'layers', diff_ids: ['sha256:../../x'] };
    assert.throws(() => parse({ rootfs }), { code: 'LARDER_DIGEST_INVALID' });
  });
  it('that is a layer is refused', () => {
    assert.throws(() => parseImageConfig(Buffer.alloc(1024)), { code: 'LARDER_CONFIG_INVALID' });
  });
});
