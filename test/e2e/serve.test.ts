/** Programs of others pull through `larder serve`; `scripts/serve-clients.sh` does the same with more of them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { hexOf } from '../../src/spec/digest.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { buildImage, buildIndex } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { type Child, start, whileRuns } from '../helpers/child.js';
import { CommandHome } from '../helpers/command.js';
import { DockerRegistry, freePort } from './docker-registry.js';
import { needs, needsRoot } from './tools.js';

const run = promisify(execFile);
const LAYERS = [sampleLayer('base', 100_000), sampleLayer('top')].map((tar) => ({ tar }));

describe('programs of others pull through larder serve', { skip: needs('docker-registry') }, () => {
  const image = buildImage({ layers: LAYERS });
  let store: CommandHome;
  let registry: DockerRegistry;
  let serving: Child;
  let listen: string;

  before(async () => {
    store = new CommandHome();
    registry = await DockerRegistry.start(join(store.directory, 'registry'));
    await registry.push('app:1', buildIndex([image]));
    listen = `127.0.0.1:${await freePort()}`;
    serving = store.start(['serve', '--listen', listen, '--keep-blobs']);
    let said = '';
    serving.process.stderr?.on('data', (text: string) => {
      said += text;
    });
    await whileRuns(serving, () => said.includes(`at ${listen}`));
  });

  after(async () => {
    serving?.kill();
    await serving?.ended;
    await registry?.close();
    store?.dispose();
  });

  const ownHome = (): NodeJS.ProcessEnv => ({ PATH: process.env['PATH'], HOME: store.directory });

  async function copy(name: string, to: string): Promise<string> {
    const directory = join(store.directory, to);
    const from = `docker://${listen}/${registry.host.replace(':', '__')}/${name}`;
    await run('skopeo', ['copy', '-q', '--all', '--src-tls-verify=false', from, `oci:${directory}:x`]);
    return directory;
  }

  test('podman, by the address of the store', { skip: needsRoot('podman') }, async () => {
    const [root, runroot] = ['podman', 'podman-run'].map((name) => join(store.directory, name));
    const podman = async (...args: readonly string[]): Promise<string> => {
      const places = ['--root', root ?? '', '--runroot', runroot ?? '', '--storage-driver', 'vfs'];
      return (await run('podman', [...places, ...args], { env: ownHome() })).stdout.trim();
    };
    const name = `${listen}/${registry.host.replace(':', '__')}/app:1`;
    assert.equal(`sha256:${await podman('pull', '-q', '--tls-verify=false', name)}`, image.configDigest);
    await podman('rmi', '--force', name);
  });

  test('containerd, whose hosts.toml names the store as a mirror', {
    skip: needsRoot('containerd', 'ctr'),
  }, async () => {
    const socket = join(store.directory, 'containerd.sock');
    const hosts = join(store.directory, 'hosts');
    mkdirSync(join(hosts, registry.host), { recursive: true });
    // What is not to be had from the store is to be had from nobody.
    const mirror = `[host."http://${listen}"]\n  capabilities = ["pull", "resolve"]\n`;
    writeFileSync(join(hosts, registry.host, 'hosts.toml'), `server = "http://127.0.0.1:1"\n${mirror}`);
    const config = join(store.directory, 'containerd.toml');
    const [root, state] = [join(store.directory, 'containerd'), join(store.directory, 'containerd-run')];
    const disabled = 'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]';
    writeFileSync(
      config,
      `version = 2\nroot = "${root}"\nstate = "${state}"\n${disabled}\n[grpc]\n  address = "${socket}"\n`,
    );
    const containerd = start('containerd', ['--config', config], { env: ownHome() });
    const ctr = async (...args: readonly string[]): Promise<string> =>
      (await run('ctr', ['-a', socket, ...args], { env: ownHome() })).stdout;
    try {
      await until(async () => (await ctr('version').catch(() => '')) !== '', 'containerd answers');
      const name = `${registry.host}/app:1`;
      await ctr('images', 'pull', '--snapshotter', 'native', '--hosts-dir', hosts, name);
      assert.match(await ctr('content', 'ls'), new RegExp(image.configDigest));
    } finally {
      containerd.kill('SIGTERM');
      await containerd.ended;
    }
  });

  test('skopeo: an image index with all of its images, and again when the registry is gone', {
    skip: needs('skopeo'),
  }, async () => {
    await copy('app:1', 'first');
    await registry.close();
    const again = await copy('app:1', 'second');
    for (const digest of [image.digest, image.configDigest, ...image.layers.map((layer) => layer.digest)])
      assert.ok(existsSync(join(again, 'blobs', 'sha256', hexOf(digest))), digest);
    await assert.rejects(copy('other:1', 'third'), /503|Service Unavailable/);
  });

  test('it ends by itself when it is told to, and the store is sound', async () => {
    serving.process.kill('SIGTERM');
    assert.equal((await serving.ended).status, 0);
    await store.ok('check', '--deep');
  });
});
