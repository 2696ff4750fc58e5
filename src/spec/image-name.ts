import { posix } from 'node:path';
import { LarderError } from '../errors.js';
import { familiarReference, formatReference, parseReference, type Reference, shownText } from './reference.js';

/** What a caller may call a Docker image: a name in a registry, or a place in an archive on this machine. */
export type ImageName = Reference | ArchiveName;

export const ARCHIVE_TRANSPORTS = ['docker-archive', 'oci-archive', 'oci'] as const;
export type ArchiveTransport = (typeof ARCHIVE_TRANSPORTS)[number];

/** An image in an archive or an OCI layout, named as skopeo names them. Made only by {@link parseImageName}. */
export interface ArchiveName {
  readonly transport: ArchiveTransport;
  /** Absolute, without `.`, `..`, doubled and trailing slashes; the last part may still be a symlink. */
  readonly path: string;
  /** Which of several images; not needed where there is one. */
  readonly inside?: ImageInside;
}

export type ImageInside =
  /** A RepoTag of a `docker save` archive: it has a tag and no digest. */
  | { readonly kind: 'reference'; readonly reference: Reference }
  /** The annotation `org.opencontainers.image.ref.name` of an OCI layout, as written. */
  | { readonly kind: 'name'; readonly name: string }
  /** The n-th image, from 0. */
  | { readonly kind: 'index'; readonly index: number };

/** Linux's PATH_MAX; with what is inside a name stays below the database's and the terminal's patience. */
const MAX_PATH = 4096;
const MAX_INSIDE = 1024;
/** A file's name as Linux has it, but for what would drive a terminal or break a line. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
/** What also reads as the tag of an image called `oci`. */
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/**
 * A reference by the distribution grammar, or `docker-archive:PATH[:REFERENCE|:@N]`, `oci-archive:PATH[:NAME|:@N]`,
 * `oci:PATH[:NAME|:@N]`; the path ends at the first colon, as in skopeo. `oci:1.0` is an image called `oci`: a layout
 * beside you is `oci:./1.0`. A relative path is one from `directory`; where none is given it is refused.
 * Rejects with LARDER_REFERENCE_INVALID, or LARDER_IMAGE_TYPE_UNSUPPORTED for another transport.
 */
export function parseImageName(text: string, directory?: string): ImageName {
  const transport = transportOf(text);
  if (transport === undefined) return parseReference(text);
  const rest = text.slice(transport.length + 1);
  const colon = rest.indexOf(':');
  const path = parsePath(colon < 0 ? rest : rest.slice(0, colon), directory, text);
  if (colon < 0) return { transport, path };
  return { transport, path, inside: parseInside(transport, rest.slice(colon + 1), text) };
}

/** Canonical: two names are the same image name iff these are equal. Parses to the same name again. */
export function formatImageName(name: ImageName): string {
  if (!isArchiveName(name)) return formatReference(name);
  const { transport, path, inside } = name;
  return `${transport}:${path}${inside === undefined ? '' : `:${formatInside(inside)}`}`;
}

/** As people write it; parses to the same name again. */
export function familiarImageName(name: ImageName): string {
  return isArchiveName(name) ? formatImageName(name) : familiarReference(name);
}

/**
 * For who hands a name on to a store: the name of an archive with its path made absolute, and every other text, valid
 * or not, as it is.
 */
export function absoluteImageName(text: string, directory: string): string {
  return transportOf(text) === undefined ? text : formatImageName(parseImageName(text, directory));
}

export function isArchiveName(name: ImageName): name is ArchiveName {
  return 'transport' in name;
}

export function formatInside(inside: ImageInside): string {
  switch (inside.kind) {
    case 'reference':
      return formatReference(inside.reference);
    case 'name':
      return inside.name;
    case 'index':
      return `@${inside.index}`;
  }
}

function transportOf(text: string): ArchiveTransport | undefined {
  const found = ARCHIVE_TRANSPORTS.find((name) => text.startsWith(`${name}:`));
  return found === 'oci' && TAG.test(text.slice('oci:'.length)) ? undefined : found;
}

function parsePath(path: string, directory: string | undefined, text: string): string {
  if (path === '') throw invalid(text, 'the path is empty');
  if (CONTROL.test(path)) throw invalid(text, 'the path has control characters in it');
  if (!path.startsWith('/') && directory === undefined) throw invalid(text, 'the path is not absolute');
  const absolute = posix.resolve(directory ?? '/', path);
  if (Buffer.byteLength(absolute) > MAX_PATH) throw invalid(text, `the path is longer than ${MAX_PATH} bytes`);
  if (absolute.includes(':') || CONTROL.test(absolute)) {
    throw invalid(text, 'the path of an archive cannot have a colon or control characters in it');
  }
  return absolute;
}

function parseInside(transport: ArchiveTransport, inside: string, text: string): ImageInside {
  if (inside === '') throw invalid(text, 'the name behind the path is empty', 'leave the last colon out');
  if (inside.length > MAX_INSIDE)
    throw invalid(text, `the name behind the path is longer than ${MAX_INSIDE} characters`);
  if (inside.startsWith('@')) {
    const digits = /^@(0|[1-9]\d{0,5})$/.exec(inside)?.[1];
    if (digits === undefined) throw invalid(text, 'what follows "@" is not the number of an image', 'the first is @0');
    return { kind: 'index', index: Number(digits) };
  }
  if (transport === 'docker-archive') return { kind: 'reference', reference: parseTagged(inside, text) };
  if (CONTROL.test(inside)) throw invalid(text, 'the name behind the path has control characters in it');
  return { kind: 'name', name: inside };
}

/** `docker save` knows no digests. */
function parseTagged(inside: string, text: string): Reference {
  const reference = parseReference(inside);
  if (reference.digest === undefined) return reference;
  throw invalid(text, 'an image in a docker-archive has no digest', 'write docker-archive:PATH:NAME:TAG');
}

function invalid(text: string, why: string, hint?: string): LarderError {
  return new LarderError(
    'LARDER_REFERENCE_INVALID',
    `image name: ${shownText(text)}: ${why}`,
    hint === undefined ? {} : { hint },
  );
}
