import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLoopbackHost, rangeOf } from '../../src/registry/addresses.js';
import { NO_CREDENTIALS } from '../../src/registry/credentials.js';
import { PROCESS_NETWORK } from '../../src/registry/network.js';
import { type HostSettings, RegistryHost, refusedTo } from '../../src/registry/registry-host.js';
import { sendRequest } from '../../src/registry/transport.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { clientWith, download, IMAGE, LAYER, LAYER_DIGEST, referenceTo } from './fixtures.js';

const credentials = {
  ...NO_CREDENTIALS,
  find: async () => ({ kind: 'password', username: 'user', password: 'pass', source: 'test' }) as const,
};
const SETTINGS: HostSettings = {
  credentials: NO_CREDENTIALS,
  insecure: new Set(),
  tokenHosts: {},
  ca: undefined,
  userAgent: 'larder',
  connectTimeoutMs: 500,
  stallTimeoutMs: 500,
  lowSpeed: { bytesPerSecond: 1, overMs: 500 },
  backoffMs: 1,
  network: PROCESS_NETWORK,
  onEvent: undefined,
};
const BLOB = `/v2/team/app/blobs/${LAYER_DIGEST}`;

describe('a redirect', () => {
  for (const type of ['basic', 'bearer'] as const) {
    it(`to another host takes no ${type} credential and no header of ours along`, async () => {
      await using storage = await startRegistry({ images: [IMAGE] });
      await using registry = await startRegistry({
        images: [IMAGE],
        auth: { type, username: 'user', password: 'pass' },
      });
      registry.setFault(({ url, headers }) =>
        url === BLOB && headers.authorization !== undefined
          ? { kind: 'redirect', location: `${storage.url}${BLOB}?X-Signature=1` }
          : undefined,
      );
      assert.deepEqual(await download(clientWith({ credentials }).client, referenceTo(registry)), LAYER);
      assert.equal(storage.requests.length, 1);
      const { host: _, ...headers } = storage.requests[0]?.headers ?? {};
      assert.deepEqual(headers, { 'accept-encoding': 'identity', 'user-agent': 'larder', connection: 'keep-alive' });
    });
  }

  it('of each kind takes no credential to another port of the same host', async () => {
    await using storage = await startRegistry({ images: [IMAGE] });
    await using registry = await startRegistry({
      images: [IMAGE],
      auth: { type: 'basic', username: 'user', password: 'pass' },
    });
    for (const status of [301, 302, 303, 307, 308]) {
      const headers = { location: `${storage.url}${BLOB}` };
      registry.setFault(({ url, headers: { authorization } }) =>
        url === BLOB && authorization !== undefined ? { kind: 'status', status, headers } : undefined,
      );
      assert.deepEqual(await download(clientWith({ credentials }).client, referenceTo(registry)), LAYER);
    }
    assert.equal(storage.requests.length, 5);
    assert.ok(storage.requests.every(({ headers }) => headers.authorization === undefined));
  });

  it('within the registry keeps the login', async () => {
    await using registry = await startRegistry({
      images: [IMAGE],
      auth: { type: 'basic', username: 'user', password: 'pass' },
    });
    registry.setFault(({ url }) => (url === BLOB ? { kind: 'redirect', location: `${BLOB}?again` } : undefined));
    assert.deepEqual(await download(clientWith({ credentials }).client, referenceTo(registry)), LAYER);
  });

  it('away and back again has lost the login for good', async () => {
    await using away = await startRegistry();
    await using registry = await startRegistry({
      images: [IMAGE],
      auth: { type: 'basic', username: 'user', password: 'pass' },
    });
    away.setFault(() => ({ kind: 'redirect', location: `${registry.url}${BLOB}?back` }));
    registry.setFault(({ url, headers }) =>
      url === BLOB && headers.authorization ? { kind: 'redirect', location: `${away.url}/x` } : undefined,
    );
    await assert.rejects(download(clientWith({ credentials }).client, referenceTo(registry)));
    assert.ok(
      registry.requests
        .filter(({ url }) => url.endsWith('?back'))
        .every(({ headers }) => headers.authorization === undefined),
    );
  });

  it('whose host asks for a login gets nothing', async () => {
    await using storage = await startRegistry({
      images: [IMAGE],
      auth: { type: 'basic', username: 'user', password: 'pass' },
    });
    await using registry = await startRegistry({ images: [IMAGE] });
    registry.setFault(({ url }) =>
      url === BLOB ? { kind: 'redirect', location: `${storage.url}${BLOB}` } : undefined,
    );
    await assert.rejects(download(clientWith({ credentials }).client, referenceTo(registry)), {
      code: 'LARDER_REGISTRY_UNAVAILABLE',
      message: /storage server answered 401/,
    });
    assert.ok(storage.requests.every(({ headers }) => headers.authorization === undefined));
  });

  it('is asked for anew when the storage breaks, since signatures expire', async () => {
    await using storage = await startRegistry({ images: [IMAGE] });
    await using registry = await startRegistry({ images: [IMAGE] });
    registry.setFault(({ url, nth }) =>
      url === BLOB ? { kind: 'redirect', location: `${storage.url}${BLOB}?sig=${nth}` } : undefined,
    );
    storage.setFault(({ url }) => (url.endsWith('sig=0') ? { kind: 'reset', after: 100_000 } : undefined));
    assert.deepEqual(await download(clientWith().client, referenceTo(registry)), LAYER);
    assert.deepEqual(
      storage.requests.map(({ url }) => url.slice(-5)),
      ['sig=0', 'sig=1'],
    );
    assert.match(storage.requests[1]?.headers.range ?? '', /^bytes=\d+-$/);
  });

  for (const length of [5, 6]) {
    it(`in a chain of ${length} is ${length === 5 ? 'followed' : 'refused'}`, async () => {
      await using registry = await startRegistry({ images: [IMAGE] });
      registry.setFault(({ url }) => {
        const hop = Number(/\?(\d+)$/.exec(url)?.[1] ?? 0);
        return url.startsWith(BLOB) && hop < length ? { kind: 'redirect', location: `?${hop + 1}` } : undefined;
      });
      const work = download(clientWith().client, referenceTo(registry));
      if (length === 5) assert.deepEqual(await work, LAYER);
      else await assert.rejects(work, { code: 'LARDER_REGISTRY_UNAVAILABLE', message: /more than 5 times/ });
    });
  }

  for (const location of [
    'file:///etc/passwd',
    'gopher://x/',
    'http://169.254.169.254/latest',
    'http://u:p@127.0.0.1/',
  ]) {
    it(`to ${location} is refused`, async () => {
      await using registry = await startRegistry({
        images: [IMAGE],
        fault: ({ url }) => (url === BLOB ? { kind: 'redirect', location } : undefined),
      });
      await assert.rejects(download(clientWith().client, referenceTo(registry)), { code: 'LARDER_POLICY_DENIED' });
    });
  }

  it('never shows a signature in a message', async () => {
    await using registry = await startRegistry({ images: [IMAGE] });
    const location = 'http://127.0.0.1:1/blob?X-Amz-Signature=s3cret';
    registry.setFault(({ url }) => (url === BLOB ? { kind: 'redirect', location } : undefined));
    const { client, events } = clientWith();
    await assert.rejects(
      download(client, referenceTo(registry)),
      (error: Error) => !JSON.stringify([error.message, error, events]).includes('s3cret'),
    );
  });
});

describe('addresses', () => {
  const ranges = {
    '127.0.0.1': 'loopback',
    '[::1]': 'loopback',
    '::ffff:127.0.0.1': 'loopback',
    '0.0.0.0': 'loopback',
    '169.254.169.254': 'link-local',
    'fe80::1': 'link-local',
    '[::ffff:a9fe:a9fe]': 'link-local',
    '[fd00:ec2::254]': 'link-local',
    '[64:ff9b::a9fe:a9fe]': 'link-local',
    '[64:ff9b::8.8.8.8]': undefined,
    '[2002:7f00:1::]': 'link-local',
    '[2002:808:808::]': undefined,
    '[::10.0.0.1]': 'link-local',
    '[fec0::1]': 'private',
    '100.100.100.200': 'link-local',
    '168.63.129.16': 'link-local',
    '10.1.2.3': 'private',
    '172.31.0.1': 'private',
    'fd00::1': 'private',
    '8.8.8.8': undefined,
    '172.32.0.1': undefined,
    'example.com': undefined,
  } as const;
  for (const [address, range] of Object.entries(ranges)) {
    it(`${address} is ${range ?? 'public'}`, () => assert.equal(rangeOf(address), range));
  }
  it('of this machine are known by name', () => {
    assert.ok(isLoopbackHost('localhost') && isLoopbackHost('127.9.9.9') && isLoopbackHost('[::1]'));
    assert.ok(!isLoopbackHost('localhost.evil.example') && !isLoopbackHost('10.0.0.1'));
    assert.ok(!isLoopbackHost('[64:ff9b::127.0.0.1]') && !isLoopbackHost('[::127.0.0.1]'));
  });

  const all = ['loopback', 'link-local', 'private'];
  for (const [registry, refused] of Object.entries({
    '8.8.8.8': all,
    '[2001:4860:4860::8888]': all,
    '10.0.0.1': ['loopback', 'link-local'],
    '[fd00::1]': ['loopback', 'link-local'],
    '169.254.0.1': ['loopback'],
    '127.0.0.1': ['link-local'],
  })) {
    it(`to which a registry at ${registry} may not send us: ${refused}`, async () => {
      const host = new RegistryHost(registry, new URL(`https://${registry}/`), SETTINGS);
      const grant = (url: string) => host.grant(new URL(url), {}, 0);
      assert.deepEqual((await grant('https://storage.example/')).refuseAddresses, refused);
      assert.equal((await grant(`https://${registry}/v2/`)).refuseAddresses, undefined);
    });
  }

  it('to which one may send us that says it is here and is elsewhere, too: to none', () => {
    assert.deepEqual(refusedTo(new Set(['loopback', 'public'])), all);
    assert.deepEqual(refusedTo(new Set(['link-local', 'public'])), all);
    assert.deepEqual(refusedTo(new Set(['link-local', 'private'])), ['loopback', 'link-local']);
    assert.deepEqual(refusedTo(new Set(['private', 'public'])), ['loopback', 'link-local']);
  });

  for (const host of ['127.0.0.1', 'localhost', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1', '127.0.0.1.']) {
    it(`that are refused are not connected to, by number or by name (${host})`, async () => {
      await using registry = await startRegistry();
      const url = `http://${host}:${registry.host.split(':')[1]}/v2/`;
      const request = { url, headers: {}, connectTimeoutMs: 500, stallTimeoutMs: 500 };
      await assert.rejects(sendRequest({ ...request, refuseAddresses: ['loopback'] }), {
        code: 'LARDER_POLICY_DENIED',
      });
      assert.equal(registry.requests.length, 0);
    });
  }
});
