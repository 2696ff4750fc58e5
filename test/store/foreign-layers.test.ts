/** Layers that their registry has not got: refused with a reason, or fetched where a setting allows it, without a login. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { LarderError } from '../../src/errors.js';
import { openLarder, type RawFlags } from '../../src/index.js';
import { ForeignLayers } from '../../src/registry/foreign-layers.js';
import { type FakeRegistry, startRegistry } from '../../src/testing/fake-registry.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
const image = buildImage({ docker: true, layers: [{ tar: sampleLayer('foreign', 3000), mediaType: FOREIGN }] });
const [layer = assert.fail()] = image.layers;

describe('a foreign layer', { skip: hasOpenssl ? false : 'openssl is not installed' }, () => {
  let directory: string;
  let keys: string;
  let registry: FakeRegistry;
  let elsewhere: FakeRegistry;

  before(() => {
    keys = makeDirectory();
    const subject = ['-subj', '/CN=larder-test', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const files = ['-keyout', join(keys, 'key.pem'), '-out', join(keys, 'ca.pem')];
    execFileSync('openssl', ['req', '-x509', ...curve, '-nodes', '-days', '2', ...files, ...subject], {
      stdio: 'pipe',
    });
  });
  after(() => removeDirectory(keys));
  beforeEach(async () => {
    directory = makeDirectory();
    registry = await startRegistry({ auth: { type: 'basic', username: 'me', password: 'secret' } });
    const tls = { key: readFileSync(join(keys, 'key.pem'), 'utf8'), cert: readFileSync(join(keys, 'ca.pem'), 'utf8') };
    elsewhere = await startRegistry({ tls });
    elsewhere.addBlob('cdn', layer.blob);
  });
  afterEach(async () => {
    await registry.close();
    await elsewhere.close();
    removeDirectory(directory);
  });

  const address = (): string => `${elsewhere.url}/v2/cdn/blobs/${layer.digest}`;

  /** Offers the image without the layer, whose descriptor says that it is at `urls`. */
  function publish(urls: readonly string[], withLayer = false): void {
    const document = JSON.parse(Buffer.from(image.manifest).toString());
    document.layers[0].urls = urls;
    registry.addBlob('a', image.config);
    if (withLayer) registry.addBlob('a', layer.blob);
    registry.addManifest('a', 'latest', Buffer.from(JSON.stringify(document)), image.mediaType);
  }

  async function pull(flags: Omit<RawFlags, 'root'> = {}): Promise<string> {
    const auth = Buffer.from('me:secret').toString('base64');
    await using larder = await openLarder({
      root: join(directory, 'store'),
      docker_config: JSON.stringify({ auths: { [registry.host]: { auth }, [elsewhere.host]: { auth } } }),
      registry_ca_files: join(keys, 'ca.pem'),
      ...flags,
    });
    await using pulled = await larder.pull(`${registry.host}/a`);
    return (await pulled.fs.readFile('/foreign')).toString();
  }

  test('that the registry has comes from there, whatever its descriptor says', async () => {
    publish([address()], true);
    assert.equal(await pull({ foreign_layer_hosts: elsewhere.host }), 'this is foreign\n');
    assert.deepEqual(elsewhere.requests, []);
  });

  test('that the registry has not got is refused, with where it is said to be', async () => {
    publish([address()]);
    await assert.rejects(pull(), {
      code: 'LARDER_BLOB_NOT_FOUND',
      message: new RegExp(`its manifest names ${elsewhere.host}`),
      hint: /foreign_layer_hosts/,
    });
    assert.deepEqual(elsewhere.requests, []);
  });

  test('comes from a host that the setting names, without a login', async () => {
    publish(['ftp://example.com/x', address()]);
    assert.equal(await pull({ foreign_layer_hosts: elsewhere.host }), 'this is foreign\n');
    assert.ok(elsewhere.requests.length > 0);
    for (const { headers } of elsewhere.requests) assert.equal(headers.authorization, undefined);
  });

  test('is not fetched where a login is wanted, nor is one sent then', async () => {
    publish([address()]);
    elsewhere.setFault(() => ({
      kind: 'status',
      status: 401,
      headers: { 'www-authenticate': `Basic realm="${elsewhere.host}"` },
    }));
    await assert.rejects(pull({ foreign_layer_hosts: elsewhere.host }), { code: 'LARDER_REGISTRY_UNAUTHENTICATED' });
    for (const { headers } of elsewhere.requests) assert.equal(headers.authorization, undefined);
  });

  test('is verified like any other', async () => {
    publish([address()]);
    elsewhere.setFault(() => ({ kind: 'wrong-bytes' }));
    await assert.rejects(pull({ foreign_layer_hosts: elsewhere.host }), { code: 'LARDER_DIGEST_MISMATCH' });
  });

  test('is not fetched over plain HTTP, from a URL with a login, or where a redirect leads to another host', async () => {
    const hosts = `${elsewhere.host},${registry.host}`;
    for (const url of [`http://${registry.host}/x`, address().replace('//', '//me:secret@'), 'not a url']) {
      publish([url]);
      await assert.rejects(pull({ foreign_layer_hosts: hosts }), { code: 'LARDER_BLOB_NOT_FOUND' }, url);
    }
    publish([address()]);
    elsewhere.setFault(() => ({ kind: 'redirect', location: 'https://localhost:1/x?sig=s3cret' }));
    await assert.rejects(pull({ foreign_layer_hosts: elsewhere.host }), {
      code: 'LARDER_POLICY_DENIED',
      message: /redirects to https:\/\/localhost:1, where/,
    });
  });
});

test('a foreign layer is fetched through the proxy for its host', async () => {
  const foreign = new ForeignLayers({
    hosts: ['layers.example'],
    caFiles: [],
    proxyFor: ({ host }) => (host === 'layers.example' ? 'http://proxy.example:3128' : undefined),
    stallTimeoutMs: 1000,
    onEvent: () => {},
  });
  const ask = foreign.source(layer.digest, ['https://layers.example/x'], undefined);
  const grant = await ask(
    { digest: layer.digest, offset: 0, attempt: 0 },
    new LarderError('LARDER_BLOB_NOT_FOUND', 'gone'),
  );
  assert.deepEqual([grant.url, grant.proxy], ['https://layers.example/x', 'http://proxy.example:3128']);
});
