/**
 * Agents whose connections go through a proxy: CONNECT for HTTP proxies, the SOCKS protocol (RFC 1928) for the others.
 * The proxy looks names up. Plain HTTP goes through a tunnel, too: a proxy need not read what it forwards. What a proxy
 * answers is about the proxy and never taken for an answer of the registry.
 */
import {
  type ClientRequestArgs,
  Agent as HttpAgent,
  type AgentOptions as HttpOptions,
  request as requestHttp,
} from 'node:http';
import { Agent as HttpsAgent, type AgentOptions as HttpsOptions, request as requestHttps } from 'node:https';
import { isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, rootCertificates } from 'node:tls';
import { proxyName } from './proxy.js';

export interface Tunnel {
  readonly proxy: string;
  readonly timeoutMs: number;
  /** PEM, beside the system's: who vouches for a proxy that speaks TLS. */
  readonly ca: string | undefined;
}

type Created = (error: Error | null, stream: Duplex) => void;

/** Who listens for what failed looks for this code. */
export const PROXY_ERROR = 'ELARDERPROXY';

export class TunnelHttpAgent extends HttpAgent {
  readonly #tunnel: Tunnel;

  constructor(tunnel: Tunnel, options: HttpOptions) {
    super(options);
    this.#tunnel = tunnel;
  }

  override createConnection(options: ClientRequestArgs, callback: Created): undefined {
    settle(openTunnel(this.#tunnel, options), callback);
  }
}

export class TunnelHttpsAgent extends HttpsAgent {
  readonly #tunnel: Tunnel;

  constructor(tunnel: Tunnel, options: HttpsOptions) {
    super(options);
    this.#tunnel = tunnel;
  }

  override createConnection(options: ClientRequestArgs, callback: Created): undefined {
    const secured = openTunnel(this.#tunnel, options).then((socket) =>
      connectTls({ ...tlsOptionsOf(options), socket }),
    );
    settle(secured, callback);
  }
}

function settle(socket: Promise<Duplex>, callback: Created): void {
  socket.then(
    (opened) => callback(null, opened),
    // Node reads no second argument beside an error.
    (error: Error) => (callback as (error: Error) => void)(error),
  );
}

/** The agent's and the request's options for TLS, without those by which it would connect by itself. */
function tlsOptionsOf(options: ClientRequestArgs): object {
  const { path: _path, port: _port, ...rest } = options;
  return rest;
}

async function openTunnel({ proxy, timeoutMs, ca }: Tunnel, options: ClientRequestArgs): Promise<Socket> {
  const host = (options.host ?? 'localhost').replace(/^\[|\]$/g, '');
  const port = Number(options.port);
  const url = new URL(proxy);
  try {
    return await (url.protocol.startsWith('socks')
      ? openBySocks(url, host, port, timeoutMs)
      : openByConnect(url, host, port, timeoutMs, ca));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw Object.assign(new Error(`the proxy ${proxyName(proxy)}: ${why}`), { code: PROXY_ERROR });
  }
}

/** RFC 9110, 9.3.6. */
function openByConnect(
  proxy: URL,
  host: string,
  port: number,
  timeoutMs: number,
  ca: string | undefined,
): Promise<Socket> {
  const target = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  const login = loginOf(proxy);
  return new Promise((resolve, reject) => {
    const request = proxy.protocol === 'https:' ? requestHttps : requestHttp;
    const message = request({
      method: 'CONNECT',
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
      path: target,
      agent: false,
      ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
      headers: {
        host: target,
        ...(login === undefined
          ? {}
          : { 'proxy-authorization': `Basic ${Buffer.from(`${login.name}:${login.password}`).toString('base64')}` }),
      },
    });
    const timer = setTimeout(() => message.destroy(new Error(`no tunnel within ${timeoutMs} ms`)), timeoutMs);
    message.once('connect', ({ statusCode = 0 }, socket: Socket, early: Buffer) => {
      clearTimeout(timer);
      // Nobody speaks before us: not TLS, not HTTP. What comes early is not from where we want to go.
      if (statusCode >= 200 && statusCode < 300 && early.length === 0) return resolve(socket);
      socket.destroy();
      reject(new Error(statusCode === 407 ? 'it wants a login (407)' : `it answered ${statusCode}`));
    });
    message.once('response', ({ statusCode = 0 }) => {
      clearTimeout(timer);
      message.destroy();
      reject(new Error(statusCode === 407 ? 'it wants a login (407)' : `it answered ${statusCode}`));
    });
    message.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    message.end();
  });
}

async function openBySocks(proxy: URL, host: string, port: number, timeoutMs: number): Promise<Socket> {
  const { SocksClient } = await import('socks');
  const login = loginOf(proxy);
  const { socket } = await SocksClient.createConnection({
    command: 'connect',
    destination: { host, port },
    timeout: timeoutMs,
    proxy: {
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: Number(proxy.port || 1080),
      type: 5,
      ...(login === undefined ? {} : { userId: login.name, password: login.password }),
    },
  });
  return socket;
}

function loginOf({ username, password }: URL): { readonly name: string; readonly password: string } | undefined {
  if (username === '' && password === '') return undefined;
  return { name: decodeURIComponent(username), password: decodeURIComponent(password) };
}
