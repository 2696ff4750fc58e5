/** Mesos's cases of docker::spec and of its Docker fetcher plugin, for what larder has no case of its own that says it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatReference, parseReference } from '../../src/spec/reference.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { clientWith, IMAGE, MANIFEST_DIGEST, referenceTo } from '../registry/fixtures.js';

const DIGEST = `sha256:${'b'.repeat(64)}` as const;

test('DockerSpecTest.ParseImageReference: with and without registry, port, tag and digest', () => {
  const forms: Readonly<
    Record<string, readonly [domain: string, path: string, tag: string | undefined, digest?: string]>
  > = {
    busybox: ['docker.io', 'library/busybox', 'latest'],
    'library/busybox': ['docker.io', 'library/busybox', 'latest'],
    'busybox:tag': ['docker.io', 'library/busybox', 'tag'],
    [`library/busybox@${DIGEST}`]: ['docker.io', 'library/busybox', undefined, DIGEST],
    'registry.io/library/busybox': ['registry.io', 'library/busybox', 'latest'],
    'registry.io/library/busybox:tag': ['registry.io', 'library/busybox', 'tag'],
    'registry.io:80/library/busybox:tag': ['registry.io:80', 'library/busybox', 'tag'],
    [`registry.io:80/library/busybox@${DIGEST}`]: ['registry.io:80', 'library/busybox', undefined, DIGEST],
  };
  for (const [text, [domain, path, tag, digest]] of Object.entries(forms)) {
    const parsed = parseReference(text);
    assert.deepEqual([parsed.domain, parsed.path, parsed.tag, parsed.digest], [domain, path, tag, digest], text);
  }
});

test('DockerSpecTest.GetRegistrySpec: a port is a number of a port, or there is no registry', () => {
  for (const host of ['registry.io', 'localhost', '127.0.0.1:443', '127.0.0.1:1234', '[::1]:5000']) {
    assert.equal(parseReference(`${host}/a`).domain, host);
  }
  for (const host of ['registry.io:', 'registry.io:x80', 'registry.io:80:80', 'registry.io:70000', ':80']) {
    assert.throws(() => parseReference(`${host}/a`), { code: 'LARDER_REFERENCE_INVALID' }, host);
  }
});

test('flaw 20: a name is one image however it is written', () => {
  const names = ['alpine', 'alpine:latest', 'library/alpine', 'docker.io/alpine', 'index.docker.io/library/alpine'];
  assert.equal(new Set(names.map((name) => formatReference(parseReference(name)))).size, 1);
});

test('DockerFetcherPluginTest.INTERNET_CURL_GeneratedRepositoryScope: a challenge without service and scope is answered for the repository', async () => {
  await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer', realm: 'of the challenge' } });
  registry.setFault(({ url, headers }) => {
    if (headers.authorization !== undefined || !url.startsWith('/v2/')) return undefined;
    return { kind: 'status', status: 401, headers: { 'www-authenticate': `Bearer realm="${registry.url}/token"` } };
  });
  assert.equal((await clientWith().client.resolve(referenceTo(registry))).digest, MANIFEST_DIGEST);
  const tokens = registry.requests.filter(({ url }) => url.startsWith('/token'));
  assert.deepEqual(
    tokens.map(({ url }) => url),
    ['/token?scope=repository%3Ateam%2Fapp%3Apull'],
  );
});
