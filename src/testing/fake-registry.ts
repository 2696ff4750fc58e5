/**
 * A registry's pull API (OCI distribution-spec) in this process, over real sockets: for tests, which make it lie and
 * break in every way that registries do, and for the demo. It keeps everything in memory and listens on loopback.
 */
import { randomBytes } from 'node:crypto';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type Digest, digestOf } from '../spec/digest.js';
import { type RegistryFault, send, sendHead, spoil, type TrueAnswer } from './registry-fault.js';

export type { RegistryFault } from './registry-fault.js';

export interface RegistryRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** How many requests with this method and path came before. */
  readonly nth: number;
}

export type FaultHook = (request: RegistryRequest) => RegistryFault | undefined;

export type RegistryAuth =
  | { readonly type: 'basic'; readonly username: string; readonly password: string }
  | {
      readonly type: 'bearer';
      /** Without them, tokens are given to anybody. */
      readonly username?: string;
      readonly password?: string;
      /** What the token's answer says; a token itself is good for as long as {@link FakeRegistry.expireTokens} is not called. */
      readonly expiresInSeconds?: number;
      /** Default: `/token` of this registry. */
      readonly realm?: string;
      /** Name of the token's field. Default `token`. */
      readonly field?: 'token' | 'access_token';
    };

export interface FakeImage {
  /** Repository: `library/demo`. */
  readonly name: string;
  readonly tag?: string;
  readonly manifest: Uint8Array;
  readonly mediaType: string;
  readonly blobs: readonly Uint8Array[];
  /** What the manifest's digest is of, where that is not the manifest as it is served: signed schema 1. */
  readonly payload?: Uint8Array;
}

export interface FakeRegistryOptions {
  readonly host?: string;
  readonly port?: number;
  readonly images?: readonly FakeImage[];
  readonly auth?: RegistryAuth;
  /** PEM. */
  readonly tls?: { readonly key: string; readonly cert: string };
  readonly fault?: FaultHook;
}

export async function startRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const registry = new FakeRegistry(options);
  await registry.listen();
  for (const image of options.images ?? []) registry.addImage(image);
  return registry;
}

const EMPTY = Buffer.alloc(0);

interface Stored {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  readonly mediaType: string;
}

/** Made by {@link startRegistry}. */
export class FakeRegistry {
  readonly #options: FakeRegistryOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #requests: RegistryRequest[] = [];
  /** By `name@digest` and `name:tag`. */
  readonly #manifests = new Map<string, Stored>();
  /** By `name@digest`. */
  readonly #blobs = new Map<string, Stored>();
  #tokens = new Set<string>();
  readonly #given = new Set<string>();
  #fault: FaultHook | undefined;

  constructor(options: FakeRegistryOptions) {
    this.#options = options;
    this.#fault = options.fault;
    this.#server = options.tls === undefined ? createServer() : createTlsServer(options.tls);
  }

  /** `host:port`, for references. */
  get host(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `${this.#options.host ?? '127.0.0.1'}:${port}`;
  }

  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://${this.host}`;
  }

  /** Every request in order of arrival. */
  get requests(): readonly RegistryRequest[] {
    return this.#requests;
  }

  /** Puts a manifest and its blobs; answers the manifest's digest. */
  addImage(image: FakeImage): Digest {
    for (const blob of image.blobs) this.addBlob(image.name, blob);
    const digest = digestOf(image.payload ?? image.manifest);
    return this.addManifest(image.name, image.tag ?? 'latest', image.manifest, image.mediaType, digest);
  }

  addManifest(
    name: string,
    tag: string | undefined,
    bytes: Uint8Array,
    mediaType: string,
    digest: Digest = digestOf(bytes),
  ): Digest {
    this.#manifests.set(`${name}@${digest}`, { bytes, digest, mediaType });
    if (tag !== undefined) this.#manifests.set(`${name}:${tag}`, { bytes, digest, mediaType });
    return digest;
  }

  addBlob(name: string, bytes: Uint8Array, digest: Digest = digestOf(bytes)): Digest {
    this.#blobs.set(`${name}@${digest}`, { bytes, digest, mediaType: 'application/octet-stream' });
    return digest;
  }

  /** Replaces the fault hook. */
  setFault(fault: FaultHook | undefined): void {
    this.#fault = fault;
  }

  /** Every token that was given out, those that are refused by now included. */
  get tokens(): readonly string[] {
    return [...this.#given];
  }

  /** From now on every token that was given out is refused. */
  expireTokens(): void {
    this.#tokens = new Set();
  }

  async listen(): Promise<void> {
    this.#server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#serve(request, response).catch((error: unknown) =>
        response.destroy(error instanceof Error ? error : undefined),
      );
    });
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#options.port ?? 0, (this.#options.host ?? '127.0.0.1').replace(/[[\]]/g, ''), resolve);
    });
  }

  /** Stops at once; open connections are broken. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<ServerResponse> {
    const { method = 'GET', url = '/', headers } = request;
    const nth = this.#requests.filter((earlier) => earlier.method === method && earlier.url === url).length;
    const seen: RegistryRequest = { method, url, headers, nth };
    this.#requests.push(seen);
    const fault = this.#fault?.(seen);
    if (fault?.kind === 'hang') return response;
    if (fault?.kind === 'delay') await delay(fault.ms);
    if (fault?.kind === 'status') {
      return send(response, {
        status: fault.status,
        headers: fault.headers ?? {},
        body: Buffer.from(fault.body ?? ''),
      });
    }
    if (fault?.kind === 'redirect') {
      return send(response, { status: fault.status ?? 307, headers: { location: fault.location }, body: EMPTY });
    }
    const truth = this.#truth(seen, fault);
    return method === 'HEAD' ? sendHead(response, truth, fault) : spoil(response, truth, fault);
  }

  /** The right answer, but for a fault that has to do with ranges. */
  #truth(request: RegistryRequest, fault: RegistryFault | undefined): TrueAnswer {
    const { pathname, searchParams } = new URL(request.url, 'http://registry.invalid');
    if (pathname === '/token') return this.#giveToken(request, searchParams);
    if (!this.#isAuthorized(request)) return this.#challenge(pathname);
    if (pathname === '/v2/') return { status: 200, headers: {}, body: Buffer.from('{}') };
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname);
    if (match === null) return refusal(404, 'NOT_FOUND', 'no such path');
    const [, name = '', kind, wanted = ''] = match;
    const stored = (kind === 'blobs' ? this.#blobs : this.#manifests).get(
      `${name}${wanted.includes(':') ? '@' : ':'}${wanted}`,
    );
    if (stored !== undefined) return contentOf(request, stored, fault);
    return kind === 'blobs'
      ? refusal(404, 'BLOB_UNKNOWN', 'blob unknown to registry')
      : refusal(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
  }

  #isAuthorized({ headers }: RegistryRequest): boolean {
    const { auth } = this.#options;
    if (auth === undefined) return true;
    const sent = headers.authorization ?? '';
    return auth.type === 'basic'
      ? sent === basic(auth.username, auth.password)
      : sent.startsWith('Bearer ') && this.#tokens.has(sent.slice('Bearer '.length));
  }

  #challenge(pathname: string): TrueAnswer {
    const { auth } = this.#options;
    const name = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(pathname)?.[1];
    const scope = name === undefined ? '' : `,scope="repository:${name}:pull"`;
    const bearer = auth?.type === 'bearer' ? (auth.realm ?? `${this.url}/token`) : '';
    const challenge =
      auth?.type === 'bearer' ? `Bearer realm="${bearer}",service="fake"${scope}` : 'Basic realm="fake"';
    return refusal(401, 'UNAUTHORIZED', 'authentication required', { 'www-authenticate': challenge });
  }

  #giveToken({ headers }: RegistryRequest, parameters: URLSearchParams): TrueAnswer {
    const { auth } = this.#options;
    if (auth?.type !== 'bearer') return refusal(404, 'NOT_FOUND', 'no tokens here');
    const { username, password } = auth;
    if (username !== undefined && headers.authorization !== basic(username, password ?? '')) {
      return refusal(401, 'UNAUTHORIZED', 'wrong user name or password');
    }
    const token = `t-${randomBytes(12).toString('hex')}`;
    this.#given.add(token);
    if (parameters.get('service') === 'fake' || auth.realm !== undefined) this.#tokens.add(token);
    const body = { [auth.field ?? 'token']: token, expires_in: auth.expiresInSeconds ?? 300 };
    return { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(body)) };
  }
}

function contentOf(
  { headers }: RegistryRequest,
  { bytes, digest, mediaType }: Stored,
  fault: RegistryFault | undefined,
): TrueAnswer {
  const { length } = bytes;
  const asked = fault?.kind === 'ignore-range' ? null : /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
  const start = Number(asked?.[1] ?? 0);
  const end = Math.min(length, asked === null || asked[2] === '' ? length : Number(asked[2]) + 1);
  if (start > 0 && start >= length) {
    return { status: 416, headers: { 'content-range': `bytes */${length}` }, body: EMPTY };
  }
  const isPart = start > 0 || end < length;
  const first = start + (fault?.kind === 'wrong-range' ? 1 : 0);
  const partial: Record<string, string> = isPart ? { 'content-range': `bytes ${first}-${end - 1}/${length}` } : {};
  const common = {
    'content-type': mediaType,
    'docker-content-digest': digest,
    'docker-distribution-api-version': 'registry/2.0',
    'accept-ranges': 'bytes',
  };
  const body = Buffer.from(bytes.subarray(start, end));
  return { status: isPart ? 206 : 200, headers: { ...common, ...partial }, body };
}

/** The distribution-spec's error body. */
function refusal(
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): TrueAnswer {
  const body = Buffer.from(JSON.stringify({ errors: [{ code, message }] }));
  return { status, headers: { ...headers, 'content-type': 'application/json' }, body };
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
