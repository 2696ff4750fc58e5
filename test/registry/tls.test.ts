import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { clientWith, download, IMAGE, LAYER, LAYER_DIGEST, MANIFEST_DIGEST, referenceTo } from './fixtures.js';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

describe('TLS', {
  skip: hasOpenssl ? false : 'openssl is not installed, and nothing else here makes certificates',
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'larder-tls-'));
  after(() => rmSync(directory, { recursive: true }));
  const keyFile = join(directory, 'key.pem');
  const caFile = join(directory, 'cert.pem');
  const subject = ['-subj', '/CN=larder-test', '-addext', 'subjectAltName=IP:127.0.0.1'];
  if (hasOpenssl) {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    execFileSync(
      'openssl',
      ['req', '-x509', ...curve, '-nodes', '-days', '2', '-keyout', keyFile, '-out', caFile, ...subject],
      { stdio: 'pipe' },
    );
  }
  const tls = () => ({ key: readFileSync(keyFile, 'utf8'), cert: readFileSync(caFile, 'utf8') });

  it('of a loopback registry is found out, and trusted through caFiles', async () => {
    await using registry = await startRegistry({ images: [IMAGE], tls: tls() });
    const { client } = clientWith({ caFiles: [caFile] });
    assert.equal((await client.resolve(referenceTo(registry))).digest, MANIFEST_DIGEST);
    assert.deepEqual(await download(client, referenceTo(registry)), LAYER);
  });

  it('with a certificate that nobody vouches for is refused at once', async () => {
    await using registry = await startRegistry({ images: [IMAGE], tls: tls() });
    const { client, events } = clientWith();
    await assert.rejects(client.resolve(referenceTo(registry)), {
      code: 'LARDER_REGISTRY_UNAVAILABLE',
      message: /no secure connection/,
      hint: /registry_ca_files/,
    });
    assert.deepEqual(events, []);
  });

  it('is not verified for a host that was named insecure, and is tried first there', async () => {
    await using registry = await startRegistry({ images: [IMAGE], tls: tls() });
    const { client } = clientWith({ insecureRegistries: [registry.host] });
    assert.equal((await client.resolve(referenceTo(registry))).digest, MANIFEST_DIGEST);
    await using plain = await startRegistry({ images: [IMAGE] });
    const other = clientWith({ insecureRegistries: [plain.host] }).client;
    assert.equal((await other.resolve(referenceTo(plain))).digest, MANIFEST_DIGEST);
  });

  it('is never left for plain HTTP by a redirect', async () => {
    await using plain = await startRegistry({ images: [IMAGE] });
    await using registry = await startRegistry({ images: [IMAGE], tls: tls() });
    registry.setFault(({ url }) =>
      url.includes('/blobs/')
        ? { kind: 'redirect', location: `${plain.url}/v2/team/app/blobs/${LAYER_DIGEST}?sig=s3cret` }
        : undefined,
    );
    const { client } = clientWith({ caFiles: [caFile] });
    await assert.rejects(download(client, referenceTo(registry)), {
      code: 'LARDER_POLICY_DENIED',
      message: new RegExp(`from https to ${plain.url}$`),
    });
    assert.equal(plain.requests.length, 0);
  });

  it('is verified where a host that was named insecure sends us to', async () => {
    await using storage = await startRegistry({ images: [IMAGE], tls: tls() });
    await using registry = await startRegistry({ images: [IMAGE], tls: tls() });
    const location = `https://localhost:${new URL(storage.url).port}/v2/team/app/blobs/${LAYER_DIGEST}`;
    registry.setFault(({ url }) => (url.includes('/blobs/') ? { kind: 'redirect', location } : undefined));
    const { client } = clientWith({ insecureRegistries: [registry.host] });
    await assert.rejects(download(client, referenceTo(registry)), { message: /no secure connection to localhost/ });
    assert.deepEqual(storage.requests, []);
  });

  it('takes a certificate file that is missing as an error', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const { client } = clientWith({ caFiles: [join(directory, 'missing.pem')] });
    await assert.rejects(client.resolve(referenceTo(registry)), { message: /read certificates: .*missing\.pem/ });
  });
});
