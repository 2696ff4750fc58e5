import { lookup } from 'node:dns/promises';
import { LarderError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { isLoopbackHost, rangeOf } from './addresses.js';
import { Authenticator, type TokenRequest } from './auth.js';
import type { AddressRange, BlobGrant, LowSpeed } from './blob.js';
import type { Credentials } from './credentials.js';
import { getWhole } from './get-whole.js';
import { plainServer, type Server } from './hosts/endpoint.js';
import type { FindProxy } from './hosts/proxy.js';
import type { Network } from './network.js';
import { RequestPlan } from './request-plan.js';
import { isTlsError, rateLimitMs } from './retry.js';
import { failureOutcome, sendRequest } from './transport.js';

/** What is the same for all requests of a client. */
export interface HostSettings {
  readonly credentials: Credentials;
  readonly insecure: ReadonlySet<string>;
  readonly tokenHosts: Readonly<Record<string, readonly string[]>>;
  readonly ca: string | undefined;
  /** Left out: none. */
  readonly proxyFor?: FindProxy | undefined;
  readonly userAgent: string;
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly lowSpeed: LowSpeed;
  readonly backoffMs: number;
  readonly network: Network;
  readonly onEvent: OnEvent | undefined;
}

/** One registry, as this client has come to know it: how to speak to it, its tokens, where its addresses are. */
export class RegistryHost {
  readonly name: string;
  readonly url: URL;
  readonly auth: Authenticator;
  readonly settings: HostSettings;
  readonly server: Server;
  #ranges: Promise<ReadonlySet<AddressRange | 'public'>> | undefined;

  constructor(name: string, url: URL, settings: HostSettings, server: Server = plainServer(name)) {
    this.name = name;
    this.url = url;
    this.settings = settings;
    this.server = server;
    this.auth = new Authenticator({
      name,
      url,
      credentials: settings.credentials,
      tokenHosts: settings.tokenHosts[name] ?? [],
      onEvent: settings.onEvent,
      send: (request, signal) => this.#sendToTokenServer(request, signal),
    });
  }

  /** Somebody said that nobody need vouch for it. */
  get isInsecure(): boolean {
    return this.server.insecure || this.settings.insecure.has(this.name);
  }

  /** A grant for `url` with the client's settings; for another host than the registry, without its privileges. */
  async grant(url: URL, headers: Readonly<Record<string, string>>, afterMs: number): Promise<BlobGrant> {
    const { settings, server } = this;
    const own = url.hostname === this.url.hostname;
    const refuseAddresses = own ? [] : await this.#foreignAddresses();
    const proxy = settings.proxyFor?.(url);
    // Who vouches for a registry vouches for where it sends us; who we are is for it alone, and not for another port.
    const clients = url.host === this.url.host ? server.trust.clients : undefined;
    const authorities = [settings.ca, server.trust.ca].filter((pem) => pem !== undefined).join('\n');
    return {
      url: url.href,
      headers: { 'user-agent': settings.userAgent, ...headers },
      afterMs,
      connectTimeoutMs: (own ? server.connectTimeoutMs : undefined) ?? settings.connectTimeoutMs,
      stallTimeoutMs: settings.stallTimeoutMs,
      lowSpeed: settings.lowSpeed,
      ...(authorities === '' ? {} : { ca: authorities }),
      ...(clients === undefined ? {} : { clients }),
      ...(proxy === undefined ? {} : { proxy }),
      ...(own && this.isInsecure ? { insecureTls: true } : {}),
      ...(refuseAddresses.length === 0 ? {} : { refuseAddresses }),
    };
  }

  async #sendToTokenServer({ url, headers, body, maxBytes }: TokenRequest, signal: AbortSignal): Promise<Uint8Array> {
    const doing = `log in: ${this.name}`;
    const code = 'LARDER_REGISTRY_UNAUTHENTICATED';
    const plan = new RequestPlan(this, { kind: 'token', url, headers, body, doing, notFound: code });
    const method = body === undefined ? 'GET' : 'POST';
    return (await getWhole(plan, { method, body, maxBytes, tooLong: code, doing, signal })).bytes;
  }

  /** A registry on the Internet has no business naming addresses of the network that we stand in. */
  async #foreignAddresses(): Promise<readonly AddressRange[]> {
    // Behind a proxy, names are the proxy's to look up, and what they mean here says nothing.
    const behindProxy = this.settings.proxyFor?.(this.url) !== undefined;
    this.#ranges ??= behindProxy ? Promise.resolve(new Set(['public'] as const)) : rangesOf(this.url.hostname);
    return refusedTo(await this.#ranges);
  }
}

/** Where a registry at addresses of these ranges may not send us. */
export function refusedTo(own: ReadonlySet<AddressRange | 'public'>): readonly AddressRange[] {
  // Who answers at other addresses, too, is somebody who only says that he is here; but private networks have public ones.
  const [only] = own.size === 1 ? own : [];
  if (only === 'loopback') return ['link-local'];
  if (only === 'link-local') return ['loopback'];
  return own.has('private') ? ['loopback', 'link-local'] : ['loopback', 'link-local', 'private'];
}

async function rangesOf(hostname: string): Promise<ReadonlySet<AddressRange | 'public'>> {
  if (isLoopbackHost(hostname)) return new Set(['loopback']);
  const literal = rangeOf(hostname);
  if (literal !== undefined) return new Set([literal]);
  try {
    const found = await lookup(hostname, { all: true });
    return new Set(found.map(({ address }) => rangeOf(address) ?? 'public'));
  } catch {
    // It answered a moment ago, so this is a hiccup of DNS: the strict rules are the safe ones.
    return new Set(['public']);
  }
}

/**
 * How to speak to a registry. HTTPS, always, unless the host is loopback or was named insecure. Docker tries HTTPS
 * first for both; here a loopback registry is tried with HTTP first, since nearly all of them speak only that and
 * nobody is in between, while a host that was named insecure may well have TLS, if with a certificate of its own,
 * and then gets it. Where the host's files name a scheme, it is that.
 */
export async function openHost(server: Server, settings: HostSettings, signal?: AbortSignal): Promise<RegistryHost> {
  const { host: name, scheme } = server;
  if (scheme !== undefined) return new RegistryHost(name, urlOf(scheme, name), settings, server);
  const secure = new RegistryHost(name, urlOf('https', name), settings, server);
  const loopback = isLoopbackHost(secure.url.hostname);
  const insecure = secure.isInsecure;
  if (!loopback && !insecure) return secure;
  const plain = new RegistryHost(name, urlOf('http', name), settings, server);
  const [first, second] = loopback && !insecure ? [plain, secure] : [secure, plain];
  return (await speaks(first, signal)) ? first : second;
}

/** Whether the host answers `GET /v2/` under this scheme; a failure that the other scheme would not mend counts as yes. */
async function speaks(host: RegistryHost, signal: AbortSignal | undefined): Promise<boolean> {
  const url = new URL(`${host.server.apiRoot}/`, host.url);
  const { afterMs: _, ...grant } = await host.grant(url, {}, 0);
  try {
    const answer = await sendRequest({ ...grant, signal });
    // A TLS server's answer to plain HTTP is 400 (Go, nginx); a registry's own to /v2/ never is.
    const fits = !(host.url.protocol === 'http:' && answer.status === 400);
    const { network, onEvent } = host.settings;
    if (answer.status < 400) await answer.read(64 * 1024);
    else network.health.pause(url.host, rateLimitMs(await answer.outcome()) ?? 0, onEvent);
    return fits;
  } catch (error) {
    const outcome = failureOutcome(url.href, error, 0);
    const errno = outcome.kind === 'error' ? (outcome.errno ?? '') : '';
    return host.url.protocol === 'http:'
      ? !(errno === 'ECONNRESET' || errno.startsWith('HPE_'))
      : !(isTlsError(errno) || errno === 'ECONNRESET' || errno === 'ECONNREFUSED');
  }
}

/** The URL parser and our own must mean the same host (`registry.io:443@evil.example`). */
function urlOf(scheme: 'http' | 'https', name: string): URL {
  const url = new URL(`${scheme}://${name}/`);
  const port = scheme === 'https' ? '443' : '80';
  if (url.host === name || `${url.host}:${port}` === name) return url;
  throw new LarderError('LARDER_REFERENCE_INVALID', `registry: ${JSON.stringify(name)}: not a host[:port]`);
}
