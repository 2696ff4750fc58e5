import { isLarderError, LarderError } from '../errors.js';
import { type AcIdentifier, type AppcImageId, isAcIdentifier, isImageId } from './appc-types.js';
import type { AppcImage } from './image.js';
import { formatPlatform, normalizePlatform, type Platform } from './platform.js';
import { parseReference, shownText } from './reference.js';

/** Which Appc image, with nothing left to guess. Made only by {@link appcRequestOf} and `dependencyRequest`. */
export interface AppcRequest {
  readonly name: AcIdentifier;
  /** `version`, `os` and `arch` are always there, in Appc's words (`amd64`, `i386`, `aarch64`, `armv7l`). */
  readonly labels: Readonly<Record<string, string>>;
  /** Labels that nobody asked for: an image need not have them. `latest` names no version, so it counts as not asked for. */
  readonly defaulted: ReadonlySet<string>;
  readonly id?: AppcImageId;
  /** The image whose manifest asks, where it is no caller: where its host may not send us, the name leads nowhere. */
  readonly askedBy?: AcIdentifier;
}

const PREFIX = 'appc:';
const DEFAULT_VERSION = 'latest';
const MAX_TEXT = 4096;
const MAX_LABELS = 64;
const MAX_VALUE = 255;
/** They have words of their own, and are part of every platform's name. */
const PLATFORM_WORD = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
/** Control characters, and halves of surrogate pairs, which no encoding of Unicode has. */
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]|\p{Surrogate}/u;

/**
 * Whether a text on the command line means an Appc image. `appc:1.0` and `appc:5000/app` do not: they are Docker
 * references, as they always were, and `appc:1.0,version=latest` or `appc:NAME:VERSION` is how to ask Appc for such names.
 */
export function isAppcName(text: string): boolean {
  return text.startsWith(PREFIX) && !isDockerReference(text);
}

/**
 * `appc:NAME[:VERSION][,LABEL=VALUE…][@sha512-HEX]`. In values `%2C` and the like stand for what the grammar needs.
 * Rejects with LARDER_REFERENCE_INVALID.
 */
export function parseAppcName(text: string): AppcImage {
  if (text.length > MAX_TEXT) throw invalid(text, `is longer than ${MAX_TEXT} characters`);
  if (!text.startsWith(PREFIX)) throw invalid(text, `does not start with ${PREFIX}`);
  const [body, id] = splitOnce(text.slice(PREFIX.length), '@');
  if (id !== undefined && !isImageId(id)) throw invalid(text, 'what follows "@" is not an image id');
  const [head = '', ...pairs] = body.split(',');
  const [name, version] = splitOnce(head, ':');
  if (!isAcIdentifier(name)) throw invalid(text, badName(name));
  const labels = new Map<string, string>();
  const add = (label: string, value: string | undefined): void => {
    if (value === undefined) throw invalid(text, `the label ${JSON.stringify(label.slice(0, 80))} has no "="`);
    if (labels.has(label)) throw invalid(text, `the label ${JSON.stringify(label.slice(0, 80))} is given twice`);
    labels.set(label, decodeValue(value, text));
  };
  if (version !== undefined) add('version', version);
  for (const pair of pairs) add(...splitOnce(pair, '='));
  checkLabels(labels, text);
  return {
    type: 'appc',
    name,
    ...(labels.size === 0 ? {} : { labels: Object.fromEntries(labels) }),
    ...(id === undefined ? {} : { id }),
  };
}

/**
 * What is asked for, for a machine of this platform: a label that is left out has its default. On linux the kernel's
 * and Go's words for architectures are understood, too (`x86_64`, `arm64`). Rejects with LARDER_REFERENCE_INVALID.
 */
export function appcRequestOf(image: AppcImage, platform: Platform): AppcRequest {
  const { name, id } = image;
  const text = `${PREFIX}${name}`;
  if (!isAcIdentifier(name)) throw invalid(text, badName(name));
  if (id !== undefined && !isImageId(id)) throw invalid(text, `${JSON.stringify(id.slice(0, 80))} is not an image id`);
  return completeRequest(name, new Map(Object.entries(image.labels ?? {})), id, appcPlatformOf(platform), text);
}

/** The labels `os` and `arch` that stand for a platform. */
export interface AppcPlatform {
  readonly os: string;
  readonly arch: string;
}

/** Fills in what is left out; `text` is for messages. Rejects with LARDER_REFERENCE_INVALID. */
export function completeRequest(
  name: AcIdentifier,
  given: ReadonlyMap<string, string>,
  id: AppcImageId | undefined,
  { os, arch }: AppcPlatform,
  text: string,
): AppcRequest {
  checkLabels(given, text);
  const defaults = { version: DEFAULT_VERSION, os, arch };
  const labels: Record<string, string> = { ...defaults, ...Object.fromEntries(given) };
  labels['arch'] = appcArchOf(labels['os'] ?? '', labels['arch'] ?? '');
  const defaulted = new Set(Object.keys(defaults).filter((label) => !given.has(label)));
  if (labels['version'] === DEFAULT_VERSION) defaulted.add('version');
  return { name, labels, defaulted, ...(id === undefined ? {} : { id }) };
}

/**
 * Canonical: `appc:example.com/app:1.0,channel=beta@sha512-…`. Two requests are for the same image iff these and their
 * {@link platformOfRequest} are equal; parses to the same request again, but for the platform.
 */
export function formatAppcRequest({ name, labels, id }: AppcRequest): string {
  const others = Object.keys(labels)
    .filter((label) => label !== 'version' && label !== 'os' && label !== 'arch')
    .sort();
  const version = encodeValue(labels['version'] ?? DEFAULT_VERSION);
  const rest = others.map((label) => `,${label}=${encodeValue(labels[label] ?? '')}`).join('');
  const end = `${rest}${id === undefined ? '' : `@${id}`}`;
  const text = `${PREFIX}${name}:${version}${end}`;
  return isAppcName(text) ? text : `${PREFIX}${name},version=${version}${end}`;
}

/** `linux/amd64`, `linux/arm/v7`: as the rest of larder writes platforms. */
export function platformOfRequest({ labels: { os = '', arch = '' } }: AppcRequest): string {
  if (os !== 'linux') return `${os}/${arch}`;
  const armVariant = /^armv([67])l$/.exec(arch)?.[1];
  return formatPlatform(normalizePlatform(os, armVariant === undefined ? arch : 'arm', armVariant ?? ''));
}

/** A platform in Appc's words (schema/types/labels.go, `ToAppcOSArch`). */
export function appcPlatformOf({ os, architecture, variant }: Platform): AppcPlatform {
  return { os, arch: appcArchOf(os, architecture, variant) };
}

function appcArchOf(os: string, arch: string, givenVariant = ''): string {
  if (os !== 'linux') return arch;
  const { architecture, variant } = normalizePlatform(os, arch, givenVariant);
  if (architecture === 'arm') return variant === 'v7' || variant === 'v8' ? 'armv7l' : 'armv6l';
  return { '386': 'i386', arm64: 'aarch64' }[architecture] ?? architecture;
}

function checkLabels(labels: ReadonlyMap<string, string>, text: string): void {
  if (labels.size > MAX_LABELS) throw invalid(text, `has more than ${MAX_LABELS} labels`);
  for (const [label, value] of labels) {
    const shown = JSON.stringify(label.slice(0, 80));
    if (!isAcIdentifier(label) || label === 'name') throw invalid(text, `${shown} is not the name of a label`);
    if (value.length > MAX_VALUE) throw invalid(text, `the label ${shown} is longer than ${MAX_VALUE} characters`);
    if (UNPRINTABLE.test(value)) throw invalid(text, `the label ${shown} has control characters`);
    // As a part of a URL these two would mean another place.
    if (value === '.' || value === '..') throw invalid(text, `the label ${shown} is ${value}`);
    if (label === 'version' && value === '') throw invalid(text, 'the version is empty');
    if ((label === 'os' || label === 'arch') && !PLATFORM_WORD.test(value))
      throw invalid(text, `the label ${shown} is not valid`);
  }
}

function isDockerReference(text: string): boolean {
  try {
    parseReference(text);
    return true;
  } catch (error) {
    if (isLarderError(error, 'LARDER_REFERENCE_INVALID')) return false;
    throw error;
  }
}

/** At the first separator; undefined after it where there is none. */
function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

function encodeValue(value: string): string {
  return encodeURIComponent(value).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}

function decodeValue(value: string, text: string): string {
  try {
    return decodeURIComponent(value);
  } catch (error) {
    throw invalid(text, 'a "%" that is not followed by two hexadecimal digits of UTF-8', error);
  }
}

function badName(name: string): string {
  if (name === '') return 'has no name';
  if (/[A-Z]/.test(name)) return 'names of Appc images are lower case';
  return `${JSON.stringify(name.slice(0, 80))} is not the name of an Appc image`;
}

function invalid(text: string, why: string, cause?: unknown): LarderError {
  return new LarderError('LARDER_REFERENCE_INVALID', `Appc image: ${shownText(text)}: ${why}`, {
    hint: 'write appc:NAME[:VERSION][,LABEL=VALUE…][@sha512-HEX], for example appc:example.com/app:1.0,os=linux',
    ...(cause === undefined ? {} : { cause }),
  });
}
