/** Debian's docker-registry with a token server, as real registries have one; in front of it a network that is slow and cuts. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LarderError } from '../../src/errors.js';
import { type Credentials, parseDockerConfig } from '../../src/registry/credentials.js';
import { parseReference } from '../../src/spec/reference.js';
import { TokenServer, type TokenServerOptions } from '../../src/testing/token-server.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { CONFIG, clientWith, download, LAYER, LAYER_DIGEST, MANIFEST, MANIFEST_DIGEST } from './fixtures.js';

const installed = ['docker-registry', 'openssl'].filter(
  (program) => spawnSync(program, [program === 'openssl' ? 'version' : '--version']).status !== 0,
);
const skip = installed.length === 0 ? false : `${installed.join(' and ')}: not installed`;
/** distribution's registry/auth/token/token.go: a token counts for so long after its end. */
const LEEWAY_S = 60;

describe("Debian's docker-registry with a token server", { skip }, () => {
  const directory = makeDirectory();
  const started: ChildProcess[] = [];
  after(async () => {
    for (const child of started) {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    removeDirectory(directory);
  });
  before(() => {
    const data = join(directory, 'data/docker/registry/v2');
    putBlobs(data, 'team/app', [CONFIG, LAYER], MANIFEST, '1');
    for (const [name, kind] of [
      ['rsa', ['rsa:2048']],
      ['ec', ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']],
    ] as const) {
      const files = ['-keyout', join(directory, `${name}.key`), '-out', join(directory, `${name}.crt`)];
      const made = spawnSync('openssl', [
        'req',
        '-x509',
        '-nodes',
        '-days',
        '2',
        '-subj',
        '/CN=t',
        '-newkey',
        ...kind,
        ...files,
      ]);
      assert.equal(made.status, 0, String(made.stderr));
    }
  });

  /** A registry of its own for each token server, which it names. */
  const start = async (more: Partial<TokenServerOptions> = {}, key: 'rsa' | 'ec' = 'rsa') => {
    const tokens = await TokenServer.start({
      key: readFileSync(join(directory, `${key}.key`), 'utf8'),
      issuer: 'test',
      users: { user: 'p:ass' },
      refreshTokens: { refresh: 'user' },
      ...more,
    });
    const host = `127.0.0.1:${await freePort()}`;
    const file = join(directory, `${host}.json`);
    writeFileSync(file, configOf(directory, host, tokens.realm, key));
    const child = spawn('docker-registry', ['serve', file], { stdio: 'ignore' });
    started.push(child);
    await untilReady(host);
    return {
      tokens,
      host,
      reference: parseReference(`${host}/team/app:1`),
      [Symbol.asyncDispose]: () => tokens[Symbol.asyncDispose](),
    };
  };
  const loginAt = (host: string, entry: object): Credentials =>
    parseDockerConfig(JSON.stringify({ auths: { [host]: entry } }), 'test');

  for (const key of ['rsa', 'ec'] as const) {
    it(`gives everything for one token got with a password (${key})`, async () => {
      await using registry = await start({}, key);
      const { client } = clientWith({ credentials: loginAt(registry.host, { username: 'user', password: 'p:ass' }) });
      assert.equal((await client.resolve(registry.reference)).digest, MANIFEST_DIGEST);
      assert.deepEqual(await download(client, registry.reference), LAYER);
      assert.equal(await client.head(registry.reference), MANIFEST_DIGEST);
      const [seen, ...others] = registry.tokens.requests;
      assert.deepEqual(others, []);
      assert.equal(seen?.method, 'GET');
      assert.deepEqual(Object.fromEntries(seen?.parameters ?? []), {
        service: 'registry',
        scope: 'repository:team/app:pull',
      });
    });
  }

  it('gives it for an identity token, sent by POST', async () => {
    await using registry = await start({ field: 'access_token' });
    const auth = Buffer.from('00000000-0000-0000-0000-000000000000:').toString('base64');
    const { client } = clientWith({ credentials: loginAt(registry.host, { auth, identitytoken: 'refresh' }) });
    assert.deepEqual(await download(client, registry.reference), LAYER);
    const [seen, ...others] = registry.tokens.requests;
    assert.deepEqual(others, []);
    assert.equal(seen?.method, 'POST');
    assert.equal(seen?.authorization, undefined);
    assert.deepEqual(Object.fromEntries(seen?.parameters ?? []), {
      grant_type: 'refresh_token',
      refresh_token: 'refresh',
      service: 'registry',
      client_id: 'larder',
      scope: 'repository:team/app:pull',
    });
  });

  it('gives it for a password sent by POST where the token server knows no GET', async () => {
    await using registry = await start({ methods: ['POST'] });
    const { client } = clientWith({ credentials: loginAt(registry.host, { username: 'user', password: 'p:ass' }) });
    assert.deepEqual(await download(client, registry.reference), LAYER);
    assert.deepEqual(
      registry.tokens.requests.map(({ method, status, parameters }) => [method, status, parameters.get('grant_type')]),
      [
        ['GET', 404, null],
        ['POST', 200, 'password'],
      ],
    );
  });

  it('gives it for a registry token, which is sent as it is', async () => {
    await using registry = await start();
    const answer = await fetch(`${registry.tokens.realm}?service=registry&scope=repository:team/app:pull`, {
      headers: { authorization: `Basic ${Buffer.from('user:p:ass').toString('base64')}` },
    });
    const { token }: { token: string } = JSON.parse(await answer.text());
    const { client } = clientWith({ credentials: loginAt(registry.host, { registrytoken: token }) });
    assert.deepEqual(await download(client, registry.reference), LAYER);
    assert.equal(registry.tokens.requests.length, 1);
    const wrong = clientWith({ credentials: loginAt(registry.host, { registrytoken: 'x.y.z' }) });
    await assert.rejects(wrong.client.resolve(registry.reference), {
      code: 'LARDER_REGISTRY_UNAUTHENTICATED',
      message: /refused the login/,
      hint: /test/,
    });
  });

  for (const [what, entry, message] of [
    [
      'a wrong password',
      { username: 'user', password: 'wrong' },
      /its token server 127\.0\.0\.1:\d+ refused the login/,
    ],
    ['a wrong identity token', { identitytoken: 'wrong' }, /refused the login/],
    ['no login', {}, /refused the login|wants a login/],
  ] as const) {
    it(`refuses ${what}, and what to do is said`, async () => {
      await using registry = await start();
      const { client } = clientWith({ credentials: loginAt(registry.host, entry) });
      await assert.rejects(client.resolve(registry.reference), (error: LarderError) => {
        assert.equal(error.code, 'LARDER_REGISTRY_UNAUTHENTICATED');
        assert.match(error.message, message);
        assert.ok(error.hint !== undefined);
        return !JSON.stringify([error.message, error.hint]).includes('wrong');
      });
    });
  }

  it('gives what anybody may have to who has no login', async () => {
    await using registry = await start({ mayPull: () => true });
    assert.deepEqual(await download(clientWith().client, registry.reference), LAYER);
    assert.equal(registry.tokens.requests[0]?.authorization, undefined);
  });

  for (const [what, options] of [
    ['tells when its tokens end', { expiresInSeconds: 3, endsInSeconds: 3 - LEEWAY_S }],
    ['lies about when its tokens end', { expiresInSeconds: 300, endsInSeconds: 3 - LEEWAY_S }],
  ] as const) {
    it(`${what}: a layer that takes longer is fetched to its end, nothing of it twice`, async () => {
      await using registry = await start(options);
      await using network = await slowNetwork(registry.host, { pieces: 4, pauseMs: 1800 });
      const { client } = clientWith({
        credentials: loginAt(network.host, { username: 'user', password: 'p:ass' }),
        timeouts: { backoffMs: 2, stallMs: 10_000, connectMs: 3000 },
      });
      const reference = parseReference(`${network.host}/team/app:1`);
      assert.deepEqual(await download(client, reference), LAYER);
      assert.equal(network.sent(), LAYER.length);
      const count = registry.tokens.requests.length;
      assert.ok(count >= 2 && count <= 4, `${count} tokens`);
      if (options.expiresInSeconds === 300) assert.ok(network.refusals() >= 2, 'a token was refused in the middle');
    });
  }

  it('is asked for one token when many requests find theirs expired', async () => {
    await using registry = await start({ endsInSeconds: 2 - LEEWAY_S });
    const { client } = clientWith({ credentials: loginAt(registry.host, { username: 'user', password: 'p:ass' }) });
    await client.resolve(registry.reference);
    await sleep(3100);
    await Promise.all(Array.from({ length: 8 }, () => download(client, registry.reference)));
    assert.equal(registry.tokens.requests.length, 2);
  });
});

/** Forwards to a registry; a blob comes in pieces, each after a pause, and after each the connection is cut. */
async function slowNetwork(host: string, { pieces, pauseMs }: { pieces: number; pauseMs: number }) {
  let sent = 0;
  let refusals = 0;
  const server: Server = createServer((incoming, outgoing) => {
    const { method, url = '/', headers } = incoming;
    const onward = request(`http://${host}${url}`, { method, headers: { ...headers, host } }, (answer) => {
      if (answer.statusCode === 401) refusals++;
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      if (!url.includes('/blobs/') || (answer.statusCode ?? 0) >= 300) return void answer.pipe(outgoing);
      void readAll(answer).then(async (bytes) => {
        await sleep(pauseMs);
        const part = bytes.subarray(0, Math.ceil(LAYER.length / pieces));
        sent += part.length;
        outgoing.write(part, () =>
          part.length === bytes.length ? outgoing.end() : setTimeout(() => outgoing.destroy(), 50),
        );
      });
    });
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    sent: () => sent,
    refusals: () => refusals,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function readAll(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

/** The registry's own layout on disk, so that nobody has to log in to push. */
function putBlobs(data: string, name: string, blobs: readonly Buffer[], manifest: Buffer, tag: string): void {
  const link = (path: string, digest: string): void => {
    mkdirSync(join(data, 'repositories', name, path), { recursive: true });
    writeFileSync(join(data, 'repositories', name, path, 'link'), digest);
  };
  for (const bytes of [...blobs, manifest]) {
    const hex = createHash('sha256').update(bytes).digest('hex');
    const place = join(data, 'blobs/sha256', hex.slice(0, 2), hex);
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, 'data'), bytes);
    link(`_layers/sha256/${hex}`, `sha256:${hex}`);
  }
  const hex = MANIFEST_DIGEST.slice('sha256:'.length);
  for (const path of [
    `_manifests/revisions/sha256/${hex}`,
    `_manifests/tags/${tag}/current`,
    `_manifests/tags/${tag}/index/sha256/${hex}`,
  ])
    link(path, MANIFEST_DIGEST);
  assert.ok(LAYER_DIGEST.startsWith('sha256:'));
}

/** YAML reads JSON. */
function configOf(directory: string, host: string, realm: string, key: string): string {
  return JSON.stringify({
    version: 0.1,
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: join(directory, 'data') } },
    http: { addr: host },
    auth: { token: { realm, service: 'registry', issuer: 'test', rootcertbundle: join(directory, `${key}.crt`) } },
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilReady(host: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await (await fetch(`http://${host}/v2/`)).arrayBuffer();
      return;
    } catch (error) {
      if (tries >= 200) throw error;
      await sleep(50);
    }
  }
}
