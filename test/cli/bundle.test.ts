import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BundleSpec, runtimeSpec } from '../../src/cli/bundle.js';
import { parseImageConfig } from '../../src/spec/image-config.js';
import { runtimeConfigOf } from '../../src/spec/runtime.js';

const SPEC = {
  rootfs: '/r',
  hostname: 'h',
  process: {
    args: ['/x'],
    env: [],
    cwd: '/',
    user: { uid: 0, gid: 0, additionalGids: [] },
    terminal: false,
  },
  readOnly: false,
  hostFiles: [],
  volumes: [],
  cgroup2: true,
} satisfies Omit<BundleSpec, 'runtime'>;

function runtimeOf(config: object) {
  const rootfs = { type: 'layers', diff_ids: [`sha256:${'a'.repeat(64)}`] };
  return runtimeConfigOf(parseImageConfig(Buffer.from(JSON.stringify({ config, rootfs }))));
}

test('a bundle carries what has no place of its own as annotations, labels the stronger', () => {
  const runtime = runtimeOf({
    StopSignal: 'SIGQUIT',
    ExposedPorts: { '80/tcp': {}, '53/udp': {} },
    Labels: { maintainer: 'm', 'org.opencontainers.image.stopSignal': 'SIGINT' },
  });
  assert.deepEqual(runtimeSpec({ ...SPEC, runtime })['annotations'], {
    'org.opencontainers.image.stopSignal': 'SIGINT',
    'org.opencontainers.image.exposedPorts': '80/tcp,53/udp',
    maintainer: 'm',
  });
});

test('a bundle of an image whose wishes are ignored has none', () => {
  assert.deepEqual(runtimeSpec({ ...SPEC, runtime: undefined })['annotations'], {});
});
