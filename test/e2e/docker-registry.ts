/** Debian's docker-registry over a storage directory, on a free port of the loopback. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Digest, digestOf, hexOf } from '../../src/spec/digest.js';
import { type BuiltImage, type BuiltIndex, manifestsOf } from '../../src/testing/image-builder.js';
import type { BuiltSchema1Image } from '../../src/testing/schema1-builder.js';

export interface DockerRegistryOptions {
  /** Wants `user` with the password `pass`. */
  readonly login?: boolean;
  /** A free one when it is left out. */
  readonly port?: number;
  /** Wants a token of the server at `realm`, signed with the key of the certificate. */
  readonly tokens?: { readonly realm: string; readonly certFile: string };
}

/** bcrypt of `pass`, made with `perl -e 'print crypt("pass", "\$2y\$05\$abcdefghijklmnopqrstuu")'`. */
const HTPASSWD = 'user:$2y$05$abcdefghijklmnopqrstuuZFBUbfXoM8LFiPx8LYlO/sXZB/Cwk3K\n';
const BASIC = `Basic ${Buffer.from('user:pass').toString('base64')}`;

export class DockerRegistry {
  /** `127.0.0.1:port`, for references. */
  readonly host: string;
  readonly #directory: string;
  readonly #process: ChildProcess;

  private constructor(directory: string, port: number, process: ChildProcess) {
    this.#directory = directory;
    this.host = `127.0.0.1:${port}`;
    this.#process = process;
  }

  /** Its storage is kept in `directory` when it is closed; several may have one. */
  static async start(directory: string, options: DockerRegistryOptions = {}): Promise<DockerRegistry> {
    const { login = false, tokens, port = await freePort() } = options;
    mkdirSync(directory, { recursive: true });
    const htpasswd = join(directory, 'htpasswd');
    writeFileSync(htpasswd, HTPASSWD);
    const config = join(directory, `config-${port}.json`);
    writeFileSync(
      config,
      JSON.stringify({
        ...configuration(join(directory, 'storage'), port),
        ...(login ? wantsLogin(htpasswd) : {}),
        ...(tokens === undefined ? {} : wantsTokens(tokens.realm, tokens.certFile)),
      }),
    );
    const child = spawn('docker-registry', ['serve', config], {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'], OTEL_TRACES_EXPORTER: 'none' },
    });
    const registry = new DockerRegistry(directory, port, child);
    const failed = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`docker-registry: ended with ${code} before it served`)));
    });
    await Promise.race([failed, registry.#ready()]);
    failed.catch(() => {});
    return registry;
  }

  /** Sends what was built, byte for byte, also what no honest program would send. `name` is `repository:tag`. */
  async push(name: string, top: BuiltImage | BuiltIndex | BuiltSchema1Image): Promise<void> {
    const [repository = '', tag = 'latest'] = name.split(':');
    for (const image of 'payload' in top ? [top] : manifestsOf(top)) {
      for (const blob of 'blobs' in image ? image.blobs : []) await this.#pushBlob(repository, blob);
      const reference = image === top ? tag : image.digest;
      await this.#put(`/v2/${repository}/manifests/${reference}`, image.manifest, image.mediaType);
    }
  }

  /** Copies with skopeo, from any of its transports to `repository:tag` here. */
  skopeo(source: string, name: string, ...options: readonly string[]): void {
    const tls = ['--src-tls-verify=false', '--dest-tls-verify=false'];
    execFileSync('skopeo', ['copy', '-q', ...tls, ...options, source, `docker://${this.host}/${name}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  }

  /** The file that holds a blob: to damage it. */
  blobFile(digest: Digest): string {
    const hex = hexOf(digest);
    return join(this.#directory, 'storage', 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
  }

  async close(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill(signal);
    await ended;
  }

  /** OCI distribution-spec, "Pushing a blob in chunks" with one chunk: POST then PUT. */
  async #pushBlob(repository: string, blob: Uint8Array): Promise<void> {
    const start = await fetch(`http://${this.host}/v2/${repository}/blobs/uploads/`, {
      method: 'POST',
      headers: { authorization: BASIC },
    });
    const upload = new URL(start.headers.get('location') ?? '', start.url);
    upload.searchParams.set('digest', digestOf(blob));
    await this.#put(`${upload.pathname}${upload.search}`, blob, 'application/octet-stream');
  }

  async #put(path: string, body: Uint8Array, type: string): Promise<void> {
    const answer = await fetch(`http://${this.host}${path}`, {
      method: 'PUT',
      body,
      headers: { 'content-type': type, authorization: BASIC },
    });
    if (answer.status !== 201) throw new Error(`docker-registry: PUT ${path}: ${answer.status} ${await answer.text()}`);
  }

  async #ready(): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      if (await answers(`http://${this.host}/v2/`)) return;
      await sleep(50);
    }
    throw new Error(`docker-registry: ${this.host}: does not answer`);
  }
}

function configuration(rootdirectory: string, port: number) {
  return {
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory }, maintenance: { uploadpurging: { enabled: false } } },
    compatibility: { schema1: { enabled: true } },
    http: { addr: `127.0.0.1:${port}`, secret: 'e2e' },
  };
}

function wantsLogin(path: string) {
  return { auth: { htpasswd: { realm: 'test', path } } };
}

function wantsTokens(realm: string, rootcertbundle: string) {
  return { auth: { token: { realm, service: 'registry', issuer: 'test', rootcertbundle } } };
}

function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request(url, (response) => {
      response.resume();
      resolve(response.statusCode === 200 || response.statusCode === 401);
    });
    probe.on('error', () => resolve(false));
    probe.end();
  });
}

/** A port that nobody listens on; also for references that nobody serves. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
