import * as v from 'valibot';
import { SingleFlight, settleOrAbort } from '../concurrency.js';
import { LarderError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { parseJson } from '../spec/json.js';
import { assertShape } from '../spec/shape.js';
import { isLoopbackHost } from './addresses.js';
import { type Challenge, parseChallenges } from './challenge.js';
import type { Credential } from './credentials.js';
import { sharesCredentials } from './realm.js';

/** One registry's side of logging in: everything that {@link Authenticator} needs to know of it. */
export interface AuthSettings {
  /** `host[:port]` as people name it, for messages. */
  readonly name: string;
  readonly url: URL;
  readonly credential: Credential | undefined;
  /** Set when only a credential helper knows the login. */
  readonly helper: string | undefined;
  /** Hosts that may have the credential, beside the registry's own domain. */
  readonly tokenHosts: readonly string[];
  readonly onEvent: OnEvent | undefined;
  /** GET of at most `maxBytes`, with retries, without redirects. */
  readonly get: (
    url: URL,
    headers: Readonly<Record<string, string>>,
    maxBytes: number,
    signal: AbortSignal,
  ) => Promise<Uint8Array>;
}

interface Token {
  readonly header: string;
  /** On the monotonic clock. */
  readonly expiresAtMs: number;
}

const MAX_TOKEN_BYTES = 1024 * 1024;
/** The token protocol's default, and its minimum for clients that cannot be told otherwise. */
const DEFAULT_LIFETIME_S = 60;
/** Asked for again this long before the end, so that no request starts with a token that dies on the way. */
const EXPIRY_MARGIN_MS = 5_000;
const TOKEN_TEXT = /^[\x21-\x7e]{1,65536}$/;

/**
 * Answers a registry's challenges: Basic, and Docker's token protocol
 * (distribution-spec, "Token Authentication"; docs/spec/auth/token.md). Nothing is sent before the registry asks.
 */
export class Authenticator {
  readonly #settings: AuthSettings;
  /** By realm, service and scope. */
  readonly #tokens = new Map<string, Token>();
  readonly #flights = new SingleFlight<string, Token>();
  /** What the registry asked for last, for each scope that was needed: how to begin the next request. */
  readonly #challenges = new Map<string, Challenge>();
  #warned = false;

  constructor(settings: AuthSettings) {
    this.#settings = settings;
  }

  /** The `Authorization` to begin with; undefined while the registry has not asked for one. */
  async current(scope: string, signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenges.get(scope);
    return challenge === undefined ? undefined : this.#headerFor(challenge, scope, signal);
  }

  /**
   * The `Authorization` to try after a 401 to a request that had sent `sent`. Rejects with
   * LARDER_REGISTRY_UNAUTHENTICATED when there is nothing else to try.
   */
  async answer(
    header: string,
    scope: string,
    sent: string | undefined,
    doing: string,
    signal?: AbortSignal,
  ): Promise<string> {
    const challenges = parseChallenges(header);
    const challenge =
      challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters['realm'] !== undefined) ??
      challenges.find(({ scheme }) => scheme === 'basic');
    if (challenge === undefined)
      throw this.#unauthenticated(doing, 'asks for a kind of login that larder does not know');
    this.#challenges.set(scope, challenge);
    for (const [key, token] of this.#tokens) if (token.header === sent) this.#tokens.delete(key);
    const next = await this.#headerFor(challenge, scope, signal);
    if (next === undefined) throw this.#unauthenticated(doing, 'wants a login');
    if (next === sent) throw this.#unauthenticated(doing, 'refused the login');
    return next;
  }

  #headerFor(challenge: Challenge, scope: string, signal: AbortSignal | undefined): Promise<string | undefined> {
    return challenge.scheme === 'bearer' ? this.#bearer(challenge, scope, signal) : Promise.resolve(this.#basic());
  }

  #basic(): string | undefined {
    const { credential } = this.#settings;
    if (credential === undefined) {
      this.#warnOfHelper();
      return undefined;
    }
    return basicHeader(credential);
  }

  /**
   * The scope that the challenge names is not taken over: a registry could ask with it for the user's rights to push, or
   * to other repositories of the same token server.
   */
  async #bearer({ parameters }: Challenge, scope: string, signal: AbortSignal | undefined): Promise<string> {
    const realm = this.#realm(parameters['realm'] ?? '');
    const service = parameters['service'] ?? '';
    const key = JSON.stringify([realm.href, service, scope]);
    const known = this.#tokens.get(key);
    if (known !== undefined && known.expiresAtMs > performance.now()) return known.header;
    const options = signal === undefined ? {} : { signal };
    const token = await settleOrAbort(
      this.#flights.run(key, (shared) => this.#fetchToken(realm, service, scope, shared.signal), options),
      `log in: ${this.#settings.name}`,
      signal,
    );
    this.#tokens.set(key, token);
    return token.header;
  }

  /**
   * Where tokens come from. The registry says so, and it may be lying: https, unless the registry itself is spoken to
   * without; nothing that would make a user or a password out of the URL.
   */
  #realm(text: string): URL {
    const { name, url: registry } = this.#settings;
    const refuse = (why: string): LarderError =>
      new LarderError('LARDER_POLICY_DENIED', `log in: ${name}: it names a token server that ${why}`);
    if (text.length > 2048 || !URL.canParse(text)) throw refuse('is not a URL');
    const realm = new URL(text);
    if (realm.username !== '' || realm.password !== '') throw refuse('has user information in its URL');
    const plainIsFine =
      registry.protocol === 'http:' &&
      (realm.hostname === registry.hostname || (isLoopbackHost(registry.hostname) && isLoopbackHost(realm.hostname)));
    if (realm.protocol !== 'https:' && !(realm.protocol === 'http:' && plainIsFine)) {
      throw refuse(`is not https (${realm.protocol.slice(0, 20)}//${realm.host})`);
    }
    realm.hash = '';
    return realm;
  }

  async #fetchToken(realm: URL, service: string, scope: string, signal: AbortSignal): Promise<Token> {
    const { name, get } = this.#settings;
    const url = new URL(realm);
    if (service !== '') url.searchParams.set('service', service);
    // Several scopes are separated by spaces; token servers want each as a parameter.
    for (const one of scope.split(' ').slice(0, 20)) if (one !== '') url.searchParams.append('scope', one);
    const credential = this.#credentialFor(realm);
    const bytes = await get(
      url,
      credential === undefined ? {} : { authorization: basicHeader(credential) },
      MAX_TOKEN_BYTES,
      signal,
    );
    return parseToken(bytes, `log in: ${name}: the answer of ${realm.host}`);
  }

  #credentialFor(realm: URL): Credential | undefined {
    const { credential, url, tokenHosts, onEvent, name } = this.#settings;
    if (credential === undefined) this.#warnOfHelper();
    if (credential === undefined) return undefined;
    const sameName =
      sharesCredentials(url.hostname, realm.hostname) && (realm.protocol === 'https:' || realm.host === url.host);
    const bothLoopback =
      isLoopbackHost(url.hostname) && isLoopbackHost(realm.hostname) && url.hostname === realm.hostname;
    if (sameName || bothLoopback || tokenHosts.includes(realm.host)) return credential;
    onEvent?.({
      type: 'warning',
      message: `log in: ${name}: the credentials were not sent to its token server ${realm.host}, which is another domain`,
    });
    return undefined;
  }

  #warnOfHelper(): void {
    const { helper, name, onEvent } = this.#settings;
    if (helper === undefined || this.#warned) return;
    this.#warned = true;
    const message = `log in: ${name}: the credential helper docker-credential-${helper} is not supported yet; going on without a login`;
    onEvent?.({ type: 'warning', message });
  }

  #unauthenticated(doing: string, what: string): LarderError {
    const { name, credential } = this.#settings;
    return new LarderError('LARDER_REGISTRY_UNAUTHENTICATED', `${doing}: ${name} ${what}`, {
      hint:
        credential === undefined
          ? `log in with \`docker login ${name}\`, or check the name: registries answer so for images that do not exist, too`
          : 'check the user name and the password in config.json',
      details: { host: name },
    });
  }
}

const TOKEN = v.object({
  token: v.nullish(v.string(), ''),
  access_token: v.nullish(v.string(), ''),
  expires_in: v.nullish(v.pipe(v.number(), v.finite()), DEFAULT_LIFETIME_S),
});

function parseToken(bytes: Uint8Array, doing: string): Token {
  const code = 'LARDER_REGISTRY_UNAUTHENTICATED';
  // Causes are dropped: a parser's error quotes the text, and this text is a token.
  const value = parseJson(bytes, { doing, maxBytes: MAX_TOKEN_BYTES, code });
  const answer = assertShape(TOKEN, value, doing, code);
  const token = answer.token || answer.access_token;
  if (!TOKEN_TEXT.test(token)) throw new LarderError(code, `${doing}: there is no token in it`);
  const lifetimeMs = Math.max(1, Math.min(answer.expires_in, 86_400)) * 1000;
  const expiresAtMs = performance.now() + Math.max(lifetimeMs / 2, lifetimeMs - EXPIRY_MARGIN_MS);
  return { header: `Bearer ${token}`, expiresAtMs };
}

function basicHeader({ username, password }: Credential): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
