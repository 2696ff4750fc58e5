/**
 * containerd's `certs.d/HOST/hosts.toml` (containerd, docs/hosts.md): for one registry, the servers to ask in order,
 * what each may be asked for, and how; then the registry itself, or the `server` that the file names in its place.
 */
import { isAbsolute, join } from 'node:path';
import * as v from 'valibot';
import { LarderError } from '../../errors.js';
import { type Reference, registryHostOf } from '../../spec/reference.js';
import { assertShape, mapOf } from '../../spec/shape.js';
import { readCertificateDirectory } from './certificate-directory.js';
import { API_ROOT, type Endpoint, type HostTrust, originOf, plainServer, type Server } from './endpoint.js';
import { isDirectory, isFile } from './files.js';
import { readText, readToml } from './toml-file.js';

const texts = v.union([v.string(), v.array(v.string())]);
const HOST = v.object({
  capabilities: v.nullish(v.array(v.string())),
  ca: v.nullish(texts),
  client: v.nullish(v.union([v.string(), v.array(v.union([v.string(), v.array(v.string())]))])),
  skip_verify: v.nullish(v.boolean(), false),
  header: mapOf(texts),
  override_path: v.nullish(v.boolean(), false),
  dial_timeout: v.nullish(v.string(), ''),
});
const DOCUMENT = v.object({ ...HOST.entries, server: v.nullish(v.string(), ''), host: mapOf(HOST) });

type Table = v.InferOutput<typeof HOST>;

/** The servers for a reference by the tree in `root`; undefined where nothing there is about its registry. Rejects with LARDER_CONFIG_INVALID. */
export async function endpointsByHostsToml(
  root: string,
  reference: Reference,
): Promise<readonly Endpoint[] | undefined> {
  const directory = directoriesOf(root, reference.domain).find(isDirectory);
  if (directory === undefined) return undefined;
  const path = join(directory, 'hosts.toml');
  if (!isFile(path)) {
    // From before hosts.toml: nothing but certificates.
    return [
      originOf(reference, plainServer(registryHostOf(reference), { trust: readCertificateDirectory(directory) })),
    ];
  }
  const doing = 'registry hosts';
  const { server, host, ...table } = assertShape(
    DOCUMENT,
    await readToml(path, doing),
    `${doing}: ${path}`,
    'LARDER_CONFIG_INVALID',
  );
  const at = { path, directory, reference };
  const mirrors = Object.entries(host).map(([url, own]) => endpointAt(url, own, at, true));
  // What stands at the top of the file is about the server, which is the registry itself unless it is named.
  return [...mirrors, endpointAt(server || `https://${registryHostOf(reference)}`, table, at, false, server === '')];
}

interface Place {
  readonly path: string;
  readonly directory: string;
  readonly reference: Reference;
}

function endpointAt(text: string, table: Table, at: Place, isMirror: boolean, isOrigin = false): Endpoint {
  const { path, reference } = at;
  const url = parseServer(text, path);
  const may = (capability: string): boolean => table.capabilities?.includes(capability) ?? true;
  const isRegistry = url.host === registryHostOf(reference);
  const server: Server = {
    host: url.host,
    // A loopback registry without a `server` may speak plain HTTP, as everywhere.
    ...(isOrigin ? {} : { scheme: url.protocol === 'http:' ? 'http' : 'https' }),
    apiRoot: apiRootOf(url, table.override_path),
    insecure: table.skip_verify,
    headers: headersOf(table, path),
    trust: trustOf(table, at),
    ...connectTimeoutOf(table, path),
    ...(isRegistry ? {} : { namespace: reference.domain }),
  };
  return { server, repository: reference.path, isMirror, resolves: may('resolve'), serves: may('pull') };
}

/** containerd's order: the port with underscores, then as it is written, then the directory for all registries. */
function directoriesOf(root: string, domain: string): string[] {
  const port = /:(\d+)$/.exec(domain)?.[1];
  const underscored = port === undefined ? [] : [`${domain.slice(0, -port.length - 1)}_${port}_`];
  return [...underscored, domain, '_default'].map((name) => join(root, name));
}

function parseServer(text: string, path: string): URL {
  const whole = text.includes('://') ? text : `https://${text}`;
  const url = /^https?:/i.test(whole) && URL.canParse(whole) ? new URL(whole) : undefined;
  const bare = url !== undefined && url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (url !== undefined && bare) return url;
  throw new LarderError(
    'LARDER_CONFIG_INVALID',
    `registry hosts: ${path}: a server is not http(s)://host[:port][/path]`,
    {
      hint: 'credentials of a mirror belong into config.json, by its host',
    },
  );
}

function apiRootOf(url: URL, override: boolean): string {
  const path = url.pathname.replace(/\/+$/, '').replace(/\/{2,}/g, '/');
  if (override) return path;
  return path.endsWith(API_ROOT) ? path : `${path}${API_ROOT}`;
}

const UNIT_MS: Readonly<Record<string, number>> = { us: 0.001, µs: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Go's notation: `200ms`, `1.5s`, `1m30s`. */
function connectTimeoutOf({ dial_timeout: text }: Table, path: string): Pick<Server, 'connectTimeoutMs'> {
  if (text === '') return {};
  const isDuration = /^(?:\d{1,9}(?:\.\d{1,9})?(?:us|\u00b5s|ms|s|m|h)){1,6}$/.test(text);
  const parts = isDuration ? text.matchAll(/([\d.]+)([^\d.]+)/g) : [];
  const ms = Math.ceil([...parts].reduce((sum, [, count, unit = '']) => sum + Number(count) * (UNIT_MS[unit] ?? 0), 0));
  if (ms > 0 && ms <= 3_600_000) return { connectTimeoutMs: ms };
  throw new LarderError(
    'LARDER_CONFIG_INVALID',
    `registry hosts: ${path}: dial_timeout is no duration, as 200ms or 3s`,
  );
}

const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}$/;
const HEADER_VALUE = /^[\t\x20-\x7e]{0,8192}$/;
/** What belongs to the protocol and is ours to say. */
const OWN_HEADERS = new Set(['host', 'range', 'accept-encoding', 'content-length', 'transfer-encoding', 'connection']);

function headersOf({ header }: Table, path: string): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    const line = typeof value === 'string' ? value : value.join(', ');
    const lower = name.toLowerCase();
    if (!HEADER_NAME.test(name) || !HEADER_VALUE.test(line) || OWN_HEADERS.has(lower)) {
      const shown = JSON.stringify(name.slice(0, 100));
      throw new LarderError('LARDER_CONFIG_INVALID', `registry hosts: ${path}: the header ${shown} cannot be set`);
    }
    headers[lower] = line;
  }
  return headers;
}

function trustOf({ ca, client }: Table, { directory, path }: Place): HostTrust {
  const read = (file: string): string => readText(isAbsolute(file) ? file : join(directory, file), 'read certificates');
  const authorities = typeof ca === 'string' ? [ca] : (ca ?? []);
  const pairs = typeof client === 'string' ? [client] : (client ?? []);
  const clients = pairs.map((pair) => {
    const [cert, key] = typeof pair === 'string' ? [pair, ''] : pair;
    if (cert === undefined || cert === '')
      throw new LarderError('LARDER_CONFIG_INVALID', `registry hosts: ${path}: client names no certificate`);
    return { cert: read(cert), key: read(key || cert) };
  });
  return {
    ...(authorities.length === 0 ? {} : { ca: authorities.map(read).join('\n') }),
    ...(clients.length === 0 ? {} : { clients }),
  };
}
