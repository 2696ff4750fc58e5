/** The command where registries are run as they are in earnest: real programs and real files, nothing set up by the library. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type BuiltImage, buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { TokenServer } from '../../src/testing/token-server.js';
import { Authority, type Pair } from '../helpers/certificates.js';
import { noiseLayer } from '../helpers/noise.js';
import { startConnectProxy } from '../helpers/proxies.js';
import { DockerRegistry, freePort } from './docker-registry.js';
import { type RunOptions, TestStore } from './larder.js';
import { Nginx } from './nginx.js';
import { needs, needsRoot } from './tools.js';
import { Wire } from './wire.js';

const NOBODY = 65534;
const LARGE_BYTES = 24 << 20;
const LOGIN = { auth: Buffer.from('user:pass').toString('base64') };

describe('the command among real networks', { skip: needs('docker-registry', 'openssl', 'nginx') }, () => {
  let directory: string;
  let authority: Authority;
  let me: Pair;
  let large: BuiltImage;
  let tokens: TokenServer;
  let nginx: Nginx;
  /** Without a login; with htpasswd; with a token server. All have the same images. */
  let open: DockerRegistry;
  let registries: DockerRegistry[] = [];
  /** Ports of nginx: it wants a client certificate; a password; nothing; nothing, and notes who asks for what. */
  let [certified, passworded, tokened, counted] = [0, 0, 0, 0];
  const stores: TestStore[] = [];
  let made = 0;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'larder-networks-'));
    chmodSync(directory, 0o755);
    mkdirSync(join(directory, 'pki'));
    authority = Authority.make(join(directory, 'pki'));
    me = authority.issue('me');
    const signer = authority.issue('signer');
    const server = authority.issue('server', ['IP:127.0.0.1', 'IP:::1', 'DNS:registry.test', 'DNS:other.test']);
    const issuer = { key: authority.read(signer.keyFile), issuer: 'test', users: { user: 'pass' } };
    tokens = await TokenServer.start(issuer);
    open = await DockerRegistry.start(join(directory, 'origin'));
    const locked = await DockerRegistry.start(join(directory, 'origin'), { login: true });
    registries = [open, locked];
    large = buildImage({ layers: [{ tar: noiseLayer('noise', LARGE_BYTES) }] });
    await open.push('team/large:1', large);
    const layers = Array.from({ length: 12 }, (_, i) => ({ tar: sampleLayer(`layer-${i}`, 10_000) }));
    await open.push('team/app:1', buildImage({ layers }));
    const htpasswd = put('nginx-passwd', `user:{PLAIN}pass\n`);
    // The registry names the token server by nginx's port, and nginx the registry.
    const registryPort = await freePort();
    nginx = await Nginx.start(join(directory, 'nginx'), server, [
      `ssl_client_certificate ${authority.caFile}; ssl_verify_client on; keepalive_requests 2;
      location /v2/ { proxy_pass http://${locked.host}; }
      location /cache/v2/ { if ($http_x_cache != open) { return 403; } proxy_pass http://${open.host}/v2/; }`,
      `auth_basic test; auth_basic_user_file ${htpasswd}; location /v2/ { proxy_pass http://${open.host}; }`,
      `location /v2/ { proxy_pass http://127.0.0.1:${registryPort}; } location /token { proxy_pass ${tokens.realm}; }`,
      `access_log ${join(directory, 'access')}; location /v2/ { proxy_pass http://${open.host}; }`,
    ]);
    [certified = 0, passworded = 0, tokened = 0, counted = 0] = nginx.ports;
    registries.push(
      await DockerRegistry.start(join(directory, 'origin'), {
        port: registryPort,
        tokens: { realm: `https://registry.test:${tokened}/token`, certFile: signer.certFile },
      }),
    );
  });
  after(async () => {
    for (const store of stores) store.dispose();
    await nginx?.[Symbol.asyncDispose]();
    await tokens?.[Symbol.asyncDispose]();
    for (const registry of registries) await registry.close();
    rmSync(directory, { recursive: true, force: true });
  });

  function put(path: string, text: string, mode = 0o644): string {
    const whole = join(directory, path);
    mkdirSync(dirname(whole), { recursive: true });
    writeFileSync(whole, text, { mode });
    return whole;
  }

  const json = (path: string, value: object): string => put(path, JSON.stringify(value));

  /** Into a store of its own, with no other variables than these. */
  async function pull(reference: string, options: RunOptions = {}): Promise<{ status: number; said: string }> {
    const store = new TestStore();
    stores.push(store);
    if (options.uid !== undefined) chownSync(store.directory, options.uid, options.uid);
    const { status, stdout, stderr } = await store.run(['pull', reference], options);
    return { status, said: `${stdout}${stderr}` };
  }

  async function works(reference: string, options: RunOptions): Promise<string> {
    const { status, said } = await pull(reference, options);
    assert.equal(status, 0, said);
    return said;
  }

  describe('of an ordinary user who has only podman’s files', { skip: needsRoot() }, () => {
    /** A home with certificates, a login and a mirror; podman would need nothing more. */
    function home(host: string, name: string): Record<string, string> {
      const at = `home-${made++}`;
      const containers = `${at}/.config/containers`;
      put(`${containers}/certs.d/${host}/ca.crt`, authority.ca);
      put(`${containers}/certs.d/${host}/client.cert`, authority.read(me.certFile));
      put(`${containers}/certs.d/${host}/client.key`, authority.read(me.keyFile));
      put(
        `${containers}/registries.conf`,
        `[[registry]]\nprefix = "${name}"\nlocation = "gone.test"\n[[registry.mirror]]\nlocation = "${host}"`,
      );
      json(`${at}/run/containers/auth.json`, { auths: { [host]: LOGIN } });
      return { HOME: join(directory, at), XDG_RUNTIME_DIR: join(directory, at, 'run') };
    }

    for (const address of ['127.0.0.1', '[::1]']) {
      test(`a registry at ${address} with TLS, a client certificate and htpasswd opens`, async () => {
        const host = `${address}:${certified}`;
        const said = await works(`${host}/team/app:1`, { uid: NOBODY, env: home(host, 'unused.test') });
        assert.doesNotMatch(said, /again|retry|instead/i);
      });

      test(`a mirror at ${address} is all that is asked`, async () => {
        const host = `${address}:${certified}`;
        await works('registry.test/team/app:1', { uid: NOBODY, env: home(host, 'registry.test') });
      });
    }
  });

  test('a login that nginx itself wants is found in Docker’s file, and a wrong one ends with 5', async () => {
    const host = `127.0.0.1:${passworded}`;
    const env = { SSL_CERT_FILE: authority.caFile };
    const config = json('right/config.json', { auths: { [host]: LOGIN } });
    await works(`${host}/team/app:1`, { env: { ...env, DOCKER_CONFIG: dirname(config) } });
    const wrong = json('wrong/config.json', { auths: { [host]: { username: 'user', password: 'SECRET' } } });
    const refused = await pull(`${host}/team/app:1`, { env: { ...env, DOCKER_CONFIG: dirname(wrong) } });
    assert.equal(refused.status, 5, refused.said);
    assert.doesNotMatch(refused.said, /SECRET/);
  });

  test('a token server is reached through the proxy of the environment with the login of a helper program', async () => {
    await using proxy = await startConnectProxy({ login: { username: 'me', password: 'SECRET' } });
    const asked = join(directory, 'asked');
    const helper = [
      '#!/bin/sh',
      `read -r server; echo "$1 $server" >> ${asked}`,
      `echo '{"ServerURL":"","Username":"user","Secret":"pass"}'`,
    ];
    put('bin/docker-credential-lab', `${helper.join('\n')}\n`, 0o755);
    const host = `registry.test:${tokened}`;
    json('helped/config.json', { credHelpers: { [host]: 'lab' } });
    const env = {
      PATH: `${join(directory, 'bin')}:${process.env['PATH']}`,
      DOCKER_CONFIG: join(directory, 'helped'),
      SSL_CERT_FILE: authority.caFile,
      https_proxy: `http://me:SECRET@${proxy.host}`,
    };
    const seen = tokens.requests.length;
    const said = await works(`${host}/team/app:1`, { env });
    assert.deepEqual(new Set(proxy.asked), new Set([host]));
    assert.equal(readFileSync(asked, 'utf8'), `get ${host}\n`);
    assert.deepEqual(
      tokens.requests.slice(seen).map(({ status }) => status),
      [200],
    );
    assert.doesNotMatch(said, /SECRET/);
    const direct = await pull(`${host}/team/app:1`, { env: { ...env, no_proxy: '.test' } });
    assert.equal(direct.status, 8, direct.said);
  });

  test('a pull that finds nothing new asks nobody, and with --refresh it asks with one HEAD', async () => {
    await using proxy = await startConnectProxy();
    const store = new TestStore();
    stores.push(store);
    // Not by an address of this machine, which is asked first whether it speaks TLS.
    const reference = `registry.test:${counted}/team/app:1`;
    const env = { SSL_CERT_FILE: authority.caFile, https_proxy: proxy.host };
    const asked = (): string[] => readFileSync(join(directory, 'access'), 'utf8').match(/(?<=")[A-Z]+ \S+/g) ?? [];
    const again = async (...args: readonly string[]): Promise<string[]> => {
      const before = asked().length;
      const { status, stderr } = await store.run(args, { env });
      assert.equal(status, 0, stderr);
      return asked().slice(before);
    };
    assert.equal((await again('pull', reference)).length, 14);
    assert.deepEqual(await again('pull', reference), []);
    assert.deepEqual(await again('pull', '--refresh', reference), ['HEAD /v2/team/app/manifests/1']);
  });

  test('a tree of containerd’s leads below a path, with header and certificate, where the registry is gone', async () => {
    const gone = `127.0.0.1:${await freePort()}`;
    put('tree/ca.pem', authority.ca);
    put(
      `tree/${gone}/hosts.toml`,
      `server = "http://${gone}"
      [host."https://[::1]:${certified}/cache"]
      ca = "../ca.pem"
      client = [["${me.certFile}", "${me.keyFile}"]]
      [host."https://[::1]:${certified}/cache".header]
      x-cache = "open"`,
    );
    await works(`${gone}/team/app:1`, { env: { LARDER_REGISTRIES_CONF: join(directory, 'tree') } });
  });

  test('a mirror that is killed in the middle of a layer is replaced from the byte reached', async () => {
    const mirror = await DockerRegistry.start(join(directory, 'origin'));
    registries.push(mirror);
    await using toMirror = await Wire.to(mirror.host);
    await using toOrigin = await Wire.to(open.host);
    const layer = Math.max(...large.blobs.map(({ length }) => length));
    const killed = toMirror.doAfter(layer / 3, () => mirror.close('SIGKILL'));
    const conf = put(
      'killed.conf',
      `[[registry]]\nlocation = "${toOrigin.host}"\n[[registry.mirror]]\nlocation = "${toMirror.host}"`,
    );
    const said = await works(`${toOrigin.host}/team/large:1`, { env: { CONTAINERS_REGISTRIES_CONF: conf } });
    await killed;
    assert.match(said, new RegExp(`${toOrigin.host} is asked instead of ${toMirror.host}`));
    const total = toMirror.bytes + toOrigin.bytes;
    assert.ok(toMirror.bytes < layer && toOrigin.bytes < layer, `${toMirror.bytes} and ${toOrigin.bytes} bytes`);
    assert.ok(total <= layer * 1.05, `${total} bytes for a layer of ${layer}`);
  });
});
