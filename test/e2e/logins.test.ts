/** Logins that other programs made: podman's, skopeo's, and those of a real credential helper, for a registry that wants one. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { DockerRegistry } from './docker-registry.js';
import { type Outcome, TestStore } from './larder.js';

const without = (...programs: readonly string[]): string | false => {
  const missing = programs.filter((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
  return missing.length > 0 && `not installed: ${missing.join(', ')}`;
};

describe('a login', { skip: without('docker-registry') }, () => {
  let directory: string;
  let registry: DockerRegistry;
  const stores: TestStore[] = [];

  before(async () => {
    // gpg-agent's socket needs a short path.
    directory = mkdtempSync(join(tmpdir(), 'ld-'));
    registry = await DockerRegistry.start(join(directory, 'registry'), { login: true });
    for (const name of ['team/app', 'other/app'])
      await registry.push(`${name}:1`, buildImage({ layers: [{ tar: sampleLayer(name) }] }));
  });
  after(async () => {
    for (const store of stores) store.dispose();
    await registry.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Into a store of its own, as somebody who has these variables. */
  const pull = (name: string, env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Outcome> => {
    const store = new TestStore();
    stores.push(store);
    return store.run([...args, 'pull', `${registry.host}/${name}:1`], { env });
  };
  const works = async (outcome: Promise<Outcome>): Promise<void> => {
    const { status, stderr } = await outcome;
    assert.equal(status, 0, stderr);
  };
  const fails = async (outcome: Promise<Outcome>): Promise<void> => {
    const { status, stderr } = await outcome;
    assert.equal(status, 5, stderr);
    assert.match(stderr, /wants a login/);
    assert.match(stderr, /docker login/);
  };

  test('of nobody is not enough', () => fails(pull('team/app', {})));

  for (const program of ['podman', 'skopeo'] as const) {
    test(`by ${program} counts where ${program} keeps it`, { skip: without(program) }, async () => {
      const runtime = join(directory, `run-${program}`);
      mkdirSync(runtime, { mode: 0o700 });
      const args = ['login', '--tls-verify=false', '-u', 'user', '-p', 'pass', registry.host];
      execFileSync(program, args, { env: { ...process.env, XDG_RUNTIME_DIR: runtime, HOME: runtime }, stdio: 'pipe' });
      const file = join(runtime, 'containers/auth.json');
      assert.match(readFileSync(file, 'utf8'), /127\.0\.0\.1/);
      await works(pull('team/app', { XDG_RUNTIME_DIR: runtime }));
      await works(pull('team/app', { REGISTRY_AUTH_FILE: file }));
      await works(pull('team/app', {}, '--docker-config', file));
      await fails(pull('team/app', { XDG_RUNTIME_DIR: runtime, DOCKER_CONFIG: runtime }));
    });
  }

  test('by podman for a part of the registry opens that part', { skip: without('podman') }, async () => {
    const file = join(directory, 'part.json');
    const args = [
      'login',
      '--authfile',
      file,
      '--tls-verify=false',
      '-u',
      'user',
      '-p',
      'pass',
      `${registry.host}/team`,
    ];
    execFileSync('podman', args, { stdio: 'pipe' });
    await works(pull('team/app', { REGISTRY_AUTH_FILE: file }));
    await fails(pull('other/app', { REGISTRY_AUTH_FILE: file }));
  });

  test('is got from a credential helper', { skip: without('docker-credential-pass', 'pass', 'gpg') }, async () => {
    const home = join(directory, 'p');
    mkdirSync(join(home, '.docker'), { recursive: true, mode: 0o700 });
    const env = { PATH: process.env['PATH'] ?? '', HOME: home, GNUPGHOME: home };
    const run = (program: string, args: readonly string[], input = ''): string =>
      execFileSync(program, args, { env, input, stdio: ['pipe', 'pipe', 'pipe'], encoding: 'utf8' });
    try {
      run('gpg', [
        '--batch',
        '--passphrase',
        '',
        '--quick-gen-key',
        'larder@test.invalid',
        'default',
        'default',
        'never',
      ]);
      run('pass', ['init', 'larder@test.invalid']);
      run(
        'docker-credential-pass',
        ['store'],
        JSON.stringify({ ServerURL: registry.host, Username: 'user', Secret: 'pass' }),
      );
      writeFileSync(join(home, '.docker/config.json'), JSON.stringify({ credsStore: 'pass' }), { mode: 0o600 });
      await works(pull('team/app', env));
      run('docker-credential-pass', ['erase'], registry.host);
      await fails(pull('team/app', env));
    } finally {
      spawnSync('gpgconf', ['--kill', 'all'], { env });
    }
  });
});
