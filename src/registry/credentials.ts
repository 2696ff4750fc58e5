import { homedir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { errnoOf, LarderError, systemError } from '../errors.js';
import { readPlainFile } from '../linux/plain-file.js';
import { parseJson } from '../spec/json.js';
import type { SecretText } from '../spec/secret-text.js';
import { assertShape, mapOf } from '../spec/shape.js';

/** A name and a password for one registry. */
export interface Credential {
  readonly username: string;
  readonly password: string;
}

/** Who may log in where. Looked up by the exact `host[:port]`, never by a part of it. */
export interface Credentials {
  find(host: string): Credential | undefined;
  /** The credential helper that a `config.json` names for the host; larder does not run it yet. */
  helperFor(host: string): string | undefined;
}

/** In place, or a file's path. */
export type DockerConfigSource =
  | { readonly kind: 'inline'; readonly text: SecretText }
  | { readonly kind: 'file'; readonly path: string };

export const NO_CREDENTIALS: Credentials = { find: () => undefined, helperFor: () => undefined };

const MAX_CONFIG_BYTES = 1024 * 1024;
/** All that Docker has ever called its own registry by. */
const HUB_NAMES = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** `over` decides for the registries that it has logins for, `base` for all others. */
export function overlayCredentials(over: Credentials, base: Credentials): Credentials {
  return {
    find: (host) => over.find(host) ?? base.find(host),
    helperFor: (host) => over.helperFor(host) ?? base.helperFor(host),
  };
}

/**
 * A Docker `config.json`, or the `.dockercfg` from before it, whose entries stand in the document itself. `source` is
 * for messages, which have nothing of the text in them. Rejects with LARDER_CONFIG_INVALID.
 */
export function parseDockerConfig(text: string, source: string): Credentials {
  const doing = `credentials: ${source}`;
  const limits = { doing, maxBytes: MAX_CONFIG_BYTES, code: 'LARDER_CONFIG_INVALID' } as const;
  const document = withoutCause(() => parseJson(Buffer.from(text), limits));
  const config = assertShape(CONFIG, legacyEntries(document) ?? document, doing, limits.code);
  const found = new Map<string, Credential>();
  for (const [key, entry] of Object.entries(config.auths)) {
    const host = hostOfKey(key);
    const credential = credentialOf(entry, `${doing}: ${key.slice(0, 200)}`);
    if (host !== undefined && credential !== undefined) found.set(host, credential);
  }
  const helpers = new Map<string, string>();
  for (const [key, helper] of Object.entries(config.credHelpers)) {
    const host = hostOfKey(key);
    if (host !== undefined) helpers.set(host, helper);
  }
  return {
    find: (host) => found.get(normalHost(host)),
    helperFor: (host) => helpers.get(normalHost(host)) ?? (config.credsStore || undefined),
  };
}

/** `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; none where there is no such file. Rejects with LARDER_CONFIG_INVALID. */
export async function loadDockerConfig(env: NodeJS.ProcessEnv = process.env): Promise<Credentials> {
  const { DOCKER_CONFIG: configured, HOME: home } = env;
  const path = join(configured || join(home || homedir(), '.docker'), 'config.json');
  let text: string;
  try {
    text = readConfig(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return NO_CREDENTIALS;
    throw systemError(`credentials: ${path}`, error);
  }
  return parseDockerConfig(text, path);
}

/** What the setting `docker_config` names. Rejects with LARDER_CONFIG_INVALID, LARDER_PERMISSION, LARDER_INTERNAL. */
export async function readDockerConfig(source: DockerConfigSource): Promise<Credentials> {
  if (source.kind === 'inline') return parseDockerConfig(source.text.reveal(), 'docker_config');
  try {
    return parseDockerConfig(readConfig(source.path), source.path);
  } catch (error) {
    throw systemError(`credentials: ${source.path}`, error);
  }
}

const MAX_CONFIG_FILE = 4 * 1024 * 1024;

function readConfig(path: string): string {
  const how = { doing: 'credentials', code: 'LARDER_CONFIG_INVALID', maxBytes: MAX_CONFIG_FILE } as const;
  return readPlainFile(path, how).toString('utf8');
}

const text = v.nullish(v.string(), '');
const ENTRY = v.object({ auth: text, username: text, password: text });
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

/** Only keys that mean a whole registry: podman's `quay.io/team` must not open the rest of quay.io. */
function hostOfKey(key: string): string | undefined {
  const match = /^(?:https?:\/\/)?([^/@\s]+)(?:\/(?:v[12]\/?)?)?$/.exec(key);
  return match?.[1] === undefined ? undefined : normalHost(match[1]);
}

function normalHost(host: string): string {
  const lower = host.toLowerCase().replace(/:443$/, '');
  return HUB_NAMES.has(lower) ? 'docker.io' : lower;
}

function credentialOf(entry: v.InferOutput<typeof ENTRY>, doing: string): Credential | undefined {
  if (entry.auth === '') {
    return entry.username === '' ? undefined : { username: entry.username, password: entry.password };
  }
  const decoded = Buffer.from(entry.auth, 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  if (colon <= 0) throw new LarderError('LARDER_CONFIG_INVALID', `${doing}: "auth" is not base64 of name:password`);
  return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
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
