/** Credential helpers as real programs: shell scripts that speak the protocol, and some that do not. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { inspect } from 'node:util';
import type { LarderError } from '../../src/errors.js';
import { CredentialHelpers, type HelperOptions } from '../../src/registry/credential-helper.js';
import { loadDockerConfig } from '../../src/registry/credentials.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { clientWith, IMAGE, referenceTo } from './fixtures.js';

describe('a credential helper', () => {
  let directory: string;
  beforeEach(() => {
    directory = makeDirectory();
  });
  afterEach(() => removeDirectory(directory));

  const install = (name: string, script: string): void =>
    writeFileSync(join(directory, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const env = (): NodeJS.ProcessEnv => ({ PATH: `${directory}:/usr/bin:/bin`, OUT: directory });
  const helpers = (more: HelperOptions = {}) => new CredentialHelpers({ env: env(), ...more });
  const said = (name: string): string => readFileSync(join(directory, name), 'utf8');

  it('is asked with `get` and the server on its standard input', async () => {
    install('x', 'echo "$@" >"$OUT/args"; cat >"$OUT/input"; echo \'{"ServerURL":"q","Username":"u","Secret":"p"}\'');
    const login = await helpers().get('x', 'quay.io');
    assert.deepEqual(login, { kind: 'password', username: 'u', password: 'p', source: 'docker-credential-x' });
    assert.equal(said('args'), 'get\n');
    assert.equal(said('input'), 'quay.io');
    await helpers().get('x', 'docker.io');
    assert.equal(said('input'), 'https://index.docker.io/v1/');
  });

  it('gives an identity token under the name <token>', async () => {
    install('x', 'echo \'{"ServerURL":"q","Username":"<token>","Secret":"refresh"}\'');
    assert.deepEqual(await helpers().get('x', 'q.example'), {
      kind: 'identity',
      token: 'refresh',
      source: 'docker-credential-x',
    });
  });

  it('may have nothing', async () => {
    install('x', 'echo "credentials not found in native keychain"; exit 1');
    install('empty', 'echo \'{"ServerURL":"","Username":"","Secret":""}\'');
    assert.equal(await helpers().get('x', 'q.example'), undefined);
    assert.equal(await helpers().get('empty', 'q.example'), undefined);
  });

  for (const [what, script, why] of [
    ['fails', 'echo s3cret; echo s3cret >&2; exit 3', /status 3/],
    ['is killed', 'echo s3cret; kill -9 $$', /SIGKILL/],
    ['says no JSON', 'echo s3cret', /not the JSON/],
    ['says other JSON', 'echo \'{"secret":"s3cret"}\'', /not the JSON/],
    ['says no name', 'echo \'{"Username":"","Secret":"s3cret"}\'', /no user name/],
    ['says too much', 'yes s3cret | head -c 200000', /more than 65536 bytes/],
    ['does not end', 'echo s3cret >&2; sleep 60', /did not end within 1 s/],
  ] as const) {
    it(`that ${what} is a failure, which quotes nothing`, async () => {
      install('x', script);
      await assert.rejects(helpers({ timeoutMs: 1000 }).get('x', 'q.example'), (error: LarderError) => {
        assert.equal(error.code, 'LARDER_REGISTRY_UNAUTHENTICATED');
        assert.match(error.message, /^ask docker-credential-x for the login of q\.example: /);
        assert.match(error.message, why);
        return !inspect(error, { depth: 9, showHidden: true }).includes('s3cret');
      });
    });
  }

  it('that is not installed is a failure', async () => {
    await assert.rejects(helpers().get('nobody', 'q.example'), { message: /no such program on \$PATH/ });
  });

  it('sees its user’s variables, and none of larder’s', async () => {
    install('x', 'env >"$OUT/env"; echo \'{"Username":"u","Secret":"p"}\'');
    const mine = { AWS_PROFILE: 'work', LARDER_DOCKER_CONFIG: 's3cret', NODE_OPTIONS: '--x', LD_PRELOAD: '' };
    await helpers({ env: { ...env(), ...mine } }).get('x', 'q.example');
    assert.match(said('env'), /AWS_PROFILE=work/);
    assert.doesNotMatch(said('env'), /LARDER_|NODE_OPTIONS|LD_PRELOAD|s3cret/);
  });

  it('is asked once for many, and again where what it said was refused', async () => {
    install('x', 'echo >>"$OUT/calls"; echo \'{"Username":"u","Secret":"p"}\'');
    const asked = helpers();
    await Promise.all(Array.from({ length: 5 }, () => asked.get('x', 'q.example')));
    await asked.get('x', 'q.example');
    assert.equal(said('calls').length, 1);
    await asked.get('x', 'q.example', { fresh: true });
    assert.equal(said('calls').length, 2);
  });

  describe('of a config.json', () => {
    const configure = (config: unknown): void =>
      writeFileSync(join(directory, 'config.json'), JSON.stringify(config), { mode: 0o600 });
    const load = () => loadDockerConfig({ ...env(), DOCKER_CONFIG: directory });
    const auth = Buffer.from('written:down').toString('base64');

    it('comes before what is written down; that counts where the helper has nothing', async () => {
      install('has', 'echo \'{"Username":"helped","Secret":"p"}\'');
      install('none', 'echo "credentials not found in native keychain"; exit 1');
      configure({
        auths: { 'a.example': { auth }, 'b.example': { auth }, 'c.example': {}, 'c.example/team': { auth } },
        credHelpers: { 'b.example': 'none' },
        credsStore: 'has',
      });
      const credentials = await load();
      const names = async (host: string, repository?: string) =>
        JSON.stringify(await credentials.find(host, repository));
      assert.match(await names('a.example'), /helped/);
      assert.match(await names('b.example'), /written/);
      assert.match(await names('c.example', 'other'), /helped/);
      assert.match(await names('c.example', 'team/app'), /written/);
    });

    it('logs in to a registry, and is not asked where no registry asks', async () => {
      install('x', 'echo >>"$OUT/calls"; echo \'{"Username":"user","Secret":"pass"}\'');
      configure({ credsStore: 'x' });
      await using open = await startRegistry({ images: [IMAGE] });
      await clientWith({ credentials: await load() }).client.resolve(referenceTo(open));
      assert.ok(!existsSync(join(directory, 'calls')));
      const user = { username: 'user', password: 'pass' };
      for (const type of ['basic', 'bearer'] as const) {
        await using registry = await startRegistry({ images: [IMAGE], auth: { type, ...user } });
        const { client } = clientWith({ credentials: await load() });
        await client.resolve(referenceTo(registry));
        await client.resolve(referenceTo(registry));
      }
      assert.equal(said('calls').length, 2);
    });

    it('is asked again when what it gave has run out', async () => {
      // Each password is good until the registry changes it to the next one.
      install(
        'x',
        'echo >>"$OUT/calls"; n=$(wc -l <"$OUT/calls"); echo "{\\"Username\\":\\"user\\",\\"Secret\\":\\"pass$((n))\\"}"',
      );
      configure({ credsStore: 'x' });
      for (const type of ['basic', 'bearer'] as const) {
        writeFileSync(join(directory, 'calls'), '');
        const auth = { type, username: 'user', password: 'pass1' };
        await using registry = await startRegistry({ images: [IMAGE], auth });
        const { client } = clientWith({ credentials: await load() });
        await client.resolve(referenceTo(registry));
        auth.password = 'pass2';
        registry.expireTokens();
        await client.resolve(referenceTo(registry));
        assert.equal(said('calls').length, 2, type);
      }
    });
  });
});
