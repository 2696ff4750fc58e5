/** The secrets that are planted, each with the registry that wants it, and the files that tell larder of it. */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { dirname, join } from 'node:path';
import { Authority } from '../helpers/certificates.js';
import { startConnectProxy, type TestProxy } from '../helpers/proxies.js';
import type { Search } from './search.js';
import { SecretRegistry, type SecretRegistryOptions } from './secret-registry.js';

export interface Plant {
  readonly name: string;
  readonly registry: SecretRegistry;
  readonly reference: string;
  /** Whether the registry, or the proxy before it, got to see the secret or gave it away: else nothing was tried. */
  readonly isUsed: () => boolean;
  /** What the request to a daemon says beside the reference. */
  readonly config?: object;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const newSecret = (name: string): string => `planted-${name}-${randomBytes(9).toString('hex')}`;

export class Plants implements AsyncDisposable {
  readonly all: Plant[] = [];
  /** What the user of larder has in his environment. */
  readonly env: Record<string, string> = {};
  readonly settings: Record<string, string> = {};
  /** Basic, in base64: what a client of `larder serve` shows, and no registry lets in. */
  readonly clientLogin: string;
  readonly #directory: string;
  readonly #search: Search;
  readonly #logins: Record<string, object> = {};
  readonly #helpers: Record<string, string> = {};
  #proxy: TestProxy | undefined;

  private constructor(directory: string, search: Search) {
    this.#directory = directory;
    this.#search = search;
    this.clientLogin = base64(`me:${this.#new('login of a client')}`);
  }

  static async make(directory: string, search: Search): Promise<Plants> {
    const plants = new Plants(directory, search);
    try {
      await plants.#logInTo();
      await plants.#askTokensOf();
      await plants.#beside();
      await plants.#withOwnLogins();
      plants.#write();
      return plants;
    } catch (error) {
      await plants[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { registry } of this.all) await registry[Symbol.asyncDispose]();
    await this.#proxy?.[Symbol.asyncDispose]();
  }

  /** Those that the registry itself is shown. */
  async #logInTo(): Promise<void> {
    const basic = this.#new('basic auth');
    const one = await this.#add('basic auth', { accepts: shows(`Basic ${base64(`me:${basic}`)}`) });
    this.#logins[one.host] = { auth: base64(`me:${basic}`) };

    const token = this.#new('registry token');
    const two = await this.#add('registry token', { scheme: 'Bearer', accepts: shows(`Bearer ${token}`) });
    this.#logins[two.host] = { registrytoken: token };

    const said = this.#new('helper output');
    const three = await this.#add('helper output', { accepts: shows(`Basic ${base64(`me:${said}`)}`) });
    this.#helpers[three.host] = 'planted';
    const answer = JSON.stringify({ ServerURL: three.host, Username: 'me', Secret: said });
    const file = this.#file('helper-answer', answer);
    const look = `cat /proc/$$/cmdline /proc/$$/environ >> ${join(this.#directory, 'helper-saw')}`;
    chmodSync(this.#file('bin/docker-credential-planted', `#!/bin/sh\n${look}\ncat ${file}\n`), 0o700);
    this.env['PATH'] = `${join(this.#directory, 'bin')}:${process.env['PATH']}`;
  }

  /** Those that its token server is shown, or gives. */
  async #askTokensOf(): Promise<void> {
    const password = this.#new('password');
    const bearer = this.#new('bearer token');
    const one = await this.#add('password', {
      scheme: 'Bearer',
      accepts: shows(`Bearer ${bearer}`),
      token: ({ headers }) =>
        headers.authorization === `Basic ${base64(`me:${password}`)}` ? { token: bearer, expires_in: 300 } : undefined,
    });
    this.#logins[one.host] = { username: 'me', password };
    this.#alias('bearer token', one);

    const identity = this.#new('identity token');
    const [access, refresh] = [this.#new('OAuth2 access token'), this.#new('OAuth2 refresh token')];
    const two = await this.#add('identity token', {
      scheme: 'Bearer',
      accepts: shows(`Bearer ${access}`),
      token: ({ method }, form) =>
        method === 'POST' && form.get('refresh_token') === identity
          ? { access_token: access, refresh_token: refresh, expires_in: 300 }
          : undefined,
    });
    this.#logins[two.host] = { identitytoken: identity };
    this.#alias('OAuth2 access token', two);
  }

  /** Those of the way to it. */
  async #beside(): Promise<void> {
    const login = this.#new('proxy login');
    this.#proxy = await startConnectProxy({ login: { username: 'me', password: login } });
    const proxy = this.#proxy;
    this.env['ALL_PROXY'] = `http://me:${login}@${proxy.host}`;
    const one = await this.#add('proxy login', {}, (port) => `registry.test:${port}`);
    this.settings['insecure_registries'] = `registry.test:${one.port}`;
    this.#use('proxy login', () => proxy.asked.length > 0);

    const signature = this.#new('signed URL');
    const stored = await this.#add('signed URL', { signature });
    this.#use('signed URL', () => stored.received.some((request) => request.startsWith('GET /stored?')));

    const [given, set] = [this.#new('Cookie header'), this.#new('Set-Cookie')];
    const three = await this.#add('Cookie header', {
      cookie: `session=${set}; HttpOnly`,
      accepts: ({ headers }) => headers.cookie === `session=${given}`,
    });
    const toml = `server = "http://${three.host}"\n[header]\nCookie = ["session=${given}"]\n`;
    this.#file(`hosts/${three.host}/hosts.toml`, toml);
    this.settings['registries_conf'] = join(this.#directory, 'hosts');

    const authority = Authority.make(this.#directory);
    const [server, client] = [authority.issue('server', ['IP:127.0.0.1']), authority.issue('client')];
    const tls = { key: authority.read(server.keyFile), cert: authority.read(server.certFile), ca: authority.ca };
    const four = await this.#add('client key', { tls });
    const key = authority.read(client.keyFile);
    for (const line of key.split('\n').filter((text) => text.length === 64)) this.#search.add('client key', line);
    for (const [name, text] of Object.entries({
      'ca.crt': authority.ca,
      'client.cert': authority.read(client.certFile),
      'client.key': key,
    }))
      this.#file(`certs/${four.host}/${name}`, text);
    this.settings['registry_certs_dir'] = join(this.#directory, 'certs');
    // The connection has failed before any request without it.
    this.#use('client key', () => four.received.length > 0);
  }

  /** Those that one request brings along. */
  async #withOwnLogins(): Promise<void> {
    for (const how of ['value', 'file', 'environment'] as const) {
      const name = `config by ${how}`;
      const secret = this.#new(name);
      const registry = await SecretRegistry.start({ accepts: shows(`Basic ${base64(`me:${secret}`)}`) });
      const text = JSON.stringify({ auths: { [registry.host]: { username: 'me', password: secret } } });
      if (how === 'environment') this.env['PLANTED_CONFIG'] = text;
      const references = {
        file: { name: `file:${this.#file(`config-${how}`, text)}` },
        environment: { name: 'env:PLANTED_CONFIG' },
      };
      const config =
        how === 'value' ? { type: 'value', value: text } : { type: 'reference', reference: references[how] };
      this.all.push({
        ...{ name, registry, config },
        reference: `${registry.host}/team/app`,
        isUsed: () => registry.received.some((request) => request.includes(base64(`me:${secret}`))),
      });
    }
  }

  #write(): void {
    const config = { auths: this.#logins, credHelpers: this.#helpers };
    this.settings['docker_config'] = this.#file('config.json', JSON.stringify(config));
  }

  #new(name: string): string {
    const secret = newSecret(name.toLowerCase().replace(/[^a-z0-9]/g, ''));
    this.#search.add(name, secret);
    return secret;
  }

  async #add(
    name: string,
    options: SecretRegistryOptions,
    hostOf = (port: number): string => `127.0.0.1:${port}`,
  ): Promise<SecretRegistry> {
    const registry = await SecretRegistry.start(options);
    const reference = `${hostOf(registry.port)}/team/app`;
    // Who was shown the secret has answered with the image.
    const isUsed = (): boolean => registry.received.some((request) => /GET .*\/manifests\//.test(request));
    this.all.push({ name, registry, reference, isUsed });
    return registry;
  }

  /** What the same registry is about, too. */
  #alias(name: string, registry: SecretRegistry): void {
    const isUsed = (): boolean => registry.received.some((request) => request.includes('Bearer planted-'));
    this.all.push({ name, registry, reference: `${registry.host}/team/other`, isUsed });
  }

  #use(name: string, isUsed: () => boolean): void {
    const at = this.all.findIndex((plant) => plant.name === name);
    const plant = this.all[at];
    if (plant !== undefined) this.all[at] = { ...plant, isUsed };
  }

  #file(path: string, text: string): string {
    const full = join(this.#directory, path);
    mkdirSync(dirname(full), { recursive: true, mode: 0o700 });
    writeFileSync(full, text, { mode: 0o600 });
    return full;
  }

  get helperSaw(): string {
    return readFileSync(join(this.#directory, 'helper-saw'), 'latin1');
  }
}

function shows(authorization: string): (request: IncomingMessage) => boolean {
  return ({ headers }) => headers.authorization === authorization;
}
