/**
 * What a request is for (OCI distribution-spec 1.1, "Endpoints"; only pulls). Every name in it goes through the one
 * grammar of references: nothing of a request's path is ever anything else than a parsed name, tag or digest.
 */
import { type Digest, parseDigest } from '../spec/digest.js';
import { parseReference, type Reference } from '../spec/reference.js';
import { Refusal } from './refusal.js';

export type Target =
  /** `GET /v2/` */
  | { readonly kind: 'base' }
  | { readonly kind: 'manifest'; readonly reference: Reference }
  | { readonly kind: 'blob'; readonly reference: Reference; readonly digest: Digest };

const MAX_URL = 2048;
const PATH = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/;
/** The grammar of names allows no port but in front: `registry.example__5000/app` is how one is written in a path. */
const PORT = /^(localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+)__([1-9]\d{0,4})(?=\/)/;
/** containerd: the registry that a proxy for many stands for. */
const NAMESPACE = 'ns';

/** Throws {@link Refusal}, LARDER_REFERENCE_INVALID, LARDER_DIGEST_INVALID. */
export function parseTarget(method: string, url: string): Target {
  if (url.length > MAX_URL)
    throw new Refusal(414, 'NAME_INVALID', `read the request: its URL is longer than ${MAX_URL}`);
  const [raw = '', query, ...rest] = url.split('?');
  if (rest.length > 0) throw new Refusal(400, 'NAME_INVALID', 'read the request: its URL has more than one query');
  // Some clients encode the colon of a digest. Nothing else that a name may have needs to be.
  const path = raw.replace(/%3a/gi, ':');
  if (method !== 'GET' && method !== 'HEAD') {
    throw new Refusal(405, 'UNSUPPORTED', `read the request: ${method.slice(0, 20)}: images are only pulled from here`);
  }
  if (path === '/v2/' || path === '/v2') return { kind: 'base' };
  const [, name = '', kind, last = ''] = PATH.exec(path) ?? [];
  if (kind === undefined) {
    throw new Refusal(404, 'UNSUPPORTED', 'read the request: only manifests and blobs are to be had here');
  }
  const host = namespaceOf(query);
  if (kind === 'manifests') {
    const separator = last.includes(':') ? '@' : ':';
    return { kind: 'manifest', reference: referenceOf(host, name, `${separator}${last}`) };
  }
  const digest = parseDigest(last);
  return { kind: 'blob', reference: referenceOf(host, name, `@${digest}`), digest };
}

/** The registry: `?ns=`, else the first part of the name where that is a host, else Docker Hub. */
function referenceOf(host: string | undefined, name: string, rest: string): Reference {
  // A tag or digest in a name would be another reference than the one that was checked.
  if (name.includes('@') || /:[^/]*$/.test(name)) {
    throw new Refusal(400, 'NAME_INVALID', 'read the request: the name of the repository is not valid');
  }
  if (host === undefined) return parseReference(`${name.replace(PORT, '$1:$2')}${rest}`);
  const reference = parseReference(`${host}/${name}${rest}`);
  const expected = /^(?:index\.|registry-1\.)?docker\.io$/i.test(host) ? 'docker.io' : host.toLowerCase();
  if (reference.domain === expected) return reference;
  throw new Refusal(400, 'NAME_INVALID', `read the request: ?${NAMESPACE}= is not a registry's host[:port]`);
}

function namespaceOf(query: string | undefined): string | undefined {
  const hosts = new URLSearchParams(query ?? '').getAll(NAMESPACE);
  if (hosts.length > 1 || hosts.some((host) => host === '' || host.length > 300 || host.includes('/')))
    throw new Refusal(
      400,
      'NAME_INVALID',
      `read the request: ?${NAMESPACE}= must come once, as a registry's host[:port]`,
    );
  const [host] = hosts;
  // Where Docker Hub's API really is.
  return host?.toLowerCase() === 'registry-1.docker.io' ? 'docker.io' : host;
}
