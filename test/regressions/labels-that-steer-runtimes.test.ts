import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runtimeSpec } from '../../src/cli/bundle.js';
import { parseImageConfig } from '../../src/spec/image-config.js';
import { runtimeConfigOf } from '../../src/spec/runtime.js';

test('labels of an image are no orders to the runtime', () => {
  const orders = {
    'run.oci.hooks.stderr': '/etc/cron.d/x',
    'run.oci.seccomp.plugins': '/x.so',
    'org.criu.config': '/x',
    'org.systemd.property.ExecStart': 'x',
    'module.wasm.image/variant': 'compat',
  };
  const kept = { maintainer: 'm', 'org.opencontainers.image.title': 't' };
  const rootfs = { type: 'layers', diff_ids: [`sha256:${'a'.repeat(64)}`] };
  const config = JSON.stringify({ config: { Labels: { ...orders, ...kept }, StopSignal: 'SIGTERM' }, rootfs });
  const { annotations } = runtimeSpec({
    rootfs: '/r',
    hostname: 'h',
    process: { args: ['/x'], env: [], cwd: '/', user: { uid: 0, gid: 0, additionalGids: [] }, terminal: false },
    readOnly: false,
    hostFiles: [],
    volumes: [],
    cgroup2: true,
    runtime: runtimeConfigOf(parseImageConfig(Buffer.from(config))),
  });
  assert.deepEqual(annotations, { 'org.opencontainers.image.stopSignal': 'SIGTERM', ...kept });
});
