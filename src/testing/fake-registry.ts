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
import { gzipSync } from 'node:zlib';
import { type Digest, digestOf } from '../spec/digest.js';

export interface RegistryRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** How many requests with this method and path came before. */
  readonly nth: number;
}

/**
 * What goes wrong with one answer. `after` counts bytes of the body that still arrive. `reset` breaks the
 * connection, `short` closes it although more was announced, `cut` announces nothing and closes it as if that were
 * the end, `stall` sends nothing more and keeps it open, `hang` does not even send a head.
 */
export type RegistryFault =
  | { readonly kind: 'reset' | 'short' | 'stall' | 'cut'; readonly after: number }
  | { readonly kind: 'wrong-bytes' | 'gzip' | 'hang' | 'ignore-range' | 'wrong-range' | 'longer' }
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  | { readonly kind: 'redirect'; readonly location: string; readonly status?: number }
  /** The true answer, with other headers. */
  | { readonly kind: 'headers'; readonly headers: Readonly<Record<string, string>> }
  /** The true answer, so much later. */
  | { readonly kind: 'delay'; readonly ms: number };

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
    if (fault?.kind === 'status') return answer(response, fault.status, fault.headers ?? {}, fault.body ?? '');
    if (fault?.kind === 'redirect') return answer(response, fault.status ?? 307, { location: fault.location }, '');
    const { pathname, searchParams } = new URL(url, 'http://registry.invalid');
    if (pathname === '/token') return this.#giveToken(seen, searchParams, response);
    if (!this.#isAuthorized(seen)) return this.#challenge(pathname, response);
    if (pathname === '/v2/') return answer(response, 200, {}, '{}');
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname);
    if (match === null) return refuse(response, 404, 'NOT_FOUND', 'no such path');
    const [, name = '', kind, wanted = ''] = match;
    const stored = (kind === 'blobs' ? this.#blobs : this.#manifests).get(
      `${name}${wanted.includes(':') ? '@' : ':'}${wanted}`,
    );
    if (stored === undefined) {
      return kind === 'blobs'
        ? refuse(response, 404, 'BLOB_UNKNOWN', 'blob unknown to registry')
        : refuse(response, 404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    }
    return send(seen, response, stored, fault);
  }

  #isAuthorized({ headers }: RegistryRequest): boolean {
    const { auth } = this.#options;
    if (auth === undefined) return true;
    const sent = headers.authorization ?? '';
    return auth.type === 'basic'
      ? sent === basic(auth.username, auth.password)
      : sent.startsWith('Bearer ') && this.#tokens.has(sent.slice('Bearer '.length));
  }

  #challenge(pathname: string, response: ServerResponse): ServerResponse {
    const { auth } = this.#options;
    const name = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(pathname)?.[1];
    const scope = name === undefined ? '' : `,scope="repository:${name}:pull"`;
    const bearer = auth?.type === 'bearer' ? (auth.realm ?? `${this.url}/token`) : '';
    const challenge =
      auth?.type === 'bearer' ? `Bearer realm="${bearer}",service="fake"${scope}` : 'Basic realm="fake"';
    return refuse(response, 401, 'UNAUTHORIZED', 'authentication required', { 'www-authenticate': challenge });
  }

  #giveToken({ headers }: RegistryRequest, parameters: URLSearchParams, response: ServerResponse): ServerResponse {
    const { auth } = this.#options;
    if (auth?.type !== 'bearer') return refuse(response, 404, 'NOT_FOUND', 'no tokens here');
    const { username, password } = auth;
    if (username !== undefined && headers.authorization !== basic(username, password ?? '')) {
      return refuse(response, 401, 'UNAUTHORIZED', 'wrong user name or password');
    }
    const token = `t-${randomBytes(12).toString('hex')}`;
    if (parameters.get('service') === 'fake' || auth.realm !== undefined) this.#tokens.add(token);
    const body = { [auth.field ?? 'token']: token, expires_in: auth.expiresInSeconds ?? 300 };
    return answer(response, 200, { 'content-type': 'application/json' }, JSON.stringify(body));
  }
}

function send(
  { method, headers }: RegistryRequest,
  response: ServerResponse,
  { bytes, digest, mediaType }: Stored,
  fault: RegistryFault | undefined,
): ServerResponse {
  const common = {
    'content-type': mediaType,
    'docker-content-digest': digest,
    'docker-distribution-api-version': 'registry/2.0',
    'accept-ranges': 'bytes',
    ...(fault?.kind === 'headers' ? fault.headers : {}),
  };
  const asked = fault?.kind === 'ignore-range' ? null : /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
  const start = Number(asked?.[1] ?? 0);
  const end = Math.min(bytes.length, asked === null || asked[2] === '' ? bytes.length : Number(asked[2]) + 1);
  if (start > 0 && start >= bytes.length)
    return answer(response, 416, { 'content-range': `bytes */${bytes.length}` }, '');
  const shift = fault?.kind === 'wrong-range' ? 1 : 0;
  const isPart = start > 0 || end < bytes.length;
  const partial = isPart ? { 'content-range': `bytes ${start + shift}-${end - 1}/${bytes.length}` } : {};
  const body = Buffer.from(bytes.subarray(start, end));
  const status = isPart ? 206 : 200;
  if (method === 'HEAD') {
    return response.writeHead(status, { ...common, 'content-length': body.length }).end();
  }
  switch (fault?.kind) {
    case 'wrong-bytes':
      return answer(response, status, { ...common, ...partial }, Buffer.alloc(body.length, 0x78));
    case 'longer':
      // Chunked: nothing tells before the bytes come.
      return response.writeHead(status, { ...common, ...partial }).end(Buffer.concat([body, Buffer.alloc(100)]));
    case 'gzip':
      return answer(response, status, { ...common, ...partial, 'content-encoding': 'gzip' }, gzipSync(body));
    case 'reset':
    case 'short':
    case 'stall':
    case 'cut':
      return breakOff(response, status, { ...common, ...partial }, body, fault.kind, fault.after);
    default:
      return answer(response, status, { ...common, ...partial }, body);
  }
}

function breakOff(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: Buffer,
  kind: 'reset' | 'short' | 'stall' | 'cut',
  after: number,
): ServerResponse {
  const { socket } = response;
  // Without a length, and without chunks, only the end of the connection ends the body.
  const framing = kind === 'cut' ? { connection: 'close' } : { 'content-length': String(body.length) };
  if (kind === 'cut') response.useChunkedEncodingByDefault = false;
  response.writeHead(status, { ...headers, ...framing });
  response.write(body.subarray(0, after), () => {
    if (kind === 'reset') socket?.resetAndDestroy();
    else if (kind !== 'stall') socket?.end();
  });
  return response;
}

function answer(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string | Uint8Array,
): ServerResponse {
  return response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
}

/** The distribution-spec's error body. */
function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): ServerResponse {
  const body = JSON.stringify({ errors: [{ code, message }] });
  return answer(response, status, { ...headers, 'content-type': 'application/json' }, body);
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
