/** Mirrors, certificates and path prefixes with real programs: two of Debian's docker-registry, nginx in front of them. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type LarderEvent, openLarder } from '../../src/index.js';
import { type BuiltImage, buildImage } from '../../src/testing/image-builder.js';
import { Authority, type Pair } from '../helpers/certificates.js';
import { noiseLayer } from '../helpers/noise.js';
import { startSocksProxy } from '../helpers/proxies.js';
import { DockerRegistry } from './docker-registry.js';
import { TestStore } from './larder.js';
import { Nginx } from './nginx.js';
import { needs } from './tools.js';
import { Wire } from './wire.js';

const LAYER_BYTES = 24 * 1024 * 1024;
const ANSWERED = { registries_conf: 'none', registry_certs_dir: 'none' };

describe('mirrors of a registry', { skip: needs('docker-registry', 'openssl', 'nginx') }, () => {
  let directory: string;
  let origin: DockerRegistry;
  let image: BuiltImage;
  let layer: Uint8Array;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'larder-mirrors-'));
    image = buildImage({ layers: [{ tar: noiseLayer('noise', LAYER_BYTES) }] });
    layer = image.blobs.reduce((a, b) => (a.length > b.length ? a : b));
    origin = await DockerRegistry.start(join(directory, 'origin'));
    await origin.push('team/app:1', image);
  });
  after(async () => {
    await origin?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  let made = 0;
  async function startMirror(repository = 'team/app:1'): Promise<DockerRegistry> {
    const mirror = await DockerRegistry.start(join(directory, `mirror-${made++}`));
    await mirror.push(repository, image);
    return mirror;
  }

  function put(path: string, text: string): string {
    const whole = join(directory, path);
    mkdirSync(dirname(whole), { recursive: true });
    writeFileSync(whole, text);
    return whole;
  }

  const confOf = (registry: string, ...mirrors: readonly string[]): string =>
    put(
      `registries-${made++}.conf`,
      [
        `[[registry]]\nlocation = "${registry}"`,
        ...mirrors.map((at) => `[[registry.mirror]]\nlocation = "${at}"`),
      ].join('\n'),
    );

  /** Pulls into a store of its own, proves every byte of it, and answers what was told. */
  async function pull(reference: string, settings: Readonly<Record<string, unknown>>): Promise<LarderEvent[]> {
    const events: LarderEvent[] = [];
    const root = join(directory, `store-${made++}`);
    await using larder = await openLarder({ root, ...ANSWERED, ...settings });
    {
      await using pulled = await larder.pull(reference, { onEvent: (event) => events.push(event) });
      assert.equal((await pulled.fs.stat('/noise'))?.size, LAYER_BYTES);
    }
    const faults: unknown[] = [];
    for await (const finding of larder.check({ deep: true })) if (finding.kind === 'fault') faults.push(finding);
    assert.deepEqual(faults, []);
    return events;
  }

  test('a mirror that dies in the middle of a layer is replaced by the registry from the byte reached', async () => {
    const mirror = await startMirror();
    await using toMirror = await Wire.to(mirror.host);
    await using toOrigin = await Wire.to(origin.host);
    const killed = new Promise<void>((resolve) => toMirror.cutAfter(layer.length / 2, () => resolve(mirror.close())));
    const conf = confOf(toOrigin.host, toMirror.host);
    const events = await pull(`${toOrigin.host}/team/app:1`, { registries_conf: conf });
    await killed;
    const total = toMirror.bytes + toOrigin.bytes;
    assert.ok(toMirror.bytes >= layer.length / 2, `${toMirror.bytes} bytes from the mirror`);
    assert.ok(total <= layer.length * 1.05, `${total} bytes for a layer of ${layer.length}`);
    const switched = events.filter((event) => event.type === 'mirror' && event.insteadOf === toMirror.host);
    assert.equal(switched.length, 1);
  });

  test('a mirror that is there is all that is asked', async () => {
    const mirror = await startMirror('copies/team/app:1');
    await using toOrigin = await Wire.to(origin.host);
    const conf = confOf(`${toOrigin.host}/team`, `${mirror.host}/copies/team`);
    await pull(`${toOrigin.host}/team/app:1`, { registries_conf: conf });
    assert.equal(toOrigin.bytes, 0);
    await mirror.close();
  });

  test('a mirror whose layer is damaged on its disk costs one more download and nothing else', async () => {
    const mirror = await startMirror();
    const { layers } = JSON.parse(Buffer.from(image.manifest).toString()) as { layers: { digest: never }[] };
    const damaged = Buffer.from(layer);
    damaged[damaged.length - 5000] = (damaged[damaged.length - 5000] ?? 0) ^ 1;
    const [{ digest } = { digest: '' as never }] = layers;
    writeFileSync(mirror.blobFile(digest), damaged);
    const events = await pull(`${origin.host}/team/app:1`, { registries_conf: confOf(origin.host, mirror.host) });
    const [passed] = events.filter((event) => event.type === 'mirror' && event.insteadOf === mirror.host);
    assert.ok(passed?.type === 'mirror' && passed.what.includes(digest), JSON.stringify(passed));
    await mirror.close();
  });

  test('a blocked registry is not asked at all', async () => {
    await using toOrigin = await Wire.to(origin.host);
    const conf = put('blocked.conf', `[[registry]]\nprefix = "${toOrigin.host}/team"\nblocked = true`);
    await assert.rejects(pull(`${toOrigin.host}/team/app:1`, { registries_conf: conf }), {
      code: 'LARDER_POLICY_DENIED',
    });
    assert.equal(toOrigin.bytes, 0);
  });

  test('the command pulls through a SOCKS proxy from a registry and a mirror that only the proxy can find', async () => {
    const mirror = await startMirror();
    await using proxy = await startSocksProxy({ login: { username: 'me', password: 'SECRET' } });
    const port = (host: string): string => host.slice(host.lastIndexOf(':'));
    const [name, other] = [`registry.test${port(origin.host)}`, `mirror.test${port(mirror.host)}`];
    const conf = put(
      'proxied.conf',
      `[[registry]]\nlocation = "${name}"\ninsecure = true\n[[registry.mirror]]\nlocation = "${other}"\ninsecure = true`,
    );
    const store = new TestStore();
    try {
      const env = { ALL_PROXY: `socks5://me:SECRET@${proxy.host}`, LARDER_REGISTRIES_CONF: conf };
      const pulled = await store.run(['pull', `${name}/team/app:1`], { env });
      assert.equal(pulled.status, 0, pulled.stderr);
      assert.ok(proxy.asked.includes(other) && !proxy.asked.includes(name), proxy.asked.join());
      await mirror.close();
      await store.ok('remove', `${name}/team/app:1`);
      await store.ok('prune');
      const again = await store.run(['pull', `${name}/team/app:1`], { env });
      assert.equal(again.status, 0, again.stderr);
      assert.ok(again.stderr.includes(`${name} is asked instead of ${other}`), again.stderr);
      assert.ok(proxy.asked.includes(name));
      assert.doesNotMatch(`${pulled.stdout}${pulled.stderr}${again.stdout}${again.stderr}`, /SECRET/);
    } finally {
      store.dispose();
    }
  });

  describe('behind nginx with TLS, a private authority and client certificates', () => {
    let authority: Authority;
    let me: Pair;
    let nginx: Nginx;
    let port: number;

    before(async () => {
      mkdirSync(join(directory, 'pki'));
      authority = Authority.make(join(directory, 'pki'));
      me = authority.issue('me');
      const server = authority.issue('server', ['IP:127.0.0.1', 'IP:::1']);
      nginx = await Nginx.start(join(directory, 'nginx'), server, [
        `ssl_client_certificate ${authority.caFile}; ssl_verify_client on;
        location /v2/ { proxy_pass http://${origin.host}; }
        location /cache/v2/ { if ($http_x_cache != open) { return 403; } proxy_pass http://${origin.host}/v2/; }`,
      ]);
      [port = 0] = nginx.ports;
    });
    after(() => nginx?.[Symbol.asyncDispose]());

    test('certificates in a directory of Docker’s form open it, at IPv4 and IPv6', async () => {
      for (const host of [`127.0.0.1:${port}`, `[::1]:${port}`]) {
        const certs = join(directory, 'certs.d');
        put(`certs.d/${host}/ca.crt`, authority.ca);
        put(`certs.d/${host}/client.cert`, authority.read(me.certFile));
        put(`certs.d/${host}/client.key`, authority.read(me.keyFile));
        await pull(`${host}/team/app:1`, { registry_certs_dir: certs });
      }
    });

    test('without a client certificate, and without the authority, it stays shut', async () => {
      const host = `127.0.0.1:${port}`;
      await assert.rejects(pull(`${host}/team/app:1`, {}), { message: /no secure connection/ });
      await assert.rejects(pull(`${host}/team/app:1`, { registry_ca_files: [authority.caFile] }), {
        code: 'LARDER_REGISTRY_UNAVAILABLE',
        message: /answered 400/,
      });
    });

    test('hosts.toml names it as a mirror below a path, with its authority, certificate and header', async () => {
      await using toOrigin = await Wire.to(origin.host);
      const name = toOrigin.host.replace(/:(\d+)$/, '_$1_');
      const hosts = put(
        `tree/${name}/hosts.toml`,
        `server = "http://${toOrigin.host}"
        [host."https://127.0.0.1:${port}/cache"]
        capabilities = ["pull", "resolve"]
        ca = "${authority.caFile}"
        client = [["${me.certFile}", "${me.keyFile}"]]
        [host."https://127.0.0.1:${port}/cache".header]
        x-cache = "open"`,
      );
      await pull(`${toOrigin.host}/team/app:1`, { registries_conf: dirname(dirname(hosts)) });
      assert.equal(toOrigin.bytes, 0);
    });

    test('a mirror without the right to resolve gives the layers of a tag that the registry resolved', async () => {
      await using toOrigin = await Wire.to(origin.host);
      const name = toOrigin.host.replace(/:(\d+)$/, '_$1_');
      const hosts = put(
        `pull-only/${name}/hosts.toml`,
        `server = "http://${toOrigin.host}"
        [host."https://127.0.0.1:${port}"]
        capabilities = ["pull"]
        skip_verify = true
        client = [["${me.certFile}", "${me.keyFile}"]]`,
      );
      await pull(`${toOrigin.host}/team/app:1`, { registries_conf: dirname(dirname(hosts)) });
      assert.ok(toOrigin.bytes > 0 && toOrigin.bytes < 10_000, `${toOrigin.bytes} bytes from the registry`);
    });
  });
});
