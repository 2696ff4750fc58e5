/**
 * Hosts beside a registry, which write down all that they are sent: a storage server with signed addresses, behind good
 * and bad certificates, and a stranger who asks everybody to log in. None of them is owed a credential.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureVersion } from 'node:tls';

/** PEM. */
export interface ServerCertificate {
  readonly key: string;
  readonly cert: string;
}

/** For the name `localhost`. */
export interface HostCertificates {
  /** Of an authority that the client trusts. */
  readonly good: ServerCertificate;
  /** Of the same, and over. */
  readonly expired: ServerCertificate;
  /** Of nobody that the client knows. */
  readonly unknown: ServerCertificate;
}

export interface OtherHostsOptions {
  /** Without them there is no TLS, and what needs it throws. */
  readonly certificates?: HostCertificates;
}

export type StorageKind = 'plain' | 'tls' | 'tls-wrong-name' | 'tls-expired' | 'tls-unknown' | 'tls-old' | 'not-tls';

const STORAGE_ADDRESS = '127.0.0.2';
const STRANGER_ADDRESS = '127.0.0.3';

export class OtherHosts implements AsyncDisposable {
  /** All that came, each request as text with its headers and its body. */
  readonly received: string[] = [];
  readonly #servers: Server[] = [];
  readonly #urls = new Map<StorageKind | 'stranger', string>();
  /** By path. */
  readonly #stored = new Map<string, Uint8Array>();

  static async start({ certificates }: OtherHostsOptions = {}): Promise<OtherHosts> {
    const hosts = new OtherHosts();
    const storage: RequestListener = (request, response) => hosts.#serveStored(request, response);
    const stranger: RequestListener = (request, response) => hosts.#askForLogin(request, response);
    await hosts.#listen('plain', `http://${STORAGE_ADDRESS}`, createServer(storage));
    await hosts.#listen('stranger', `http://${STRANGER_ADDRESS}`, createServer(stranger));
    if (certificates === undefined) return hosts;
    const { good, expired, unknown } = certificates;
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1' } satisfies Record<string, SecureVersion>;
    await hosts.#listen('tls', 'https://localhost', createTlsServer(good, storage));
    await hosts.#listen('tls-wrong-name', 'https://127.0.0.1', createTlsServer(good, storage));
    await hosts.#listen('tls-expired', 'https://localhost', createTlsServer(expired, storage));
    await hosts.#listen('tls-unknown', 'https://localhost', createTlsServer(unknown, storage));
    await hosts.#listen(
      'tls-old',
      'https://localhost',
      createTlsServer({ ...good, ...old, ciphers: 'DEFAULT@SECLEVEL=0' }, storage),
    );
    await hosts.#listen('not-tls', 'https://127.0.0.1', createServer(storage));
    return hosts;
  }

  /** `http://host:port`, of who has no business with anything. */
  get stranger(): string {
    return this.#urlOf('stranger');
  }

  /** Keeps the bytes where only who knows the signature gets them. */
  store(bytes: Uint8Array, kind: StorageKind = 'plain'): { readonly url: string; readonly signature: string } {
    const signature = `sig-${randomBytes(12).toString('hex')}`;
    const path = `/stored/${randomBytes(6).toString('hex')}?X-Amz-Signature=${signature}`;
    this.#stored.set(path, bytes);
    return { url: this.#urlOf(kind) + path, signature };
  }

  /** From now on whoever asks for the address is sent on to the other one. */
  sendOn(url: string, to: string): void {
    const { pathname, search } = new URL(url);
    this.#stored.set(pathname + search, Buffer.from(`location:${to}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) server.closeAllConnections();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #urlOf(kind: StorageKind | 'stranger'): string {
    const url = this.#urls.get(kind);
    if (url === undefined) throw new Error(`OtherHosts: ${kind} needs certificates`);
    return url;
  }

  async #listen(kind: StorageKind | 'stranger', origin: string, server: Server): Promise<void> {
    this.#servers.push(server);
    server.on('request', (request) => this.#record(request));
    const { hostname } = new URL(origin);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, hostname === 'localhost' ? '127.0.0.1' : hostname, resolve);
    });
    this.#urls.set(kind, `${origin}:${(server.address() as AddressInfo).port}`);
  }

  #record(request: IncomingMessage): void {
    const { method, url, rawHeaders } = request;
    const at = this.received.push(`${method} ${url}\n${rawHeaders.join('\n')}\n`) - 1;
    request.setEncoding('utf8').on('data', (text: string) => {
      this.received[at] += text;
    });
  }

  #serveStored(request: IncomingMessage, response: ServerResponse): void {
    const stored = this.#stored.get(request.url ?? '');
    const text = stored === undefined ? '' : Buffer.from(stored.subarray(0, 9)).toString();
    if (stored === undefined) response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>');
    else if (text === 'location:') response.writeHead(307, { location: Buffer.from(stored).toString().slice(9) }).end();
    else response.writeHead(200, { 'content-length': stored.length }).end(stored);
  }

  #askForLogin(_request: IncomingMessage, response: ServerResponse): void {
    const challenge = `Basic realm="please", Bearer realm="${this.stranger}/token",service="stranger"`;
    response.writeHead(401, { 'www-authenticate': challenge, 'set-cookie': 'who=you' }).end();
  }
}
