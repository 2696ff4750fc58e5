import { lookup } from 'node:dns/promises';
import { LarderError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { isLoopbackHost, rangeOf } from './addresses.js';
import { Authenticator, type TokenRequest } from './auth.js';
import type { AddressRange, BlobGrant } from './blob.js';
import type { Credentials } from './credentials.js';
import { getWhole } from './get-whole.js';
import { RequestPlan } from './request-plan.js';
import { isTlsError } from './retry.js';
import { failureOutcome, sendRequest } from './transport.js';

/** What is the same for all requests of a client. */
export interface HostSettings {
  readonly credentials: Credentials;
  readonly insecure: ReadonlySet<string>;
  readonly tokenHosts: Readonly<Record<string, readonly string[]>>;
  readonly ca: string | undefined;
  readonly userAgent: string;
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly backoffMs: number;
  readonly onEvent: OnEvent | undefined;
}

/** One registry, as this client has come to know it: how to speak to it, its tokens, where its addresses are. */
export class RegistryHost {
  readonly name: string;
  readonly url: URL;
  readonly auth: Authenticator;
  readonly settings: HostSettings;
  #ranges: Promise<ReadonlySet<AddressRange | 'public'>> | undefined;

  constructor(name: string, url: URL, settings: HostSettings) {
    this.name = name;
    this.url = url;
    this.settings = settings;
    this.auth = new Authenticator({
      name,
      url,
      credentials: settings.credentials,
      tokenHosts: settings.tokenHosts[name] ?? [],
      onEvent: settings.onEvent,
      send: (request, signal) => this.#sendToTokenServer(request, signal),
    });
  }

  /** A grant for `url` with the client's settings; for another host than the registry, without its privileges. */
  async grant(url: URL, headers: Readonly<Record<string, string>>, afterMs: number): Promise<BlobGrant> {
    const { settings } = this;
    const own = url.hostname === this.url.hostname;
    const refuseAddresses = own ? [] : await this.#foreignAddresses();
    return {
      url: url.href,
      headers: { 'user-agent': settings.userAgent, ...headers },
      afterMs,
      connectTimeoutMs: settings.connectTimeoutMs,
      stallTimeoutMs: settings.stallTimeoutMs,
      ...(settings.ca === undefined ? {} : { ca: settings.ca }),
      ...(own && settings.insecure.has(this.name) ? { insecureTls: true } : {}),
      ...(refuseAddresses.length === 0 ? {} : { refuseAddresses }),
    };
  }

  async #sendToTokenServer({ url, headers, body, maxBytes }: TokenRequest, signal: AbortSignal): Promise<Uint8Array> {
    const doing = `log in: ${this.name}`;
    const code = 'LARDER_REGISTRY_UNAUTHENTICATED';
    const plan = new RequestPlan(this, { kind: 'token', url, headers, doing, notFound: code });
    const method = body === undefined ? 'GET' : 'POST';
    return (await getWhole(plan, { method, body, maxBytes, tooLong: code, doing, signal })).bytes;
  }

  /** A registry on the Internet has no business naming addresses of the network that we stand in. */
  async #foreignAddresses(): Promise<readonly AddressRange[]> {
    this.#ranges ??= rangesOf(this.url.hostname);
    const own = await this.#ranges;
    if (own.has('loopback')) return ['link-local'];
    if (own.has('private') || own.has('link-local'))
      return own.has('link-local') ? ['loopback'] : ['loopback', 'link-local'];
    return ['loopback', 'link-local', 'private'];
  }
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
 * and then gets it.
 */
export async function openHost(name: string, settings: HostSettings, signal?: AbortSignal): Promise<RegistryHost> {
  const secure = new RegistryHost(name, urlOf('https', name), settings);
  const loopback = isLoopbackHost(secure.url.hostname);
  const insecure = settings.insecure.has(name);
  if (!loopback && !insecure) return secure;
  const plain = new RegistryHost(name, urlOf('http', name), settings);
  const [first, second] = loopback && !insecure ? [plain, secure] : [secure, plain];
  return (await speaks(first, signal)) ? first : second;
}

/** Whether the host answers `GET /v2/` under this scheme; a failure that the other scheme would not mend counts as yes. */
async function speaks(host: RegistryHost, signal: AbortSignal | undefined): Promise<boolean> {
  const url = new URL('/v2/', host.url);
  const { afterMs: _, ...grant } = await host.grant(url, {}, 0);
  try {
    const answer = await sendRequest({ ...grant, signal });
    // A TLS server's answer to plain HTTP is 400 (Go, nginx); a registry's own to /v2/ never is.
    const fits = !(host.url.protocol === 'http:' && answer.status === 400);
    await answer.read(64 * 1024);
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
