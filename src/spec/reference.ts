import { LarderError } from '../errors.js';
import { type Digest, isDigest } from './digest.js';

/** Which image: the distribution grammar, normalised. Made only by {@link parseReference}. */
export interface Reference {
  /** Lower case, with a port where one was given: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly domain: string;
  /** The repository: `library/alpine`. */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

export const DEFAULT_DOMAIN = 'docker.io';
const DEFAULT_TAG = 'latest';
/** Where Docker Hub's API really is. */
const HUB_HOST = 'registry-1.docker.io';
/** distribution's limit on a repository's name; the whole text may have a domain, a tag and a digest besides. */
const MAX_NAME = 255;
const MAX_TEXT = 1024;

/** distribution/reference, `regexp.go`: the grammar's words. Lengths are bounded before any of these runs. */
const HOST_NAME = /^(?:[a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])(?:\.(?:[a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9]))*$/i;
const IPV6 = /^\[[0-9a-f:]{2,45}\]$/i;
const PORT = /^[1-9][0-9]{0,4}$/;
const PATH_PART = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** Of the sources that users know from skopeo, those that larder reads elsewhere (`image-name.ts`). */
const ARCHIVES: readonly string[] = ['docker-archive', 'oci-archive', 'oci'];
const OTHER_TRANSPORTS = [...ARCHIVES, 'docker-daemon', 'containers-storage', 'dir'];

/**
 * `[docker://][domain/]path[:tag][@digest]` by the distribution grammar: `alpine` is
 * `docker.io/library/alpine:latest`. A tag is filled in only where there is no digest; given both, both are kept and
 * the digest decides. Rejects with LARDER_REFERENCE_INVALID, or LARDER_IMAGE_TYPE_UNSUPPORTED for another transport.
 */
export function parseReference(text: string): Reference {
  refuseOtherTransports(text);
  const body = text.startsWith('docker://') ? text.slice('docker://'.length) : text;
  if (body === '') throw invalid(text, 'is empty');
  if (body.length > MAX_TEXT) throw invalid(text, `is longer than ${MAX_TEXT} characters`);
  if (body !== body.trim()) throw invalid(text, 'has white space around it');
  if (/^[a-f0-9]{64}$/.test(body))
    throw invalid(text, 'is an image ID, not a name', 'write name@sha256:… for an image by digest');

  const [beforeDigest, digest] = splitDigest(body, text);
  const [name, tag] = splitTag(beforeDigest, text);
  const [domain, path] = splitDomain(name);
  checkPath(path, text);
  return {
    domain: parseDomain(domain, text),
    path,
    ...(tag === undefined ? (digest === undefined ? { tag: DEFAULT_TAG } : {}) : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Canonical: `docker.io/library/alpine:latest`, `quay.io/a/b:1@sha256:…`. Two references are the same image name iff these are equal. */
export function formatReference({ domain, path, tag, digest }: Reference): string {
  return `${domain}/${path}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** As people write it: `alpine`, `grafana/grafana:10`, `quay.io/a/b`. Parses to the same reference again. */
export function familiarReference(reference: Reference): string {
  const { domain, path, tag, digest } = reference;
  const [first = '', ...rest] = path.split('/');
  const official = first === 'library' && rest.length === 1;
  // `docker.io/my.org/x` without its domain would be a registry called my.org.
  const ambiguous = rest.length > 0 && (first.includes('.') || first === 'localhost');
  const name = domain !== DEFAULT_DOMAIN || ambiguous ? `${domain}/${path}` : official ? rest.join('/') : path;
  const shownTag = tag === undefined || (tag === DEFAULT_TAG && digest === undefined) ? '' : `:${tag}`;
  return `${name}${shownTag}${digest === undefined ? '' : `@${digest}`}`;
}

/** The same image by digest alone. */
export function withDigest({ domain, path }: Reference, digest: Digest): Reference {
  return { domain, path, digest };
}

/** `host[:port]` of the registry's API. */
export function registryHostOf(reference: Reference): string {
  return reference.domain === DEFAULT_DOMAIN ? HUB_HOST : reference.domain;
}

function refuseOtherTransports(text: string): void {
  const transport = OTHER_TRANSPORTS.find((name) => text.startsWith(`${name}:`));
  // `oci:1.0` and `dir:latest` are names of images, too; skopeo's reading wins only where a path follows.
  if (transport === undefined || TAG.test(text.slice(transport.length + 1))) return;
  const [why, hint] = ARCHIVES.includes(transport)
    ? [`what ${transport}: names is not an image in a registry`, 'write [registry/]name[:tag][@digest]']
    : [`the transport ${transport}: is not supported`, 'docker://, docker-archive:, oci: and oci-archive: are'];
  throw new LarderError('LARDER_IMAGE_TYPE_UNSUPPORTED', `reference: ${shownText(text)}: ${why}`, {
    hint,
    details: { transport },
  });
}

function splitDigest(body: string, text: string): readonly [string, Digest | undefined] {
  const at = body.indexOf('@');
  if (at < 0) return [body, undefined];
  const digest = body.slice(at + 1);
  if (!isDigest(digest)) {
    throw invalid(text, 'what follows "@" is not a digest', 'write @sha256: and 64 lower-case hexadecimal digits');
  }
  return [body.slice(0, at), digest];
}

function splitTag(body: string, text: string): readonly [string, string | undefined] {
  const colon = body.lastIndexOf(':');
  if (colon <= body.lastIndexOf('/')) return [body, undefined];
  const tag = body.slice(colon + 1);
  if (!TAG.test(tag))
    throw invalid(text, 'the tag is not valid', 'a tag has up to 128 letters, digits, "_", "." and "-"');
  return [body.slice(0, colon), tag];
}

/**
 * The first part is a domain when it cannot be the start of a path: a dot, a port, or `localhost`. Upper case alone makes
 * none, as it does for distribution: in lower case, which is what a host's name is, it would be a path.
 */
function splitDomain(name: string): readonly [string, string] {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  const isDomain = slash > 0 && (/[.:[]/.test(first) || first.toLowerCase() === 'localhost');
  const domain = isDomain ? first : DEFAULT_DOMAIN;
  const path = isDomain ? name.slice(slash + 1) : name;
  const hub = /^(?:index\.)?docker\.io$/i.test(domain);
  if (!hub) return [domain, path];
  return [DEFAULT_DOMAIN, path.includes('/') ? path : `library/${path}`];
}

function checkPath(path: string, text: string): void {
  if (path.length > MAX_NAME) throw invalid(text, `the name is longer than ${MAX_NAME} characters`);
  if (path.split('/').every((part) => PATH_PART.test(part))) return;
  if (/[A-Z]/.test(path))
    throw invalid(text, 'names of repositories are lower case', `did you mean ${text.toLowerCase().slice(0, 300)}?`);
  throw invalid(
    text,
    'the name is not valid',
    'write [registry/]name[:tag][@digest], for example docker.io/library/alpine:3.20',
  );
}

/**
 * One reading of a host for everybody: what URL parsers would rewrite (`0x7f.1`, `[0:0::1]`, port `080`) is refused,
 * so that what was checked is what is connected to.
 */
function parseDomain(domain: string, text: string): string {
  const port = /:(\d+)$/.exec(domain.replace(/^\[[^\]]*\]/, ''))?.[1];
  const host = (port === undefined ? domain : domain.slice(0, -port.length - 1)).toLowerCase();
  const refuse = (): LarderError => invalid(text, `${JSON.stringify(domain)} is not a registry's host[:port]`);
  if (domain.length > 300 || !(HOST_NAME.test(host) || IPV6.test(host))) throw refuse();
  if (port !== undefined && (!PORT.test(port) || Number(port) > 65535)) throw refuse();
  if (!URL.canParse(`https://${host}/`) || new URL(`https://${host}/`).hostname !== host) throw refuse();
  return port === undefined ? host : `${host}:${port}`;
}

function invalid(text: string, why: string, hint?: string): LarderError {
  return new LarderError(
    'LARDER_REFERENCE_INVALID',
    `reference: ${shownText(text)}: ${why}`,
    hint === undefined ? {} : { hint },
  );
}

/**
 * Who writes a URL with a login where a reference belongs must not find the password in a log. What has a scheme is a URL;
 * without one there must be a path behind it, or it may be a name with a digest that is none.
 */
const USER_INFO = /^(?:([A-Za-z0-9+.-]+:\/\/).*@(?!sha\d+:)|[^@/]*:.*@(?!sha\d+:)(?=[^@]*\/))/s;
const MAX_SEARCHED = 1000;

/** A text that somebody gave as a name, for messages. */
export function shownText(text: string): string {
  // A token of a cloud is longer than that; where it ends does not matter.
  const end = text.includes('@', MAX_SEARCHED) ? '@/' : '';
  const known = `${text.slice(0, MAX_SEARCHED)}${end}`.replace(USER_INFO, (_, scheme = '') => `${scheme}…@`);
  return JSON.stringify(known.length > 120 ? `${known.slice(0, 120)}…` : known);
}
