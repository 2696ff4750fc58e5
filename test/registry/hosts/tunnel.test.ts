import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { parseDockerConfig } from '../../../src/registry/credentials.js';
import { proxiesOf } from '../../../src/registry/hosts/proxy.js';
import type { RegistryOptions } from '../../../src/registry/registry-client.js';
import { parseReference } from '../../../src/spec/reference.js';
import { type FakeRegistry, type FakeRegistryOptions, startRegistry } from '../../../src/testing/fake-registry.js';
import { needs } from '../../e2e/tools.js';
import { Authority, type Pair } from '../../helpers/certificates.js';
import { startConnectProxy, startSocksProxy, type TestProxy } from '../../helpers/proxies.js';
import { makeDirectory, removeDirectory } from '../../helpers/temporary.js';
import { clientWith, download, IMAGE, LAYER, MANIFEST_DIGEST } from '../fixtures.js';

const LOGIN = { username: 'me', password: 'SECRET@/%' };

describe('through a proxy', { skip: needs('openssl') }, () => {
  let directory: string;
  let authority: Authority;
  let pair: Pair;
  before(() => {
    directory = makeDirectory();
    authority = Authority.make(directory);
    pair = authority.issue('registry', ['DNS:registry.test', 'IP:2001:db8::1', 'DNS:proxy.test', 'IP:127.0.0.1']);
  });
  after(() => removeDirectory(directory));

  const tls = () => ({ key: readFileSync(pair.keyFile, 'utf8'), cert: readFileSync(pair.certFile, 'utf8') });
  const startTls = (options: FakeRegistryOptions = {}) => startRegistry({ images: [IMAGE], tls: tls(), ...options });
  const portOf = ({ host }: FakeRegistry | TestProxy) => host.slice(host.lastIndexOf(':'));

  /** A client whose requests all go through `proxy`, and the name by which only the proxy knows the registry. */
  function through(proxy: string, registry: FakeRegistry, options: RegistryOptions = {}) {
    const proxyFor = proxiesOf({ ALL_PROXY: proxy });
    const { client, events } = clientWith({ proxyFor, caFiles: [authority.caFile], ...options });
    return { client, events, reference: parseReference(`registry.test${portOf(registry)}/team/app`) };
  }

  for (const [kind, start, scheme] of [
    ['CONNECT', startConnectProxy, 'http'],
    ['SOCKS 5', startSocksProxy, 'socks5'],
  ] as const) {
    it(`${kind}: a registry that only the proxy can find is pulled from over TLS, verified as ever`, async () => {
      await using registry = await startTls();
      await using proxy = await start();
      const { client, reference } = through(`${scheme}://${proxy.host}`, registry);
      assert.equal((await client.resolve(reference)).digest, MANIFEST_DIGEST);
      assert.deepEqual(await download(client, reference), LAYER);
      assert.deepEqual([...new Set(proxy.asked)], [`registry.test${portOf(registry)}`]);
      assert.ok(proxy.asked.length < registry.requests.length, 'connections are used again');
      const other = parseReference(`other.test${portOf(registry)}/team/app`);
      await assert.rejects(client.resolve(other), { message: /no secure connection to other\.test/ });
      const stranger = through(`${scheme}://${proxy.host}`, registry, { caFiles: [] });
      await assert.rejects(stranger.client.resolve(reference), { message: /no secure connection to registry\.test/ });
    });

    it(`${kind}: a registry in plain HTTP`, async () => {
      await using registry = await startRegistry({ images: [IMAGE] });
      await using proxy = await start();
      const insecureRegistries = [`registry.test${portOf(registry)}`];
      const { client, reference } = through(`${scheme}://${proxy.host}`, registry, { insecureRegistries });
      assert.deepEqual(await download(client, reference), LAYER);
    });

    it(`${kind}: a proxy that wants a login gets it, and it is in no message without`, async () => {
      await using registry = await startTls();
      await using proxy = await start({ login: LOGIN });
      const url = (password: string) => `${scheme}://me:${encodeURIComponent(password)}@${proxy.host}`;
      const { client, reference } = through(url(LOGIN.password), registry);
      assert.equal((await client.resolve(reference)).digest, MANIFEST_DIGEST);
      assert.ok(registry.requests.every(({ headers }) => !('proxy-authorization' in headers)));
      const wrong = through(url('SECRETwrong'), registry);
      await assert.rejects(wrong.client.resolve(reference), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'LARDER_REGISTRY_UNAVAILABLE');
        assert.ok(error.message.includes(`the proxy ${proxy.host}:`), error.message);
        assert.doesNotMatch(`${error.stack}${JSON.stringify(error)}${JSON.stringify(wrong.events)}`, /SECRET/);
        return true;
      });
    });
  }

  it('CONNECT: a proxy that speaks TLS', async () => {
    await using registry = await startTls();
    await using proxy = await startConnectProxy({ tls: tls(), login: LOGIN });
    const url = `https://me:${encodeURIComponent(LOGIN.password)}@${proxy.host}`;
    const { client, reference } = through(url, registry);
    assert.deepEqual(await download(client, reference), LAYER);
    const stranger = through(url, registry, { caFiles: [] });
    await assert.rejects(stranger.client.resolve(reference), { message: /the proxy 127\.0\.0\.1:\d+: / });
  });

  it('CONNECT: an address in brackets', async () => {
    await using registry = await startTls();
    await using proxy = await startConnectProxy();
    const { client } = through(`http://${proxy.host}`, registry);
    const reference = parseReference(`[2001:db8::1]${portOf(registry)}/team/app`);
    assert.equal((await client.resolve(reference)).digest, MANIFEST_DIGEST);
    assert.equal(proxy.asked[0], `[2001:db8::1]${portOf(registry)}`);
  });

  it('SOCKS 5: an address in brackets', async () => {
    await using registry = await startTls();
    await using proxy = await startSocksProxy();
    const { client } = through(`socks5://${proxy.host}`, registry);
    const reference = parseReference(`[2001:db8::1]${portOf(registry)}/team/app`);
    assert.equal((await client.resolve(reference)).digest, MANIFEST_DIGEST);
    assert.equal(proxy.asked[0], `20010db8000000000000000000000001${portOf(registry)}`);
  });

  it('what a proxy answers instead of a tunnel is never the registry’s answer', async () => {
    await using registry = await startTls();
    await using elsewhere = await startTls();
    const lies = [
      `HTTP/1.1 307 Moved\r\nlocation: https://registry.test${portOf(elsewhere)}/v2/team/app/manifests/latest\r\ncontent-length: 0\r\n\r\n`,
      'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm="r"\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n',
    ];
    for (const refuse of lies) {
      await using proxy = await startConnectProxy({ refuse });
      const auths = { [`registry.test${portOf(registry)}`]: { username: 'u', password: 'p' } };
      const credentials = parseDockerConfig(JSON.stringify({ auths }), 'test');
      const { client, reference } = through(`http://${proxy.host}`, registry, { credentials });
      await assert.rejects(client.resolve(reference), {
        code: 'LARDER_REGISTRY_UNAVAILABLE',
        message: new RegExp(`the proxy ${proxy.host}: it answered ${refuse.slice(9, 12)}`),
      });
      assert.ok(proxy.asked.every((name) => name === `registry.test${portOf(registry)}`));
    }
  });

  it('a proxy that is not there, or says nothing, is told from the registry', async () => {
    await using registry = await startTls();
    const gone = await startConnectProxy();
    await gone[Symbol.asyncDispose]();
    for (const scheme of ['http', 'socks5']) {
      const { client, reference } = through(`${scheme}://${gone.host}`, registry);
      await assert.rejects(client.resolve(reference), {
        code: 'LARDER_REGISTRY_UNAVAILABLE',
        message: new RegExp(`the proxy ${gone.host}: .*ECONNREFUSED`),
      });
    }
    await using silent = await startConnectProxy({ silent: true });
    const timeouts = { connectMs: 100, stallMs: 500, backoffMs: 1 };
    const { client, reference } = through(`http://${silent.host}`, registry, { timeouts });
    await assert.rejects(client.resolve(reference), { message: /within 100 ms/ });
  });

  it('a redirect to this machine goes around the proxy, and is refused', async () => {
    await using local = await startTls();
    await using registry = await startTls();
    registry.setFault(({ url }) =>
      url.includes('/blobs/') ? { kind: 'redirect', location: `https://127.0.0.1${portOf(local)}/` } : undefined,
    );
    await using proxy = await startConnectProxy();
    const { client, reference } = through(`http://${proxy.host}`, registry);
    await assert.rejects(download(client, reference), { code: 'LARDER_POLICY_DENIED' });
    assert.deepEqual(local.requests, []);
  });
});
