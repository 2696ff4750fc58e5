import * as v from 'valibot';
import { SingleFlight, settleOrAbort } from '../concurrency.js';
import { isLarderError, LarderError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { parseJson } from '../spec/json.js';
import { assertShape } from '../spec/shape.js';
import { isLoopbackHost } from './addresses.js';
import { type Challenge, parseChallenges } from './challenge.js';
import type { Credentials, Login } from './credentials.js';
import { TOKEN_TEXT } from './docker-config.js';
import { sharesCredentials } from './realm.js';

/** A request to a token server: a GET, or a POST where there is a body. */
export interface TokenRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly maxBytes: number;
}

/** One registry's side of logging in: everything that {@link Authenticator} needs to know of it. */
export interface AuthSettings {
  /** `host[:port]` as people name it, for messages. */
  readonly name: string;
  readonly url: URL;
  readonly credentials: Credentials;
  /** Hosts that may have the credentials, beside the registry's own domain. */
  readonly tokenHosts: readonly string[];
  readonly onEvent: OnEvent | undefined;
  /** With retries, without redirects. */
  readonly send: (request: TokenRequest, signal: AbortSignal) => Promise<Uint8Array>;
}

interface Token {
  readonly header: string;
  /** On the monotonic clock. */
  readonly expiresAtMs: number;
}

/** What is asked of a token server. */
interface Wish {
  readonly realm: URL;
  readonly service: string;
  readonly scopes: readonly string[];
}

const MAX_TOKEN_BYTES = 1024 * 1024;
/** The token protocol's default, and its minimum for clients that cannot be told otherwise. */
const DEFAULT_LIFETIME_S = 60;
/** Asked for again this long before the end, so that no request starts with a token that dies on the way. */
const EXPIRY_MARGIN_MS = 5_000;
const CLIENT_ID = 'larder';
/** What the token protocol asks with: a registry that had them in its realm would ask in our name. */
const ASKED_BY_US = [
  'scope',
  'account',
  'client_id',
  'grant_type',
  'access_type',
  'offline_token',
  'refresh_token',
  'username',
  'password',
];
/** Logins and tokens that are remembered so that no message quotes them. */
const MAX_SHOWN = 32;

/**
 * Answers a registry's challenges: Basic, and Docker's token protocol (distribution-spec, "Token Authentication";
 * docs/spec/auth/token.md and oauth.md). Nothing is sent before the registry asks.
 */
export class Authenticator {
  readonly #settings: AuthSettings;
  /** By realm, service and scope. */
  readonly #tokens = new Map<string, Token>();
  readonly #flights = new SingleFlight<string, Token>();
  /** What the registry asked for last, for each scope that was needed: how to begin the next request. */
  readonly #challenges = new Map<string, Challenge>();
  readonly #warnings = new Set<string>();
  /** Why a login that should be there is not, for hints. */
  #problem: string | undefined;
  /** Why the login that is there was not sent. */
  #withheld: string | undefined;
  readonly #shown = new Set<string>();

  constructor(settings: AuthSettings) {
    this.#settings = settings;
  }

  /** As values of `Authorization`: what the registry, or its token server, was told at any time and may quote. */
  get shown(): readonly string[] {
    return [...this.#shown];
  }

  /** The `Authorization` to begin with; undefined while the registry has not asked for one. */
  async current(scope: string, signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenges.get(scope);
    return challenge === undefined ? undefined : this.#headerFor(challenge, scope, { signal });
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
    try {
      return await this.#answerTo(challenge, scope, sent, doing, signal);
    } catch (error) {
      // What led nowhere is not where the next request begins: the registry may say something better then.
      if (this.#challenges.get(scope) === challenge) this.#challenges.delete(scope);
      throw error;
    }
  }

  async #answerTo(
    challenge: Challenge,
    scope: string,
    sent: string | undefined,
    doing: string,
    signal: AbortSignal | undefined,
  ): Promise<string> {
    let next = await this.#headerFor(challenge, scope, { signal });
    // What a helper said some minutes ago may have run out.
    if (next !== undefined && next === sent) next = await this.#headerFor(challenge, scope, { signal, fresh: true });
    if (next === undefined) throw this.#unauthenticated(doing, 'wants a login');
    if (next === sent) throw await this.refusal(scope, doing, signal);
    return next;
  }

  /** The error for a registry that still says 401 to what {@link answer} gave. */
  async refusal(scope: string, doing: string, signal?: AbortSignal): Promise<LarderError> {
    const login = this.#withheld === undefined ? await this.#login(scope, { signal }) : undefined;
    return this.#unauthenticated(doing, login === undefined ? 'wants a login' : 'refused the login', login);
  }

  async #headerFor(challenge: Challenge, scope: string, how: LookUp): Promise<string | undefined> {
    if (challenge.scheme === 'bearer') return this.#show(await this.#bearer(challenge, scope, how));
    const login = await this.#login(scope, how);
    if (login?.kind === 'password') return this.#show(basicHeader(login));
    if (login !== undefined) this.#problem = `${login.source} has a token for it, and it takes only a password`;
    return undefined;
  }

  /** The newest stay. */
  #show(value: string): string {
    this.#shown.delete(value);
    this.#shown.add(value);
    const [oldest] = this.#shown;
    if (this.#shown.size > MAX_SHOWN && oldest !== undefined) this.#shown.delete(oldest);
    return value;
  }

  /** A failing helper is a reason to go on without a login: most images need none. */
  async #login(scope: string, { signal, fresh = false }: LookUp): Promise<Login | undefined> {
    const { credentials, name } = this.#settings;
    const [, repository] = /^repository:([^:]+):/.exec(scope) ?? [];
    try {
      const login = await credentials.find(name, repository, { signal, fresh });
      const unused = login === undefined ? credentials.unusedHelper(name) : undefined;
      if (unused === undefined) this.#problem = undefined;
      else this.#miss(`the credential helper docker-credential-${unused} is named where no programs are run`);
      return login;
    } catch (error) {
      if (!isLarderError(error, 'LARDER_REGISTRY_UNAUTHENTICATED')) throw error;
      this.#miss(error.message);
      return undefined;
    }
  }

  #miss(why: string): void {
    this.#problem = why;
    this.#warn(`${why}; going on without a login`);
  }

  /**
   * The scope that the challenge names is not taken over: a registry could ask with it for the user's rights to push, or
   * to other repositories of the same token server.
   */
  async #bearer({ parameters }: Challenge, scope: string, { signal, fresh }: LookUp): Promise<string> {
    const realm = this.#realm(parameters['realm'] ?? '');
    const service = parameters['service'] ?? '';
    const key = JSON.stringify([realm.href, service, scope]);
    const known = this.#tokens.get(key);
    if (known !== undefined && known.expiresAtMs > performance.now()) return known.header;
    const login = await this.#login(scope, { signal, fresh });
    if (login?.kind === 'bearer') return `Bearer ${login.token}`;
    // Several scopes are separated by spaces; token servers want each as a parameter.
    const scopes = scope
      .split(' ')
      .filter((one) => one !== '')
      .slice(0, 20);
    const token = await settleOrAbort(
      this.#flights.run(
        key,
        (shared) => this.#fetchToken({ realm, service, scopes }, scope, shared.signal),
        signal === undefined ? {} : { signal },
      ),
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
    for (const name of ASKED_BY_US) if (realm.searchParams.has(name)) realm.searchParams.delete(name);
    return realm;
  }

  /** A login that the token server refuses is looked up once more: helpers' logins run out. */
  async #fetchToken(wish: Wish, scope: string, signal: AbortSignal): Promise<Token> {
    const { name, url } = this.#settings;
    const who = wish.realm.host === url.host ? 'it' : `its token server ${wish.realm.host}`;
    let login = this.#allowed(wish.realm, await this.#login(scope, { signal }));
    for (let fresh = false; ; fresh = true) {
      try {
        return await this.#ask(wish, login, signal);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        const what = login === undefined ? 'wants a login' : 'refused the login';
        const refused = this.#unauthenticated(`log in: ${name}`, what, login, who);
        if (login === undefined || fresh) throw refused;
        const again = this.#allowed(wish.realm, await this.#login(scope, { signal, fresh: true }));
        if (again === undefined || isSame(again, login)) throw refused;
        login = again;
      }
    }
  }

  /**
   * As Docker does: an identity token is a refresh token, and is sent by POST (OAuth 2); a password is sent by GET with
   * Basic, and by POST to servers that know no GET.
   */
  async #ask(wish: Wish, login: Login | undefined, signal: AbortSignal): Promise<Token> {
    if (login?.kind === 'identity') {
      return this.#post(wish, { grant_type: 'refresh_token', refresh_token: login.token }, signal);
    }
    const url = new URL(wish.realm);
    if (wish.service !== '') url.searchParams.set('service', wish.service);
    for (const one of wish.scopes) url.searchParams.append('scope', one);
    const headers: Record<string, string> = login?.kind === 'password' ? { authorization: basicHeader(login) } : {};
    try {
      return await this.#send({ url, headers, maxBytes: MAX_TOKEN_BYTES }, signal);
    } catch (error) {
      if (login?.kind !== 'password' || !knowsNoGet(error)) throw error;
      const { username, password } = login;
      return this.#post(wish, { grant_type: 'password', username, password }, signal);
    }
  }

  #post(wish: Wish, grant: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Token> {
    const service: Record<string, string> = wish.service === '' ? {} : { service: wish.service };
    const form = new URLSearchParams({ ...grant, ...service, client_id: CLIENT_ID, scope: wish.scopes.join(' ') });
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const request = { url: wish.realm, headers, body: form.toString(), maxBytes: MAX_TOKEN_BYTES };
    return this.#send(request, signal);
  }

  async #send(request: TokenRequest, signal: AbortSignal): Promise<Token> {
    const { name, send, onEvent } = this.#settings;
    const token = parseToken(await send(request, signal), `log in: ${name}: the answer of ${request.url.host}`);
    onEvent?.({ type: 'token', host: name, from: request.url.host });
    return token;
  }

  /** The login, where it may go to this token server. */
  #allowed(realm: URL, login: Login | undefined): Login | undefined {
    const { url, tokenHosts, name } = this.#settings;
    if (login === undefined) return undefined;
    const sameName =
      sharesCredentials(url.hostname, realm.hostname) && (realm.protocol === 'https:' || realm.host === url.host);
    const bothLoopback =
      isLoopbackHost(url.hostname) && isLoopbackHost(realm.hostname) && url.hostname === realm.hostname;
    if (sameName || bothLoopback || tokenHosts.includes(realm.host)) {
      this.#show(login.kind === 'password' ? basicHeader(login) : `Bearer ${login.token}`);
      return login;
    }
    this.#withheld = `its token server ${realm.host} is of another domain; allow it with token_hosts: ${name}=${realm.host}`;
    this.#warn(`the credentials were not sent to its token server ${realm.host}, which is another domain`);
    return undefined;
  }

  /** Each once. */
  #warn(what: string): void {
    const { name, onEvent } = this.#settings;
    if (this.#warnings.has(what)) return;
    this.#warnings.add(what);
    onEvent?.({ type: 'warning', message: `log in: ${name}: ${what}` });
  }

  #unauthenticated(doing: string, what: string, login?: Login, who?: string): LarderError {
    const { name } = this.#settings;
    const hint =
      login === undefined
        ? (this.#withheld ??
          this.#problem ??
          `log in with \`docker login ${name}\`, or check the name: registries answer so for images that do not exist, too`)
        : `check what ${login.source} has for ${name}, or log in again with \`docker login ${name}\``;
    return new LarderError('LARDER_REGISTRY_UNAUTHENTICATED', `${doing}: ${who ?? name} ${what}`, {
      hint,
      details: { host: name },
    });
  }
}

interface LookUp {
  readonly signal?: AbortSignal | undefined;
  /** What was known before was refused. */
  readonly fresh?: boolean | undefined;
}

/** The token server said no: to the login (400 is OAuth 2's `invalid_grant`), or to having none. */
function isRefusal(error: unknown): boolean {
  return isLarderError(error) && [400, 401].includes(Number(error.details['status']));
}

function knowsNoGet(error: unknown): boolean {
  return isLarderError(error) && [404, 405].includes(Number(error.details['status']));
}

function isSame(one: Login, other: Login): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

const TOKEN = v.object({
  token: v.nullish(v.string(), ''),
  access_token: v.nullish(v.string(), ''),
  expires_in: v.nullish(v.pipe(v.number(), v.finite()), DEFAULT_LIFETIME_S),
  issued_at: v.nullish(v.string(), ''),
});

function parseToken(bytes: Uint8Array, doing: string): Token {
  const code = 'LARDER_REGISTRY_UNAUTHENTICATED';
  // Causes are dropped: a parser's error quotes the text, and this text is a token.
  const value = parseJson(bytes, { doing, maxBytes: MAX_TOKEN_BYTES, code });
  const answer = assertShape(TOKEN, value, doing, code);
  const token = answer.token || answer.access_token;
  if (!TOKEN_TEXT.test(token)) throw new LarderError(code, `${doing}: there is no token in it`);
  const givenMs = Math.max(1, Math.min(answer.expires_in, 86_400)) * 1000;
  const ageMs = Date.now() - Date.parse(answer.issued_at);
  // A token that would be dead already says more about the clocks: it is tried, and a 401 says the rest.
  const lifetimeMs = ageMs > 0 && ageMs < givenMs ? givenMs - ageMs : givenMs;
  const expiresAtMs = performance.now() + Math.max(lifetimeMs / 2, lifetimeMs - EXPIRY_MARGIN_MS);
  return { header: `Bearer ${token}`, expiresAtMs };
}

function basicHeader({ username, password }: Extract<Login, { kind: 'password' }>): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
