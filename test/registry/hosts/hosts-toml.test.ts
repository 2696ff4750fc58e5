import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { endpointsByHostsToml } from '../../../src/registry/hosts/hosts-toml.js';
import { parseReference } from '../../../src/spec/reference.js';
import { makeDirectory, removeDirectory } from '../../helpers/temporary.js';

describe('a tree of hosts.toml', () => {
  let root: string;
  beforeEach(() => {
    root = makeDirectory();
  });
  afterEach(() => removeDirectory(root));

  function put(directory: string, text: string, name = 'hosts.toml'): void {
    mkdirSync(join(root, directory), { recursive: true });
    writeFileSync(join(root, directory, name), text);
  }
  const endpoints = (reference: string) => endpointsByHostsToml(root, parseReference(reference));
  const urls = async (reference: string): Promise<string[] | undefined> =>
    (await endpoints(reference))?.map(
      ({ server, repository }) =>
        `${server.scheme ?? 'any'}://${server.host}${server.apiRoot}/${repository}${server.namespace === undefined ? '' : `?ns=${server.namespace}`}`,
    );

  it('says nothing about a registry without a directory', async () => {
    put('quay.io', 'server = "https://quay.io"');
    assert.equal(await endpoints('ghcr.io/a/b'), undefined);
  });

  it('has the hosts in the order of the file, and the server last', async () => {
    put(
      'docker.io',
      `server = "https://registry-1.docker.io"
      [host."https://b.example"]
      [host."http://a.example:5000"]
      [host."c.example"]`,
    );
    assert.deepEqual(await urls('alpine'), [
      'https://b.example/v2/library/alpine?ns=docker.io',
      'http://a.example:5000/v2/library/alpine?ns=docker.io',
      'https://c.example/v2/library/alpine?ns=docker.io',
      'https://registry-1.docker.io/v2/library/alpine',
    ]);
  });

  it('ends with the registry itself where it names no server', async () => {
    put('quay.io', '[host."https://m.example"]');
    assert.deepEqual(await urls('quay.io/a/b'), ['https://m.example/v2/a/b?ns=quay.io', 'any://quay.io/v2/a/b']);
  });

  it('has a directory for the port with underscores, with a colon, and one for all', async () => {
    put('_default', '[host."https://default.example"]');
    assert.deepEqual((await urls('reg.example:5000/a'))?.[0], 'https://default.example/v2/a?ns=reg.example:5000');
    put('reg.example:5000', '[host."https://colon.example"]');
    assert.deepEqual((await urls('reg.example:5000/a'))?.[0], 'https://colon.example/v2/a?ns=reg.example:5000');
    put('reg.example_5000_', '[host."https://underscore.example"]');
    assert.deepEqual((await urls('reg.example:5000/a'))?.[0], 'https://underscore.example/v2/a?ns=reg.example:5000');
  });

  it('puts /v2 behind a path, unless override_path says that it is the whole', async () => {
    put(
      'quay.io',
      `[host."https://m.example/cache/quay/"]
      [host."https://m.example/proxy/v2"]
      [host."https://m.example/api"]
      override_path = true
      [host."https://bare.example"]
      override_path = true`,
    );
    assert.deepEqual((await urls('quay.io/a/b'))?.slice(0, 4), [
      'https://m.example/cache/quay/v2/a/b?ns=quay.io',
      'https://m.example/proxy/v2/a/b?ns=quay.io',
      'https://m.example/api/a/b?ns=quay.io',
      'https://bare.example/a/b?ns=quay.io',
    ]);
  });

  it('has capabilities: all by default, else those named', async () => {
    put(
      'quay.io',
      '[host."https://a.example"]\ncapabilities = ["pull"]\n[host."https://b.example"]\ncapabilities = ["resolve"]',
    );
    const found = await endpoints('quay.io/a');
    assert.deepEqual(
      found?.map(({ resolves, serves }) => [resolves, serves]),
      [
        [false, true],
        [true, false],
        [true, true],
      ],
    );
  });

  it('has headers, skip_verify and certificates, by paths beside the file', async () => {
    for (const name of ['ca.pem', 'more.pem', 'me.cert', 'me.key', 'both.pem']) put('quay.io', name, name);
    put(
      'quay.io',
      `[host."https://a.example"]
      ca = ["ca.pem", "${join(root, 'quay.io', 'more.pem')}"]
      client = [["me.cert", "me.key"], "both.pem"]
      skip_verify = true
      [host."https://a.example".header]
      X-Tenant = "blue"
      X-Many = ["1", "2"]
      [host."https://b.example"]
      ca = "ca.pem"
      client = "both.pem"`,
    );
    const [a, b, origin] = (await endpoints('quay.io/a')) ?? [];
    assert.deepEqual(a?.server.trust, {
      ca: 'ca.pem\nmore.pem',
      clients: [
        { cert: 'me.cert', key: 'me.key' },
        { cert: 'both.pem', key: 'both.pem' },
      ],
    });
    assert.equal(a?.server.insecure, true);
    assert.deepEqual(a?.server.headers, { 'x-tenant': 'blue', 'x-many': '1, 2' });
    assert.deepEqual(b?.server.trust, { ca: 'ca.pem', clients: [{ cert: 'both.pem', key: 'both.pem' }] });
    assert.deepEqual([origin?.server.trust, origin?.server.headers], [{}, {}]);
  });

  it('has a time for connecting', async () => {
    put(
      'quay.io',
      '[host."https://a.example"]\ndial_timeout = "1.5s"\n[host."https://b.example"]\ndial_timeout = "200ms"',
    );
    const found = await endpoints('quay.io/a');
    assert.deepEqual(
      found?.map(({ server }) => server.connectTimeoutMs),
      [1500, 200, undefined],
    );
    put('quay.io', '[host."https://a.example"]\ndial_timeout = "1m1.5s"');
    assert.equal((await endpoints('quay.io/a'))?.[0]?.server.connectTimeoutMs, 61_500);
    put('quay.io', '[host."https://a.example"]\ndial_timeout = "soon"');
    await assert.rejects(endpoints('quay.io/a'), { code: 'LARDER_CONFIG_INVALID', message: /dial_timeout/ });
  });

  it('may be a directory of certificates alone', async () => {
    put('quay.io', 'an authority', 'ca.crt');
    const [origin] = (await endpoints('quay.io/a')) ?? [];
    assert.deepEqual([origin?.server.host, origin?.server.trust], ['quay.io', { ca: 'an authority' }]);
  });

  for (const [what, text] of [
    ['a login in a URL', '[host."https://user:SECRET@m.example"]'],
    ['another scheme', '[host."ftp://m.example:SECRET"]'],
    ['a header of ours', '[host."https://m.example".header]\nRange = "SECRET"'],
    ['a header with a line end', '[host."https://m.example".header]\nx = "a\\r\\nSECRET: b"'],
    ['no TOML', '[host."https://m.example"\nheader = SECRET'],
    ['a number for a certificate', '[host."https://m.example"]\nca = 1'],
  ] as const) {
    it(`refuses ${what} without repeating it`, async () => {
      put('quay.io', text);
      await assert.rejects(endpoints('quay.io/a'), (error: Error & { code?: string; cause?: unknown }) => {
        assert.equal(error.code, 'LARDER_CONFIG_INVALID');
        assert.match(error.message, /quay\.io\/hosts\.toml/);
        assert.doesNotMatch(`${error.stack}${String(error.cause)}`, /SECRET/);
        return true;
      });
    });
  }
});
