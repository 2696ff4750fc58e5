/**
 * A registry with one image that lets in who shows the right secret, writes down all that it is sent, and does with it
 * what registries should not do: quotes it in refusals, breaks in the middle, sends cookies.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';

let registries = 0;

/** `hold`: half of the layer, and the rest when it is let go. `refuse`: 403, with all that was sent in the text. `break`: so for the layer. */
export type Mode = 'good' | 'hold' | 'refuse' | 'break';

export interface SecretRegistryOptions {
  /** What it asks who shows nothing. */
  readonly scheme?: 'Basic' | 'Bearer';
  /** Whether the request may have the image. */
  readonly accepts?: (request: IncomingMessage) => boolean;
  /** The token server's answer; undefined refuses. */
  readonly token?: (request: IncomingMessage, form: URLSearchParams) => object | undefined;
  /** The layer is behind an address with this in its query. */
  readonly signature?: string;
  /** Sent with every answer. */
  readonly cookie?: string;
  /** With `ca` only clients with a certificate of it get in. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca: string };
}

export class SecretRegistry implements AsyncDisposable {
  readonly #options: SecretRegistryOptions;
  readonly #server: Server;
  /** Its own: a layer that is in the store already nobody would ask for. */
  readonly #image = buildImage({ layers: [{ tar: sampleLayer(`private ${registries++}`, 30_000) }] });
  /** Each request with its headers and its body. */
  readonly received: string[] = [];
  mode: Mode = 'good';
  #held: (() => void) | undefined;

  private constructor(options: SecretRegistryOptions) {
    this.#options = options;
    const { tls } = options;
    this.#server = tls === undefined ? createServer() : createTlsServer({ ...tls, requestCert: true });
  }

  static async start(options: SecretRegistryOptions = {}): Promise<SecretRegistry> {
    const registry = new SecretRegistry(options);
    registry.#server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      registry.#serve(request, response).catch(() => response.destroy());
    });
    await new Promise<void>((resolve) => registry.#server.listen(0, '127.0.0.1', resolve));
    return registry;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Whether somebody waits for the rest of the layer. */
  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  letGo(): void {
    this.#held?.();
    this.#held = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.letGo();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', rawHeaders } = request;
    let body = '';
    for await (const piece of request) body += String(piece);
    const sent = `${method} ${url}\n${rawHeaders.join('\n')}\n${body}`;
    this.received.push(sent);
    const { cookie, token, signature, accepts = () => true, scheme } = this.#options;
    if (cookie !== undefined) response.setHeader('set-cookie', cookie);
    const refuse = (status: number, headers: Record<string, string> = {}): void => {
      const message = `no: ${quoted(request, body)}`;
      const text = JSON.stringify({ errors: [{ code: 'DENIED', message }], error: 'x', error_description: message });
      response.writeHead(status, { ...headers, 'content-type': 'application/json' }).end(text);
    };
    const { pathname, searchParams } = new URL(url, 'http://registry.invalid');
    if (pathname === '/token') {
      const answer = token?.(request, method === 'POST' ? new URLSearchParams(body) : searchParams);
      if (answer === undefined) return refuse(401);
      return void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    }
    const isStored = pathname === '/stored';
    if (!isStored && !accepts(request)) return refuse(401, { 'www-authenticate': this.#challenge(scheme) });
    if (this.mode === 'refuse' || (isStored && searchParams.get('X-Amz-Signature') !== signature)) return refuse(403);
    if (pathname === '/v2/') return void response.end('{}');
    const [, kind, wanted = ''] = /\/(manifests|blobs)\/([^/]+)$/.exec(pathname) ?? [];
    if (kind === 'manifests') {
      const headers = { 'content-type': this.#image.mediaType, 'docker-content-digest': this.#image.digest };
      return void response
        .writeHead(200, { ...headers, 'content-length': this.#image.manifest.length })
        .end(this.#image.manifest);
    }
    if (wanted === this.#image.configDigest) return void response.end(this.#image.config);
    if (this.mode === 'break' && (isStored || signature === undefined)) return refuse(403);
    if (signature === undefined || isStored) return this.#sendLayer(response);
    response.writeHead(307, { location: `http://${this.host}/stored?X-Amz-Signature=${signature}` }).end();
  }

  #sendLayer(response: ServerResponse): void {
    const blob = this.#image.layers[0]?.blob ?? Buffer.alloc(0);
    response.writeHead(200, { 'content-length': blob.length });
    if (this.mode !== 'hold') return void response.end(blob);
    response.write(blob.subarray(0, 1000));
    this.#held = () => void response.end(blob.subarray(1000));
  }

  #challenge(scheme = 'Basic'): string {
    return scheme === 'Basic' ? 'Basic realm="private"' : `Bearer realm="http://${this.host}/token",service="private"`;
  }
}

/** What is secret in the request, without the words before it. */
function quoted({ url = '', headers }: IncomingMessage, body: string): string {
  const { authorization = '', cookie = '' } = headers;
  const login = authorization.replace(/^\w+ /, '');
  const inside = Buffer.from(login, 'base64').toString();
  const told = [login, inside.startsWith('me:') ? inside.slice(3) : '', cookie.replace('session=', ''), body];
  const { searchParams } = new URL(url, 'http://registry.invalid');
  return [...told, ...searchParams.values()].filter((text) => text !== '').join(' ');
}
