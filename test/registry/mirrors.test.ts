import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LarderError } from '../../src/errors.js';
import type { LarderEvent } from '../../src/events.js';
import { parseDockerConfig } from '../../src/registry/credentials.js';
import { DIRECT, type Endpoint, originOf, plainServer, type Server } from '../../src/registry/hosts/endpoint.js';
import type { RegistryOptions } from '../../src/registry/registry-client.js';
import { digestOf } from '../../src/spec/digest.js';
import { OCI_CONFIG } from '../../src/spec/media-types.js';
import { type FakeRegistry, startRegistry } from '../../src/testing/fake-registry.js';
import {
  CONFIG,
  clientWith,
  download,
  IMAGE,
  LAYER,
  LAYER_DIGEST,
  MANIFEST,
  MANIFEST_DIGEST,
  referenceTo,
} from './fixtures.js';

type Mirror = Partial<Omit<Endpoint, 'server'>> & { readonly at: FakeRegistry; readonly server?: Partial<Server> };

/** A client for which each of `mirrors` stands before every registry. */
function mirrored(mirrors: readonly Mirror[], options: RegistryOptions = {}) {
  return clientWith({
    hosts: {
      endpointsOf: async (reference) => [
        ...mirrors.map(({ at, server, ...endpoint }) => ({
          ...originOf(reference, plainServer(at.host, server)),
          isMirror: true,
          ...endpoint,
        })),
        originOf(reference),
      ],
    },
    ...options,
  });
}

const mirrorEvents = (events: readonly LarderEvent[]) => events.filter((event) => event.type === 'mirror');
const config = { mediaType: OCI_CONFIG, digest: digestOf(CONFIG), size: CONFIG.length };
const asked = ({ requests }: FakeRegistry) =>
  requests.filter(({ url }) => url !== '/v2/').map(({ method, url }) => `${method} ${url}`);

describe('a mirror', () => {
  it('gives manifest, config and layer, and the registry is not asked', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry({ images: [IMAGE] });
    const { client, events } = mirrored([{ at: mirror }]);
    const reference = referenceTo(origin);
    assert.equal((await client.resolve(reference)).digest, MANIFEST_DIGEST);
    assert.deepEqual(Buffer.from(await client.fetchSmallBlob(reference, config)), CONFIG);
    assert.deepEqual(await download(client, reference), LAYER);
    assert.deepEqual(origin.requests, []);
    assert.deepEqual(mirrorEvents(events)[0], {
      type: 'mirror',
      what: `fetch the manifest: ${origin.host}/team/app:latest`,
      host: mirror.host,
    });
  });

  for (const status of [401, 403, 404, 410, 429, 500, 503]) {
    it(`that answers ${status} is passed over`, async () => {
      await using origin = await startRegistry({ images: [IMAGE] });
      const fault = () => ({ kind: 'status', status, headers: status === 429 ? { 'retry-after': '7' } : {} }) as const;
      await using mirror = await startRegistry({ fault });
      const { client, events } = mirrored([{ at: mirror }]);
      const reference = referenceTo(origin);
      assert.equal((await client.resolve(reference)).digest, MANIFEST_DIGEST);
      assert.deepEqual(await download(client, reference), LAYER);
      const switched = mirrorEvents(events).find((event) => event.type === 'mirror' && event.insteadOf !== undefined);
      assert.deepEqual(switched?.type === 'mirror' && [switched.host, switched.insteadOf], [origin.host, mirror.host]);
    });
  }

  it('that is passed over is not asked for parts of the blob either', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry({ images: [IMAGE] });
    const broker = mirrored([{ at: mirror }]).client.broker(referenceTo(origin));
    const request = { digest: LAYER_DIGEST, offset: 0, attempt: 0 };
    const hostOf = async (grant: Promise<{ readonly url: string }>) => new URL((await grant).url).host;
    assert.equal(await hostOf(broker.ask(request)), mirror.host);
    assert.equal(await hostOf(broker.ask({ ...request, lane: 1 })), mirror.host);
    assert.ok(broker.passOver(LAYER_DIGEST, new LarderError('LARDER_DIGEST_MISMATCH', 'wrong')));
    const previous = { kind: 'status', url: mirror.url, status: 404, headers: {} } as const;
    assert.equal(await hostOf(broker.ask({ ...request, lane: 1, attempt: 1, previous })), origin.host);
  });

  it('that nothing listens at is asked once, and then not again for a while', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    const mirror = await startRegistry();
    const { host } = mirror;
    await mirror.close();
    const gone = { host } as FakeRegistry;
    const { client, events } = mirrored([{ at: gone }]);
    for (let i = 0; i < 3; i++) await client.resolve(referenceTo(origin));
    assert.deepEqual(await download(client, referenceTo(origin)), LAYER);
    assert.equal(mirrorEvents(events).filter((event) => event.type === 'mirror' && event.insteadOf === host).length, 1);
    const other = mirrored([{ at: gone }]);
    await other.client.resolve(referenceTo(origin));
    assert.deepEqual(mirrorEvents(other.events), []);
  });

  it('that does not take the connection, or does not answer, costs its time once', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry({ fault: () => ({ kind: 'hang' }) });
    const server = { scheme: 'http' } as const;
    const timeouts = { connectMs: 1000, stallMs: 300, backoffMs: 1 };
    const { client } = mirrored([{ at: mirror, server }], { timeouts });
    for (let i = 0; i < 3; i++) await client.resolve(referenceTo(origin));
    assert.equal(mirror.requests.length, 1);
  });

  it('that rests is asked after all when the registry does not answer', async () => {
    await using mirror = await startRegistry({ images: [IMAGE] });
    const origin = await startRegistry({ images: [IMAGE] });
    const { client } = mirrored([{ at: mirror }]);
    mirror.setFault(() => ({ kind: 'status', status: 500 }));
    await client.resolve(referenceTo(origin));
    mirror.setFault(undefined);
    const reference = referenceTo(origin);
    await origin.close();
    assert.equal((await client.resolve(reference)).digest, MANIFEST_DIGEST);
  });

  it('that breaks in the middle of a layer is left where it stopped: no byte comes twice', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry({ images: [IMAGE] });
    mirror.setFault(({ nth }) => (nth === 0 ? { kind: 'reset', after: 200_000 } : { kind: 'status', status: 502 }));
    const { client, events } = mirrored([{ at: mirror }]);
    const retries: number[] = [];
    const layer = await download(client, referenceTo(origin), undefined, {
      onRetry: ({ position }) => retries.push(position),
    });
    assert.deepEqual(layer, LAYER);
    const [request] = origin.requests.filter(({ url }) => url.includes('/blobs/'));
    const range = Number(/^bytes=(\d+)-$/.exec(request?.headers.range ?? '')?.[1]);
    assert.ok(range > 0 && range <= 200_000, `it went on from ${range}`);
    assert.ok(retries.includes(range));
    assert.ok(mirrorEvents(events).some((event) => event.type === 'mirror' && event.insteadOf === mirror.host));
  });

  it('that gives another manifest, or another config, for a digest is passed over', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry({ images: [IMAGE] });
    mirror.setFault(() => ({ kind: 'wrong-bytes' }));
    const { client, events } = mirrored([{ at: mirror }]);
    const byDigest = referenceTo(origin, `team/app@${MANIFEST_DIGEST}`);
    assert.deepEqual(Buffer.from((await client.resolve(byDigest)).bytes), MANIFEST);
    assert.deepEqual(Buffer.from(await client.fetchSmallBlob(byDigest, config)), CONFIG);
    assert.equal(mirrorEvents(events).filter((event) => event.type === 'mirror' && event.insteadOf).length, 2);
  });

  it('whose bytes of a layer were wrong is passed over when the fetcher says so', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry({ images: [IMAGE] });
    const { client } = mirrored([{ at: mirror }]);
    const broker = client.broker(referenceTo(origin));
    const first = { digest: LAYER_DIGEST, offset: 0, attempt: 0 };
    assert.equal(new URL((await broker.ask(first)).url).host, mirror.host);
    const { LarderError } = await import('../../src/errors.js');
    assert.equal(broker.passOver(LAYER_DIGEST, new LarderError('LARDER_NO_SPACE', 'the disk is full')), false);
    assert.equal(broker.passOver(LAYER_DIGEST, new LarderError('LARDER_DIGEST_MISMATCH', 'wrong')), true);
    assert.equal(new URL((await broker.ask(first)).url).host, origin.host);
    assert.equal(broker.passOver(LAYER_DIGEST, new LarderError('LARDER_DIGEST_MISMATCH', 'wrong')), false);
  });

  it('is not asked what only the registry can say', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry({ images: [IMAGE] });
    const { client } = mirrored([{ at: mirror }]);
    assert.equal(await client.head(referenceTo(origin), { atRegistry: true }), MANIFEST_DIGEST);
    assert.deepEqual(mirror.requests, []);
  });

  it('resolves no tag unless it may, and then gives what has a digest', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry({ images: [IMAGE] });
    const { client } = mirrored([{ at: mirror, resolves: false }]);
    const reference = referenceTo(origin);
    await client.resolve(reference);
    await client.head(reference);
    await download(client, reference);
    await client.resolve(referenceTo(origin, `team/app@${MANIFEST_DIGEST}`));
    assert.deepEqual(asked(origin), ['GET /v2/team/app/manifests/latest', 'HEAD /v2/team/app/manifests/latest']);
    assert.deepEqual(asked(mirror), [
      `GET /v2/team/app/blobs/${LAYER_DIGEST}`,
      `GET /v2/team/app/manifests/${MANIFEST_DIGEST}`,
    ]);
  });

  it('has its own credentials, name, headers and namespace, and the registry has none of them', async () => {
    const login = (name: string) => ({ type: 'basic', username: name, password: `${name}-password` }) as const;
    await using origin = await startRegistry({ images: [IMAGE], auth: login('origin') });
    await using mirror = await startRegistry({ auth: login('mirror') });
    mirror.addImage({ ...IMAGE, name: 'copies/app' });
    const auths = { [origin.host]: login('origin'), [mirror.host]: login('mirror') };
    const credentials = parseDockerConfig(JSON.stringify({ auths }), 'test');
    const server = { headers: { 'x-tenant': 'blue' }, namespace: 'quay.io' };
    const { client } = mirrored([{ at: mirror, server, repository: 'copies/app' }], { credentials });
    await client.resolve(referenceTo(origin));
    assert.deepEqual(asked(mirror).slice(-1), ['GET /v2/copies/app/manifests/latest?ns=quay.io']);
    mirror.setFault(() => ({ kind: 'status', status: 404 }));
    await client.resolve(referenceTo(origin));
    const sent = (registry: FakeRegistry) =>
      new Set(registry.requests.flatMap(({ headers }) => headers.authorization ?? []));
    const basic = (name: string) => `Basic ${Buffer.from(`${name}:${name}-password`).toString('base64')}`;
    assert.deepEqual([...sent(mirror)], [basic('mirror')]);
    assert.deepEqual([...sent(origin)], [basic('origin')]);
    assert.ok(
      mirror.requests.filter(({ url }) => url !== '/v2/').every(({ headers }) => headers['x-tenant'] === 'blue'),
    );
    assert.ok(origin.requests.every(({ headers, url }) => headers['x-tenant'] === undefined && !url.includes('ns=')));
  });

  it('sends no header of its own to where it redirects', async () => {
    await using storage = await startRegistry({ images: [IMAGE] });
    await using origin = await startRegistry();
    await using mirror = await startRegistry();
    mirror.setFault(({ url }) =>
      url.includes('/blobs/')
        ? { kind: 'redirect', location: `${storage.url}/v2/team/app/blobs/${LAYER_DIGEST}` }
        : undefined,
    );
    const { client } = mirrored([{ at: mirror, server: { headers: { 'x-secret': 'SECRET' } } }]);
    assert.deepEqual(await download(client, referenceTo(origin)), LAYER);
    assert.equal(storage.requests.length, 1);
    assert.equal(storage.requests[0]?.headers['x-secret'], undefined);
  });

  it('below a path is asked there', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    await using mirror = await startRegistry();
    const { client } = mirrored([{ at: mirror, server: { apiRoot: '/cache/quay/v2' } }]);
    await client.resolve(referenceTo(origin));
    assert.ok(asked(mirror).includes('GET /cache/quay/v2/team/app/manifests/latest'));
  });

  it('and the registry that both fail are both in the message', async () => {
    await using origin = await startRegistry();
    await using mirror = await startRegistry({ fault: () => ({ kind: 'status', status: 500 }) });
    const { client } = mirrored([{ at: mirror }]);
    await assert.rejects(client.resolve(referenceTo(origin)), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'LARDER_IMAGE_NOT_FOUND');
      assert.ok(error.message.includes(`${origin.host} does not have it`), error.message);
      assert.ok(error.message.includes(`(before that, ${mirror.host}: ${mirror.host} answered 500)`), error.message);
      return true;
    });
  });
});

describe('a host that asked for a pause', () => {
  it('is left alone by all requests until then', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    origin.setFault(({ url, nth }) =>
      url.includes('/manifests/') && nth === 0
        ? { kind: 'status', status: 429, headers: { 'retry-after': '1' } }
        : undefined,
    );
    const { client } = clientWith();
    const startedMs = performance.now();
    const limited = client.resolve(referenceTo(origin));
    while (asked(origin).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 50));
    // Another client in the same process, another thing, the same host.
    await download(clientWith().client, referenceTo(origin));
    assert.ok(performance.now() - startedMs > 900, 'it waited');
    await limited;
  });

  it('for longer than anybody waits is an error, and may be asked by the next pull', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    origin.setFault(() => ({ kind: 'status', status: 429, headers: { 'retry-after': '90' } }));
    const { client } = clientWith();
    await assert.rejects(client.resolve(referenceTo(origin)), { code: 'LARDER_REGISTRY_RATE_LIMITED' });
    origin.setFault(undefined);
    assert.equal((await client.resolve(referenceTo(origin))).digest, MANIFEST_DIGEST);
  });

  it('and is a mirror is passed over without a request until then', async () => {
    await using origin = await startRegistry({ images: [IMAGE] });
    const fault = () => ({ kind: 'status', status: 429, headers: { 'retry-after': '30' } }) as const;
    await using mirror = await startRegistry({ fault });
    const server = { scheme: 'http' } as const;
    const { client, events } = mirrored([{ at: mirror, server }]);
    for (let i = 0; i < 3; i++) await client.resolve(referenceTo(origin));
    assert.equal(mirror.requests.length, 1);
    const reasons = mirrorEvents(events).flatMap((event) => (event.type === 'mirror' && event.reason) || []);
    assert.match(reasons.join('\n'), /asked not to be asked for another 30 s/);
  });
});

describe('an IPv6 registry', () => {
  it('is asked at its literal address', async () => {
    await using origin = await startRegistry({ images: [IMAGE], host: '[::1]' });
    const { client } = clientWith({ hosts: DIRECT });
    assert.equal((await client.resolve(referenceTo(origin))).digest, MANIFEST_DIGEST);
    assert.deepEqual(await download(client, referenceTo(origin)), LAYER);
    assert.equal(origin.requests[0]?.headers.host, origin.host);
  });
});
