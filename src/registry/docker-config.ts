/**
 * The documents that logins are kept in: Docker's `config.json`, the `.dockercfg` from before it, and the `auth.json` of
 * podman, skopeo and buildah (containers-auth.json(5)). Text in, plain data out; nothing of the text is ever in a message.
 */
import * as v from 'valibot';
import { LarderError } from '../errors.js';
import { parseJson } from '../spec/json.js';
import { assertShape, mapOf } from '../spec/shape.js';

/** What to show at a registry. `source` is for messages: a file, or the program that knew it. */
export type Login =
  | { readonly kind: 'password'; readonly username: string; readonly password: string; readonly source: string }
  /** An OAuth 2 refresh token, for a token server. */
  | { readonly kind: 'identity'; readonly token: string; readonly source: string }
  /** A token for the registry itself, sent as it is. */
  | { readonly kind: 'bearer'; readonly token: string; readonly source: string };

export interface DockerConfig {
  readonly source: string;
  /** By `host[:port]` or `host[:port]/path`, as {@link normalKey} has them. */
  readonly logins: ReadonlyMap<string, Login>;
  /** Names of helpers by `host[:port]`. */
  readonly helpers: ReadonlyMap<string, string>;
  /** The helper for all hosts. */
  readonly store: string | undefined;
}

const MAX_CONFIG_BYTES = 1024 * 1024;
/** All that Docker has ever called its own registry by. */
const HUB_NAMES = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);
/** `docker-credential-NAME` is looked for on the path: nothing in the name may lead elsewhere. */
const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;
/** What may stand in an `Authorization` header. */
export const TOKEN_TEXT = /^[\x21-\x7e]{1,65536}$/;

/** `source` is for messages. Rejects with LARDER_CONFIG_INVALID. */
export function readDockerConfigText(content: string, source: string): DockerConfig {
  const doing = `credentials: ${source}`;
  const limits = { doing, maxBytes: MAX_CONFIG_BYTES, code: 'LARDER_CONFIG_INVALID' } as const;
  const document = withoutCause(() => parseJson(Buffer.from(content), limits));
  const config = assertShape(CONFIG, legacyEntries(document) ?? document, doing, limits.code);
  const logins = new Map<string, Login>();
  for (const [key, entry] of Object.entries(config.auths)) {
    const login = loginOf(entry, source, `${doing}: ${key.slice(0, 200)}`);
    const normal = normalKey(key);
    if (normal !== undefined && login !== undefined) logins.set(normal, login);
  }
  const helpers = new Map<string, string>();
  for (const [key, helper] of Object.entries(config.credHelpers)) {
    const normal = normalKey(key);
    // A helper is asked by host; a key with a path would open more than it names.
    if (normal !== undefined && !normal.includes('/') && helper !== '') helpers.set(normal, helperName(helper, doing));
  }
  const store = config.credsStore === '' ? undefined : helperName(config.credsStore, doing);
  return { source, logins, helpers, store };
}

/** Lower case, without the port of HTTPS; Docker Hub has one name. */
export function normalHost(host: string): string {
  const lower = host.toLowerCase().replace(/:443$/, '');
  return HUB_NAMES.has(lower) ? 'docker.io' : lower;
}

/** Of a key as people and programs write it: `https://index.docker.io/v1/`, `quay.io`, `quay.io/team/app`. */
function normalKey(key: string): string | undefined {
  const [, host, path = ''] = /^(?:https?:\/\/)?([^/@\s]+)((?:\/[^/@\s]+)*)\/?$/.exec(key) ?? [];
  if (host === undefined) return undefined;
  // `/v1/` and `/v2/` are the API, which every repository is below.
  return /^\/v[12]$/.test(path) ? normalHost(host) : `${normalHost(host)}${path}`;
}

function helperName(name: string, doing: string): string {
  if (HELPER_NAME.test(name)) return name;
  throw new LarderError('LARDER_CONFIG_INVALID', `${doing}: the name of a credential helper is not a program's name`, {
    hint: 'write what follows docker-credential- in it, without a path',
  });
}

const text = v.nullish(v.string(), '');
const ENTRY = v.object({ auth: text, username: text, password: text, identitytoken: text, registrytoken: text });
const CONFIG = v.object({
  auths: mapOf(ENTRY),
  credsStore: text,
  credHelpers: mapOf(v.string()),
});

/** `.dockercfg`: a map of entries, each with its `auth`. A config.json may do without `auths`, but not with such entries. */
function legacyEntries(document: unknown): { readonly auths: Record<string, unknown> } | undefined {
  if (typeof document !== 'object' || document === null || Array.isArray(document) || 'auths' in document)
    return undefined;
  const entries = Object.entries(document).filter(
    ([, entry]) => typeof entry === 'object' && entry !== null && 'auth' in entry,
  );
  return entries.length === 0 ? undefined : { ...document, auths: Object.fromEntries(entries) };
}

/** Tokens come before passwords, as in Docker: where both are there, the password is what they were got with, or nothing. */
function loginOf(entry: v.InferOutput<typeof ENTRY>, source: string, doing: string): Login | undefined {
  const { auth, username, password, identitytoken, registrytoken } = entry;
  if (registrytoken !== '') return { kind: 'bearer', token: tokenText(registrytoken, doing), source };
  if (identitytoken !== '') return { kind: 'identity', token: identitytoken, source };
  if (auth === '') return username === '' ? undefined : { kind: 'password', username, password, source };
  const decoded = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  if (colon <= 0) throw new LarderError('LARDER_CONFIG_INVALID', `${doing}: "auth" is not base64 of name:password`);
  return { kind: 'password', username: decoded.slice(0, colon), password: decoded.slice(colon + 1), source };
}

function tokenText(token: string, doing: string): string {
  if (TOKEN_TEXT.test(token)) return token;
  throw new LarderError('LARDER_CONFIG_INVALID', `${doing}: "registrytoken" has characters that no header takes`);
}

/** The parser's own error quotes the text, and this text has passwords in it. */
function withoutCause<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof LarderError) throw new LarderError(error.code, error.message);
    throw error;
  }
}
