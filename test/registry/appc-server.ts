/** A web server of this process, over HTTP or TLS, that says what its test wants and keeps what it was asked. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

export interface Certificate {
  readonly caFile: string;
  readonly key: string;
  readonly cert: string;
}

/** For 127.0.0.1, in files of the directory. */
export function makeCertificate(directory: string): Certificate {
  const [keyFile, caFile] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const subject = ['-subj', '/CN=larder-test', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const files = ['-nodes', '-days', '2', '-keyout', keyFile, '-out', caFile];
  execFileSync('openssl', ['req', '-x509', ...curve, ...files, ...subject], { stdio: 'pipe' });
  return { caFile, key: readFileSync(keyFile, 'utf8'), cert: readFileSync(caFile, 'utf8') };
}

type Body = string | Uint8Array;
/** Content, or what to do with the request. */
export type Route = Body | ((request: IncomingMessage, response: ServerResponse) => void);

export class AppcServer {
  readonly scheme: 'http' | 'https';
  readonly #server: ReturnType<typeof createServer>;
  /** Path without a query -> what is there. */
  readonly routes = new Map<string, Route>();
  /** Path and query of every request. */
  readonly requests: string[] = [];
  readonly headers: IncomingMessage['headers'][] = [];

  private constructor(scheme: 'http' | 'https', make: (listener: RequestListener) => ReturnType<typeof createServer>) {
    this.scheme = scheme;
    this.#server = make((request, response) => this.#answer(request, response));
  }

  static async start(certificate?: Certificate): Promise<AppcServer> {
    const server =
      certificate === undefined
        ? new AppcServer('http', (listener) => createServer(listener))
        : new AppcServer('https', (listener) => createSecureServer({ ...certificate }, listener));
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.scheme}://127.0.0.1:${this.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { url = '' } = request;
    this.requests.push(url);
    this.headers.push(request.headers);
    const route = this.routes.get(url.split('?')[0] ?? '');
    if (route === undefined) response.writeHead(404).end('nothing here');
    else if (typeof route === 'function') route(request, response);
    else response.writeHead(200, { 'content-length': Buffer.byteLength(route) }).end(route);
  }
}

export function redirectTo(location: string): Route {
  return (_, response) => void response.writeHead(302, { location }).end();
}

export function status(code: number, headers: Readonly<Record<string, string>> = {}): Route {
  return (_, response) => void response.writeHead(code, headers).end();
}
