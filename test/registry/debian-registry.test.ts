import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { NO_CREDENTIALS } from '../../src/registry/credentials.js';
import { OCI_MANIFEST } from '../../src/spec/media-types.js';
import { parseReference } from '../../src/spec/reference.js';
import { CONFIG, clientWith, download, LAYER, LAYER_DIGEST, MANIFEST, MANIFEST_DIGEST } from './fixtures.js';

const binary = spawnSync('docker-registry', ['--version']).status === 0;
const skip = binary ? false : 'docker-registry is not installed (Debian: apt-get install docker-registry)';

const user = { kind: 'password', username: 'user', password: 'pass', source: 'test' } as const;
/** bcrypt of `pass`, made with `perl -e 'print crypt("pass", "\$2y\$05\$abcdefghijklmnopqrstuu")'`. */
const HTPASSWD = 'user:$2y$05$abcdefghijklmnopqrstuuZFBUbfXoM8LFiPx8LYlO/sXZB/Cwk3K\n';

describe("Debian's docker-registry", { skip }, () => {
  for (const auth of [false, true]) {
    describe(auth ? 'with htpasswd' : 'open', () => {
      let directory: string;
      let server: ChildProcess;
      let host: string;

      before(async () => {
        directory = await mkdtemp(join(tmpdir(), 'larder-registry-'));
        host = `127.0.0.1:${await freePort()}`;
        await writeFile(join(directory, 'htpasswd'), HTPASSWD);
        await writeFile(join(directory, 'config.json'), configOf(directory, host, auth));
        server = spawn('docker-registry', ['serve', join(directory, 'config.json')], { stdio: 'ignore' });
        await untilReady(host);
        const authorization = auth ? `Basic ${Buffer.from('user:pass').toString('base64')}` : undefined;
        for (const blob of [CONFIG, LAYER]) await pushBlob(host, blob, authorization);
        await send('PUT', `http://${host}/v2/team/app/manifests/1`, MANIFEST, OCI_MANIFEST, authorization);
      });
      after(async () => {
        const exited = once(server, 'exit');
        server.kill('SIGKILL');
        await exited;
        await rm(directory, { recursive: true });
      });

      const options = auth ? { credentials: { ...NO_CREDENTIALS, find: async () => user } } : {};

      it('gives manifest, digest, config and layer', async () => {
        const { client } = clientWith(options);
        const reference = parseReference(`${host}/team/app:1`);
        const resolved = await client.resolve(reference);
        assert.equal(resolved.digest, MANIFEST_DIGEST);
        assert.equal(await client.head(reference), MANIFEST_DIGEST);
        assert.equal(resolved.manifest.kind, 'manifest');
        if (resolved.manifest.kind !== 'manifest') return;
        assert.deepEqual(Buffer.from(await client.fetchSmallBlob(reference, resolved.manifest.config)), CONFIG);
        assert.deepEqual(await download(client, reference), LAYER);
      });

      it('gives the rest of a layer', async () => {
        const blob = { digest: LAYER_DIGEST, size: LAYER.length, offset: 200_001 };
        const rest = await download(clientWith(options).client, parseReference(`${host}/team/app:1`), blob);
        assert.deepEqual(rest, LAYER.subarray(200_001));
      });

      it('does not have a tag', async () => {
        const missing = clientWith(options).client.resolve(parseReference(`${host}/team/app:2`));
        await assert.rejects(missing, { code: 'LARDER_IMAGE_NOT_FOUND', message: /MANIFEST_UNKNOWN/ });
      });

      if (!auth) return;
      it('wants a login', async () => {
        const anonymous = clientWith().client.resolve(parseReference(`${host}/team/app:1`));
        await assert.rejects(anonymous, { code: 'LARDER_REGISTRY_UNAUTHENTICATED' });
      });
    });
  }
});

/** YAML reads JSON. */
function configOf(directory: string, host: string, auth: boolean): string {
  return JSON.stringify({
    version: 0.1,
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: join(directory, 'data') } },
    http: { addr: host },
    ...(auth ? { auth: { htpasswd: { realm: 'test', path: join(directory, 'htpasswd') } } } : {}),
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilReady(host: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await send('GET', `http://${host}/v2/`);
      return;
    } catch (error) {
      if (tries >= 100) throw error;
      await delay(50);
    }
  }
}

async function pushBlob(host: string, bytes: Buffer, authorization: string | undefined): Promise<void> {
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const location = await send(
    'POST',
    `http://${host}/v2/team/app/blobs/uploads/`,
    Buffer.alloc(0),
    undefined,
    authorization,
  );
  const url = new URL(location);
  url.searchParams.set('digest', digest);
  await send('PUT', url.href, bytes, 'application/octet-stream', authorization);
}

/** Answers the Location header, or ''. */
function send(method: string, url: string, body?: Buffer, type?: string, authorization?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = {
      ...(body === undefined ? {} : { 'content-length': body.length }),
      ...(type === undefined ? {} : { 'content-type': type }),
      ...(authorization === undefined ? {} : { authorization }),
    };
    const message = request(url, { method, headers }, (response) => {
      response.resume();
      const { statusCode = 0 } = response;
      if (method !== 'GET' && statusCode >= 300) reject(new Error(`${method} ${url}: ${statusCode}`));
      else resolve(response.headers.location ?? '');
    });
    message.on('error', reject);
    message.end(body);
  });
}
