/**
 * A token server (distribution's docs/spec/auth/token.md, oauth.md and jwt.md) in this process: its tokens are signed, so that
 * real registries take them. For tests, which make its tokens short-lived and its methods few.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface TokenServerOptions {
  /** PEM of an RSA (RS256) or P-256 (ES256) key; the registry has a certificate of it in its `rootcertbundle`. */
  readonly key: string;
  readonly issuer: string;
  /** Passwords by user name. */
  readonly users: Readonly<Record<string, string>>;
  /** User names by refresh token. */
  readonly refreshTokens?: Readonly<Record<string, string>>;
  /** Whether the user (undefined: nobody) may pull from the repository. Default: any user may. */
  readonly mayPull?: (user: string | undefined, repository: string) => boolean;
  /** What the answer says. Default 300. */
  readonly expiresInSeconds?: number;
  /** When the token really ends, from now; may be in the past. Default as the answer says. */
  readonly endsInSeconds?: number;
  /** Name of the token's field. Default `token`. */
  readonly field?: 'token' | 'access_token';
  /** Others are answered 404. Default: both. */
  readonly methods?: readonly ('GET' | 'POST')[];
}

export interface TokenRequestSeen {
  readonly method: string;
  readonly authorization: string | undefined;
  /** Of the query or the form. */
  readonly parameters: URLSearchParams;
  /** What it was answered. */
  readonly status: number;
}

export class TokenServer implements AsyncDisposable {
  readonly options: TokenServerOptions;
  readonly requests: TokenRequestSeen[] = [];
  readonly #key: KeyObject;
  readonly #server: Server;

  private constructor(options: TokenServerOptions, server: Server) {
    this.options = options;
    this.#key = createPrivateKey(options.key);
    this.#server = server;
  }

  static async start(options: TokenServerOptions): Promise<TokenServer> {
    const server = createServer();
    const made = new TokenServer(options, server);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      made
        .#serve(request, response)
        .catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return made;
  }

  /** What a registry names as its realm. */
  get realm(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}/token`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = request;
    let body = '';
    for await (const piece of request) body += String(piece);
    const { searchParams } = new URL(url, 'http://token.invalid');
    const parameters = method === 'POST' ? new URLSearchParams(body) : searchParams;
    const answer = (status: number, value: unknown): void => {
      this.requests.push({ method, authorization: headers.authorization, parameters, status });
      const text = JSON.stringify(value);
      response.writeHead(status, { 'content-type': 'application/json' }).end(text);
    };
    if (!(this.options.methods ?? ['GET', 'POST']).some((known) => known === method)) return answer(404, {});
    const user = this.#userOf(method, headers.authorization, parameters);
    if (user === null) return answer(method === 'POST' ? 400 : 401, { error: 'invalid_grant' });
    const scopes = parameters.getAll('scope').flatMap((scope) => scope.split(' '));
    const { field = 'token', expiresInSeconds = 300 } = this.options;
    const token = this.#sign(user, parameters.get('service') ?? '', scopes);
    answer(200, { [field]: token, expires_in: expiresInSeconds, issued_at: new Date().toISOString() });
  }

  /** Null: refused. */
  #userOf(method: string, authorization: string | undefined, form: URLSearchParams): string | undefined | null {
    const { users, refreshTokens = {} } = this.options;
    if (method === 'POST' && form.get('grant_type') === 'refresh_token')
      return refreshTokens[form.get('refresh_token') ?? ''] ?? null;
    const basic = Buffer.from((authorization ?? '').replace(/^Basic /, ''), 'base64').toString();
    const [name = '', password = ''] =
      method === 'POST' ? [form.get('username') ?? '', form.get('password') ?? ''] : basic.split(/:(.*)/s);
    if (method === 'GET' && authorization === undefined) return undefined;
    return Object.hasOwn(users, name) && users[name] === password ? name : null;
  }

  #sign(user: string | undefined, audience: string, scopes: readonly string[]): string {
    const { issuer, mayPull = (who) => who !== undefined, expiresInSeconds = 300, endsInSeconds } = this.options;
    const access = scopes.flatMap((scope) => {
      const [type = '', name = '', actions = ''] = scope.split(':');
      if (!mayPull(user, name)) return [];
      return [{ type, name, actions: actions.split(',').filter((action) => action === 'pull') }];
    });
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: issuer,
      sub: user ?? '',
      aud: audience,
      exp: now + (endsInSeconds ?? expiresInSeconds),
      nbf: now - 3600,
      iat: now,
      jti: randomBytes(8).toString('hex'),
      access,
    };
    const isElliptic = this.#key.asymmetricKeyType === 'ec';
    const header = { typ: 'JWT', alg: isElliptic ? 'ES256' : 'RS256', kid: keyIdOf(this.#key) };
    const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    const signature = sign('sha256', Buffer.from(text), { key: this.#key, dsaEncoding: 'ieee-p1363' });
    return `${text}.${signature.toString('base64url')}`;
  }
}

/** libtrust's name of a key: 240 bits of the SHA-256 of its public part, in base32, four letters at a time. */
function keyIdOf(key: KeyObject): string {
  const hash = createHash('sha256')
    .update(createPublicKey(key).export({ type: 'spki', format: 'der' }))
    .digest();
  const bits = [...hash.subarray(0, 30)].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const letters = (bits.match(/.{5}/g) ?? []).map(
    (five) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[Number.parseInt(five, 2)],
  );
  return (letters.join('').match(/.{4}/g) ?? []).join(':');
}
