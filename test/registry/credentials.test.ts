import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { inspect } from 'node:util';
import { isLarderError } from '../../src/errors.js';
import {
  loadDockerConfig,
  overlayCredentials,
  parseDockerConfig,
  readDockerConfig,
} from '../../src/registry/credentials.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const auth = (text: string): string => Buffer.from(text).toString('base64');
const parse = (config: unknown) => parseDockerConfig(JSON.stringify(config), 'test');
const who = { kind: 'password', username: 'u', password: 'p:w', source: 'test' };

describe('credentials of a config.json', () => {
  it('are found by the exact host, with its port', async () => {
    const credentials = parse({
      auths: { 'quay.io': { auth: auth('u:p:w') }, 'r.example:5000': { username: 'u', password: 'p:w' } },
    });
    for (const host of ['quay.io', 'quay.io:443', 'r.example:5000'])
      assert.deepEqual(await credentials.find(host, 'a/b'), who, host);
    for (const other of [
      'quay.io.evil.example',
      'evilquay.io',
      'x.quay.io',
      'quay.io:8443',
      'r.example',
      'r.example:5001',
      'io',
      '',
    ]) {
      assert.equal(await credentials.find(other, 'a/b'), undefined, other);
    }
  });

  for (const key of [
    'https://index.docker.io/v1/',
    'docker.io',
    'index.docker.io',
    'registry-1.docker.io',
    'https://registry-1.docker.io/v2/',
  ]) {
    it(`under ${key} are Docker Hub's`, async () => {
      const credentials = parse({ auths: { [key]: { auth: auth('u:p:w') } } });
      assert.deepEqual(await credentials.find('registry-1.docker.io', 'library/a'), who);
      assert.equal(await credentials.find('docker.io.evil.example', 'library/a'), undefined);
    });
  }

  it('may stand in the document itself, as they did in .dockercfg', async () => {
    const credentials = parse({ 'https://quay.io/v1/': { auth: auth('u:p:w'), email: 'x@y' }, 'r.example:5000': {} });
    assert.deepEqual(await credentials.find('quay.io'), who);
    assert.equal(await credentials.find('r.example:5000'), undefined);
    assert.equal(await parse({ proxies: { default: {} }, HttpHeaders: { a: 'b' } }).find('proxies'), undefined);
    // A config.json with `auths` has all of them there.
    assert.equal(await parse({ auths: {}, 'quay.io': { auth: auth('u:p') } }).find('quay.io'), undefined);
  });

  it('may be tokens, which come before passwords', async () => {
    const credentials = parse({
      auths: {
        'a.example': { auth: auth('u:p'), identitytoken: 'refresh' },
        'b.example': { auth: auth('u:p'), identitytoken: 'refresh', registrytoken: 'as-it-is' },
        // What `docker login` leaves: a name without a password.
        'c.example': { auth: auth('00000000-0000-0000-0000-000000000000:'), identitytoken: 'azure' },
      },
    });
    assert.deepEqual(await credentials.find('a.example'), { kind: 'identity', token: 'refresh', source: 'test' });
    assert.deepEqual(await credentials.find('b.example'), { kind: 'bearer', token: 'as-it-is', source: 'test' });
    assert.deepEqual(await credentials.find('c.example'), { kind: 'identity', token: 'azure', source: 'test' });
  });

  it('for a part of a registry open that part and nothing else, the longest first', async () => {
    const credentials = parse({
      auths: {
        'quay.io': { auth: auth('all:1') },
        'quay.io/team': { auth: auth('team:1') },
        'quay.io/team/app': { auth: auth('app:1') },
        'docker.io/mine': { auth: auth('mine:1') },
      },
    });
    const userOf = async (host: string, repository?: string) => {
      const login = await credentials.find(host, repository);
      return login?.kind === 'password' ? login.username : login;
    };
    assert.equal(await userOf('quay.io', 'team/app'), 'app');
    assert.equal(await userOf('quay.io', 'team/app/deep'), 'app');
    assert.equal(await userOf('quay.io', 'team/other'), 'team');
    assert.equal(await userOf('quay.io', 'team'), 'team');
    assert.equal(await userOf('quay.io', 'teams/app'), 'all');
    assert.equal(await userOf('quay.io', 'x/team/app'), 'all');
    assert.equal(await userOf('quay.io'), 'all');
    assert.equal(await userOf('registry-1.docker.io', 'mine/app'), 'mine');
    assert.equal(await userOf('registry-1.docker.io', 'library/app'), undefined);
    assert.equal(await userOf('evil.example', 'quay.io/team/app'), undefined);
  });

  it('of one image come before the default ones, key by key', async () => {
    const own = parse({ auths: { 'quay.io': { auth: auth('own:1') } }, credHelpers: { 'gcr.io': 'own' } });
    const all = parse({ auths: { 'quay.io': { auth: auth('all:1') }, 'ghcr.io': { auth: auth('all:2') } } });
    const both = overlayCredentials(own, all);
    assert.match(JSON.stringify(await both.find('quay.io')), /own/);
    assert.match(JSON.stringify(await both.find('ghcr.io')), /"2"/);
    assert.equal(await both.find('gcr.io'), undefined);
    assert.equal(both.unusedHelper('gcr.io'), 'own');
  });

  it('do not print', () => {
    const credentials = parse({ auths: { 'quay.io': { auth: auth('u:planted'), identitytoken: 'planted' } } });
    assert.ok(
      !`${inspect(credentials, { depth: 9, showHidden: true })}${JSON.stringify(credentials)}`.includes('planted'),
    );
  });

  it('may be kept by a helper, which is named where nobody runs it', async () => {
    const credentials = parse({ auths: { 'quay.io': {} }, credsStore: 'desktop', credHelpers: { 'gcr.io': 'gcloud' } });
    assert.equal(await credentials.find('quay.io'), undefined);
    assert.equal(credentials.unusedHelper('gcr.io'), 'gcloud');
    assert.equal(credentials.unusedHelper('quay.io'), 'desktop');
    assert.equal(parse({}).unusedHelper('quay.io'), undefined);
  });

  for (const name of ['../evil', '/bin/sh', 'a/b', '', '-x', '.', 'a b', 'a\0b'].filter((name) => name !== '')) {
    it(`refuse a helper called ${JSON.stringify(name)}`, () => {
      assert.throws(() => parse({ credsStore: name }), { code: 'LARDER_CONFIG_INVALID' });
      assert.throws(() => parse({ credHelpers: { 'a.example': name } }), { code: 'LARDER_CONFIG_INVALID' });
    });
  }

  it('that cannot be read are refused, and not quoted', () => {
    for (const text of [
      '{"auths":{"a.b":{"auth":"s3cret"}}',
      '{"auths":[]}',
      '[]',
      `{"auths":{"a.b":{"auth":"${auth('s3cret')}"}}}`,
      '{"auths":{"a.b":{"registrytoken":"s3cret\\r\\nX-Evil: 1"}}}',
    ]) {
      assert.throws(
        () => parseDockerConfig(text, 'test'),
        (error) =>
          isLarderError(error, 'LARDER_CONFIG_INVALID') &&
          !JSON.stringify([error.message, error.cause]).includes('s3cret'),
      );
    }
  });
});

describe('the files that logins are read from', () => {
  let home: string;
  beforeEach(() => {
    home = makeDirectory();
  });
  afterEach(() => removeDirectory(home));

  const write = (path: string, logins: Readonly<Record<string, string>>): string => {
    const file = join(home, path);
    mkdirSync(dirname(file), { recursive: true });
    const auths = Object.fromEntries(Object.entries(logins).map(([host, name]) => [host, { auth: auth(`${name}:x`) }]));
    writeFileSync(file, JSON.stringify(path.endsWith('cfg') ? auths : { auths }), { mode: 0o600 });
    return file;
  };
  const whoIs = async (env: NodeJS.ProcessEnv, host: string): Promise<string | undefined> => {
    const login = await (await loadDockerConfig({ HOME: home, ...env })).find(host);
    return login?.kind === 'password' ? login.username : undefined;
  };

  it('are none where there are none', async () => {
    assert.equal(await whoIs({ XDG_RUNTIME_DIR: home }, 'quay.io'), undefined);
    assert.equal(await whoIs({ DOCKER_CONFIG: home }, 'quay.io'), undefined);
    assert.equal(await whoIs({ REGISTRY_AUTH_FILE: join(home, 'gone') }, 'quay.io'), undefined);
  });

  it("are podman's and Docker's, registry by registry, the first that has a login", async () => {
    const env = { XDG_RUNTIME_DIR: join(home, 'run') };
    write('.dockercfg', { 'a.example': 'old', 'b.example': 'old', 'c.example': 'old', 'd.example': 'old' });
    write('.docker/config.json', { 'a.example': 'docker', 'b.example': 'docker', 'c.example': 'docker' });
    write('.config/containers/auth.json', { 'a.example': 'config', 'b.example': 'config' });
    write('run/containers/auth.json', { 'a.example': 'runtime' });
    assert.equal(await whoIs(env, 'a.example'), 'runtime');
    assert.equal(await whoIs(env, 'b.example'), 'config');
    assert.equal(await whoIs(env, 'c.example'), 'docker');
    assert.equal(await whoIs(env, 'd.example'), 'old');
    write('xdg/containers/auth.json', { 'b.example': 'xdg' });
    assert.equal(await whoIs({ ...env, XDG_CONFIG_HOME: join(home, 'xdg') }, 'b.example'), 'xdg');
  });

  it('are one alone where a variable names it', async () => {
    write('.docker/config.json', { 'a.example': 'docker', 'b.example': 'docker' });
    const named = write('named.json', { 'a.example': 'named' });
    write('dir/config.json', { 'a.example': 'directory' });
    const both = { REGISTRY_AUTH_FILE: named, DOCKER_CONFIG: join(home, 'dir') };
    assert.equal(await whoIs(both, 'a.example'), 'named');
    assert.equal(await whoIs(both, 'b.example'), undefined);
    assert.equal(await whoIs({ DOCKER_CONFIG: join(home, 'dir') }, 'a.example'), 'directory');
    assert.equal(await whoIs({ DOCKER_CONFIG: join(home, 'dir') }, 'b.example'), undefined);
  });

  it('are read again when somebody logs in', async () => {
    const path = write('config.json', { 'a.example': 'first' });
    const credentials = await readDockerConfig({ kind: 'file', path });
    assert.match(JSON.stringify(await credentials.find('a.example')), /first/);
    write('config.json', { 'a.example': 'second' });
    utimesSync(path, new Date(), new Date(Date.now() + 2000));
    assert.match(JSON.stringify(await credentials.find('a.example')), /second/);
  });

  it('must be there where the setting names one', async () => {
    await assert.rejects(readDockerConfig({ kind: 'file', path: join(home, 'gone') }), /credentials: .*gone/);
  });

  it('are refused where others can write to them', async () => {
    const path = write('config.json', { 'a.example': 'x' });
    chmodSync(path, 0o662);
    await assert.rejects(readDockerConfig({ kind: 'file', path }), { code: 'LARDER_POLICY_DENIED', hint: /chmod/ });
  });
});
