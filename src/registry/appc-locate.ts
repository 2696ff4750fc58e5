import { type ErrorDetails, isLarderError, LarderError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import type { AppcRequest } from '../spec/appc-name.js';
import { isLoopbackHost } from './addresses.js';
import {
  type AciExtension,
  discoverIn,
  discoveryLevels,
  MAX_PAGE_BYTES,
  simplePath,
  simpleUrl,
} from './appc-discovery.js';
import { readBeginning } from './appc-http.js';
import { type AciPlace, filePlace, hdfsPlace, httpPlace } from './appc-places.js';
import { type HostSettings, RegistryHost } from './registry-host.js';
import { RequestPlan } from './request-plan.js';
import { isTlsError } from './retry.js';
import { withoutQuery } from './transport.js';

/** What decides where an image is looked for. */
export interface Whereabouts {
  readonly doing: string;
  readonly simplePrefix?: string;
  readonly hadoopHome?: string;
  readonly discoveryPort?: number;
  readonly settings: HostSettings;
  readonly options: OperationOptions;
}

/**
 * The places that may have an image, the best first: the one of simple discovery where a prefix is set, else those that
 * meta discovery finds. Rejects with LARDER_IMAGE_NOT_FOUND, LARDER_POLICY_DENIED, LARDER_REGISTRY_*,
 * LARDER_REFERENCE_INVALID, LARDER_FLAGS_INVALID, LARDER_TIMEOUT, LARDER_ABORTED.
 */
export async function findPlaces(request: AppcRequest, where: Whereabouts): Promise<readonly AciPlace[]> {
  const { simplePrefix } = where;
  return simplePrefix === undefined ? discover(request, where) : [simplePlace(simplePrefix, request, where)];
}

function simplePlace(prefix: string, request: AppcRequest, { settings, hadoopHome }: Whereabouts): AciPlace {
  const directory = prefix.startsWith('file:///') ? prefix.slice('file://'.length) : prefix;
  if (directory.startsWith('/')) return filePlace((ext) => simplePath(directory, request, ext));
  if (prefix.startsWith('hdfs://')) return hdfsPlace((ext) => simplePath(prefix, request, ext), hadoopHome);
  const isBare = /^https?:\/\/$/i.test(prefix);
  if (isBare) hostUrl('https', request.name);
  const urlOf = (ext: AciExtension): URL => parsePlace(simpleUrl(prefix, request, ext), prefix);
  const url = urlOf('aci');
  // With a prefix of its own, the host is the operator's choice; else it is that of who wrote the name.
  const asked = isBare && request.askedBy !== undefined ? hostUrl('https', request.askedBy) : url;
  return httpPlace({ aci: url.href, signature: urlOf('aci.asc').href }, originOf(asked, settings));
}

/** discovery.md, "Discovery URL": the page of the name, then those of its parents; the first that knows the image decides. */
async function discover(request: AppcRequest, where: Whereabouts): Promise<readonly AciPlace[]> {
  const { doing, options, settings, discoveryPort: port } = where;
  const host = hostUrl('https', request.name, port);
  const origin = originOf(hostUrl('https', request.askedBy ?? request.name, port), settings);
  let schemes = mayBePlain(host, settings) ? ['https', 'http'] : ['https'];
  for (const level of discoveryLevels(request.name)) {
    const [scheme, page] = await readPage(level, schemes, origin, where);
    schemes = [scheme];
    const { urls, keyUrls } = discoverIn(page ?? '', request);
    const said = keyUrls.map(withoutQuery).join(', ');
    if (said !== '') options.onEvent?.({ type: 'debug', scope: 'appc', message: `${level} offers keys: ${said}` });
    const allowed = urls.filter(({ aci, signature }) =>
      [aci, signature].every((url) => url.startsWith('https:') || mayBePlain(new URL(url), settings)),
    );
    if (allowed.length > 0) return allowed.map((each) => httpPlace(each, origin));
    if (urls.length > 0) {
      throw new LarderError('LARDER_POLICY_DENIED', `${doing}: ${level} offers it over plain HTTP only`, {
        hint: 'name the host in insecure_registries to allow that',
      });
    }
  }
  throw new LarderError('LARDER_IMAGE_NOT_FOUND', `${doing}: no page of ${host.host} says where it is`, {
    hint: 'check the name; who offers it needs an ac-discovery meta tag, or set appc_simple_discovery_uri_prefix',
  });
}

/** The page, undefined where there is none, and the scheme that the host speaks. */
async function readPage(
  level: string,
  schemes: readonly string[],
  origin: RegistryHost,
  { doing, options: { signal }, discoveryPort }: Whereabouts,
): Promise<readonly [scheme: string, page: string | undefined]> {
  for (const [i, scheme] of schemes.entries()) {
    const url = new URL(
      `/${level.split('/').slice(1).join('/')}?ac-discovery=1`,
      hostUrl(scheme, level, discoveryPort),
    );
    const target = { kind: 'plain', url, doing, notFound: 'LARDER_IMAGE_NOT_FOUND', accept: 'text/html' } as const;
    try {
      const bytes = await readBeginning(new RequestPlan(origin, target), { doing, maxBytes: MAX_PAGE_BYTES, signal });
      return [scheme, bytes.toString('utf8')];
    } catch (error) {
      const { status, errno } = detailsOf(error);
      if (typeof status === 'number' && status >= 400 && status < 500) return [scheme, undefined];
      const noTls = typeof errno === 'string' && (isTlsError(errno) || /^ECONN(?:REFUSED|RESET)$/.test(errno));
      if (!noTls || i === schemes.length - 1) throw error;
    }
  }
  throw new LarderError('LARDER_INTERNAL', `${doing}: no scheme to ask with`);
}

function originOf(url: URL, settings: HostSettings): RegistryHost {
  return new RegistryHost(url.host, new URL('/', url), settings);
}

/** The host that a name begins with. A URL parser would take some words for other hosts (`0x7f.1`): those are refused. */
function hostUrl(scheme: string, name: string, port?: number): URL {
  const [host = ''] = name.split('/', 1);
  const text = `${scheme}://${host}${port === undefined ? '' : `:${port}`}/`;
  if (URL.canParse(text) && new URL(text).hostname === host) return new URL(text);
  throw new LarderError('LARDER_REFERENCE_INVALID', `Appc image: ${name}: it does not begin with the name of a host`, {
    hint: 'set appc_simple_discovery_uri_prefix to where images with such names are',
  });
}

function parsePlace(text: string, prefix: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // A third slash would make the name's first part the host.
  const isWeb = /^https?:\/\/(?:[^/]|$)/i.test(prefix);
  if (url !== undefined && isWeb && url.username === '' && url.password === '') return url;
  throw new LarderError(
    'LARDER_FLAGS_INVALID',
    `setting appc_simple_discovery_uri_prefix: ${withoutQuery(prefix)}: not http(s)://, hdfs://, file:/// or an absolute path`,
  );
}

function mayBePlain(url: URL, { insecure }: HostSettings): boolean {
  return isLoopbackHost(url.hostname) || insecure.has(url.host) || insecure.has(url.hostname);
}

function detailsOf(error: unknown): ErrorDetails {
  return isLarderError(error) ? error.details : {};
}
