import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import { digestOf } from '../../src/spec/digest.js';
import { OCI_INDEX, OCI_MANIFEST } from '../../src/spec/media-types.js';
import { parseReference } from '../../src/spec/reference.js';
import { type RegistryFault, startRegistry } from '../../src/testing/fake-registry.js';
import { CONFIG, clientWith, IMAGE, MANIFEST, MANIFEST_DIGEST, referenceTo } from './fixtures.js';

/** A fault for the first `times` requests for manifests or blobs. */
const onContent = (fault: RegistryFault, times = Number.POSITIVE_INFINITY) => {
  let left = times;
  return ({ url }: { readonly url: string }): RegistryFault | undefined =>
    /manifests|blobs/.test(url) && left-- > 0 ? fault : undefined;
};

describe('resolving', () => {
  it('a tag gives the digest of the bytes that came', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const resolved = await clientWith().client.resolve(referenceTo(registry));
    assert.equal(resolved.digest, MANIFEST_DIGEST);
    assert.equal(resolved.mediaType, OCI_MANIFEST);
    assert.deepEqual(Buffer.from(resolved.bytes), MANIFEST);
  });

  it('asks for all supported media types, for no encoding, and once', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    await clientWith().client.resolve(referenceTo(registry));
    const [request, ...rest] = registry.requests.filter(({ url }) => url !== '/v2/');
    assert.deepEqual(rest, []);
    assert.equal(request?.headers['accept-encoding'], 'identity');
    const types = request?.headers.accept?.split(', ') ?? [];
    assert.equal(types.length, 6);
    assert.deepEqual(
      types.map((type) => type.includes('manifest.v1+') && type.includes('docker')),
      [false, false, false, false, true, true],
    );
  });

  it('a digest refuses other bytes', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: onContent({ kind: 'wrong-bytes' }) });
    const reference = referenceTo(registry, `team/app@${MANIFEST_DIGEST}`);
    await assert.rejects(clientWith().client.resolve(reference), { code: 'LARDER_DIGEST_MISMATCH' });
  });

  it('does not believe a Docker-Content-Digest', async () => {
    const headers = { 'docker-content-digest': `sha256:${'0'.repeat(64)}` };
    await using registry = await startRegistry({ images: [IMAGE], fault: onContent({ kind: 'headers', headers }) });
    assert.equal((await clientWith().client.resolve(referenceTo(registry))).digest, MANIFEST_DIGEST);
  });

  it('refuses a Content-Type that the document contradicts', async () => {
    const headers = { 'content-type': OCI_INDEX };
    await using registry = await startRegistry({ images: [IMAGE], fault: onContent({ kind: 'headers', headers }) });
    await assert.rejects(clientWith().client.resolve(referenceTo(registry)), { code: 'LARDER_MANIFEST_INVALID' });
  });

  it('refuses a manifest of more than 4 MiB without reading it', async () => {
    await using registry = await startRegistry({ images: [{ ...IMAGE, manifest: Buffer.alloc(5 << 20, 0x20) }] });
    await assert.rejects(clientWith().client.resolve(referenceTo(registry)), {
      code: 'LARDER_MANIFEST_INVALID',
      message: /longer than 4194304/,
    });
  });

  it('refuses an encoded answer', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: onContent({ kind: 'gzip' }) });
    await assert.rejects(clientWith().client.resolve(referenceTo(registry)), {
      code: 'LARDER_MEDIA_TYPE_UNSUPPORTED',
      message: /Content-Encoding gzip/,
    });
  });

  it('with a HEAD answers the digest alone', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    assert.equal(await clientWith().client.head(referenceTo(registry)), MANIFEST_DIGEST);
    assert.deepEqual(
      registry.requests.map(({ method }) => method),
      ['GET', 'HEAD'],
    );
  });
});

describe('fetching by descriptor', () => {
  const config = { mediaType: 'x/y', digest: digestOf(CONFIG), size: CONFIG.length };

  it('gives the config', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    assert.deepEqual(await clientWith().client.fetchSmallBlob(referenceTo(registry), config), CONFIG);
  });
  it('gives the manifest that an index names', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const descriptor = { mediaType: OCI_MANIFEST, digest: MANIFEST_DIGEST, size: MANIFEST.length };
    const { manifest } = await clientWith().client.fetchManifest(referenceTo(registry, 'team/app:other'), descriptor);
    assert.equal(manifest.kind, 'manifest');
  });
  it('refuses another size, and other bytes of the same size', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const { client } = clientWith();
    const reference = referenceTo(registry);
    await assert.rejects(client.fetchSmallBlob(reference, { ...config, size: config.size + 1 }), {
      code: 'LARDER_SIZE_MISMATCH',
    });
    registry.setFault(onContent({ kind: 'wrong-bytes' }));
    await assert.rejects(client.fetchSmallBlob(reference, config), { code: 'LARDER_DIGEST_MISMATCH' });
  });
  it('refuses a config that says that it is huge before asking for it', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    await assert.rejects(clientWith().client.fetchSmallBlob(referenceTo(registry), { ...config, size: 2 ** 40 }), {
      code: 'LARDER_CONFIG_INVALID',
    });
    assert.equal(registry.requests.length, 0);
  });
});

describe('a registry that fails', () => {
  const codes: readonly (readonly [number, string, number])[] = [
    [401, 'LARDER_REGISTRY_UNAUTHENTICATED', 1],
    [403, 'LARDER_REGISTRY_DENIED', 1],
    [404, 'LARDER_IMAGE_NOT_FOUND', 1],
    [400, 'LARDER_REGISTRY_UNAVAILABLE', 1],
    [429, 'LARDER_REGISTRY_RATE_LIMITED', 4],
    [500, 'LARDER_REGISTRY_UNAVAILABLE', 4],
    [503, 'LARDER_REGISTRY_UNAVAILABLE', 4],
  ];
  for (const [status, code, tries] of codes) {
    it(`with ${status} ends in ${code} after ${tries === 1 ? 'one try' : `${tries} tries`}`, async () => {
      await using registry = await startRegistry({ images: [IMAGE], fault: onContent({ kind: 'status', status }) });
      await assert.rejects(clientWith().client.resolve(referenceTo(registry)), { code });
      assert.equal(registry.requests.filter(({ url }) => url !== '/v2/').length, tries);
    });
  }

  it('does not have a blob', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const descriptor = { mediaType: 'x/y', digest: digestOf(Buffer.from('other')), size: 5 };
    await assert.rejects(clientWith().client.fetchSmallBlob(referenceTo(registry), descriptor), {
      code: 'LARDER_BLOB_NOT_FOUND',
    });
  });

  it('three times with 503 is asked again, and each retry is told', async () => {
    await using registry = await startRegistry({
      images: [IMAGE],
      fault: onContent({ kind: 'status', status: 503 }, 3),
    });
    const { client, events } = clientWith();
    await client.resolve(referenceTo(registry));
    assert.deepEqual(
      events.map((event) => event.type === 'retry' && event.attempt),
      [1, 2, 3],
    );
  });

  it('with Retry-After is left alone for so long', async () => {
    const fault = onContent({ kind: 'status', status: 429, headers: { 'retry-after': '1' } }, 1);
    await using registry = await startRegistry({ images: [IMAGE], fault });
    const started = performance.now();
    await clientWith().client.resolve(referenceTo(registry));
    assert.ok(performance.now() - started >= 990);
  });

  for (const [what, after] of [
    ['a thousand million seconds', '1000000000'],
    ['a date far ahead', 'Fri, 31 Dec 2100 23:59:59 GMT'],
  ] as const) {
    it(`with Retry-After of ${what} ends at once`, async () => {
      const fault = onContent({ kind: 'status', status: 429, headers: { 'retry-after': after } });
      await using registry = await startRegistry({ images: [IMAGE], fault });
      await assert.rejects(clientWith().client.resolve(referenceTo(registry)), {
        code: 'LARDER_REGISTRY_RATE_LIMITED',
      });
      assert.equal(registry.requests.filter(({ url }) => url !== '/v2/').length, 1);
    });
  }

  it('explains itself in the message, without control characters, tokens or queries', async () => {
    const body = JSON.stringify({
      errors: [{ code: 'DENIED', message: 'no \u001b[31m Bearer s3cret at https://x.example/?sig=s3cret' }],
    });
    await using registry = await startRegistry({
      images: [IMAGE],
      fault: onContent({ kind: 'status', status: 403, body }),
    });
    await assert.rejects(clientWith().client.resolve(referenceTo(registry)), (error) => {
      assert.ok(isLarderError(error));
      assert.match(error.message, /DENIED: no/);
      assert.doesNotMatch(error.message, /s3cret|\u001b/);
      return true;
    });
  });

  it('never answers: that is a time-out', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: onContent({ kind: 'hang' }) });
    const { client } = clientWith({ timeouts: { backoffMs: 1, stallMs: 30, connectMs: 500 } });
    await assert.rejects(client.resolve(referenceTo(registry)), { code: 'LARDER_TIMEOUT' });
  });

  it('stops in the middle of a manifest: it is asked again', async () => {
    await using registry = await startRegistry({ images: [IMAGE], fault: onContent({ kind: 'stall', after: 10 }, 1) });
    assert.equal((await clientWith().client.resolve(referenceTo(registry))).digest, MANIFEST_DIGEST);
  });

  it('refuses connections: two tries, and the host is named', async () => {
    const registry = await startRegistry();
    const reference = referenceTo(registry);
    await registry.close();
    const { client, events } = clientWith();
    await assert.rejects(client.resolve(reference), {
      code: 'LARDER_REGISTRY_UNAVAILABLE',
      message: /nothing listens on 127\.0\.0\.1:\d+/,
    });
    assert.equal(events.filter(({ type }) => type === 'retry').length, 1);
  });

  it('does not exist in DNS', async () => {
    await assert.rejects(clientWith().client.resolve(parseReference('no-such-host.invalid/a')), {
      code: 'LARDER_REGISTRY_UNAVAILABLE',
      message: /no-such-host\.invalid/,
    });
  });

  it('speaks no HTTP', async () => {
    const server = createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    try {
      await assert.rejects(clientWith().client.resolve(parseReference(`127.0.0.1:${port}/a`)), {
        code: 'LARDER_REGISTRY_UNAVAILABLE',
      });
    } finally {
      server.close();
    }
  });
});

describe('cancelling', () => {
  it('settles at once while an answer is waited for, and while a retry is', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const { client } = clientWith({ timeouts: { backoffMs: 60_000, stallMs: 60_000, connectMs: 60_000 } });
    for (const fault of [{ kind: 'hang' }, { kind: 'status', status: 503 }] as const) {
      registry.setFault(onContent(fault));
      const started = performance.now();
      await assert.rejects(client.resolve(referenceTo(registry), { signal: AbortSignal.timeout(50) }), {
        code: 'LARDER_ABORTED',
      });
      assert.ok(performance.now() - started < 1000);
    }
  });

  it('may be asked of thirty requests at once without a warning', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const warnings: Error[] = [];
    const listener = (warning: Error): number => warnings.push(warning);
    process.on('warning', listener);
    const { client } = clientWith();
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 30 }, () => client.resolve(referenceTo(registry), { signal })));
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', listener);
    assert.deepEqual(warnings, []);
  });
});
