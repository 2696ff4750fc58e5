/**
 * Where an Appc image may be (Appc specification 0.8.11, discovery.md): the names that simple discovery gives it, and
 * what the `ac-discovery` meta tags of a page say. Text in, text out; nothing here opens anything.
 */
import { LarderError } from '../errors.js';
import { type AppcRequest, formatAppcRequest } from '../spec/appc-name.js';

/** An image, or its detached signature. */
export type AciExtension = 'aci' | 'aci.asc';

/** One place of an image and its signature. */
export interface AciUrls {
  readonly aci: string;
  readonly signature: string;
}

export interface Discovered {
  /** Those of the longest matching prefix, HTTPS first, else as the page has them. */
  readonly urls: readonly AciUrls[];
  /** Where the site offers keys. Nobody trusts them for that alone. */
  readonly keyUrls: readonly string[];
}

/** What is read of a page. */
export const MAX_PAGE_BYTES = 512 * 1024;
const MAX_META_TAGS = 1000;
const MAX_CANDIDATES = 8;
const MAX_URL = 8192;
/** Requests that a single name may cost. */
const MAX_LEVELS = 16;

/** `{name}-{version}-{os}-{arch}.{ext}` with the labels as they are: for directories. Rejects with LARDER_REFERENCE_INVALID. */
export function simplePath(prefix: string, request: AppcRequest, ext: AciExtension): string {
  for (const label of ['version', 'os', 'arch']) {
    // A file name; and hadoop reads all but the slash as a pattern.
    if (!/[/\\*?[\]{}]/.test(request.labels[label] ?? '')) continue;
    throw new LarderError(
      'LARDER_REFERENCE_INVALID',
      `find the Appc image: ${formatAppcRequest(request)}: the label ${label} cannot be part of a file name`,
    );
  }
  const { version, os, arch } = request.labels;
  return `${prefix}${request.name}-${version}-${os}-${arch}.${ext}`;
}

/** The same for a server: the labels are encoded. A bare `https://` takes the host from the image's name, as Mesos did. */
export function simpleUrl(prefix: string, request: AppcRequest, ext: AciExtension): string {
  if (/^https?:\/\/$/i.test(prefix) && !request.name.includes('/')) {
    throw new LarderError(
      'LARDER_REFERENCE_INVALID',
      `find the Appc image: ${formatAppcRequest(request)}: its name does not begin with a host`,
      { hint: 'write appc:HOST/NAME, or set appc_simple_discovery_uri_prefix to where images are' },
    );
  }
  const [version, os, arch] = ['version', 'os', 'arch'].map((label) => encodeURIComponent(request.labels[label] ?? ''));
  return `${prefix}${request.name}-${version}-${os}-${arch}.${ext}`;
}

/** The names whose pages may tell: first the whole, then each parent, the host last. */
export function discoveryLevels(name: string): string[] {
  const parts = name.split('/');
  const all = parts.map((_, i) => parts.slice(0, parts.length - i).join('/'));
  return all.length <= MAX_LEVELS ? all : [...all.slice(0, MAX_LEVELS - 1), ...all.slice(-1)];
}

/** What a page says about an image. */
export function discoverIn(page: string, request: AppcRequest): Discovered {
  const tags = parseMetaTags(page).flatMap(({ name, content }) => {
    const [prefix, url, ...rest] = content.trim().split(/\s+/);
    const matches = prefix !== undefined && prefix !== '' && request.name.startsWith(prefix);
    return matches && url !== undefined && rest.length === 0 ? [{ name, prefix, url }] : [];
  });
  const urls = longest(tags.filter(({ name }) => name === 'ac-discovery')).flatMap(({ url }) => {
    const [aci, signature] = [expandTemplate(url, request, 'aci'), expandTemplate(url, request, 'aci.asc')];
    return aci === undefined || signature === undefined || aci === signature ? [] : [{ aci, signature }];
  });
  const isSecure = ({ aci }: AciUrls): boolean => aci.startsWith('https:');
  return {
    urls: [...urls.filter(isSecure), ...urls.filter((each) => !isSecure(each))].slice(0, MAX_CANDIDATES),
    keyUrls: longest(tags.filter(({ name }) => name === 'ac-discovery-pubkeys'))
      .map(({ url }) => url)
      .filter((url) => /^https?:\/\//.test(url) && URL.canParse(url))
      .slice(0, MAX_CANDIDATES),
  };
}

/**
 * The template with its names replaced by the image's labels, encoded; undefined where a name is none of its labels, or
 * the result is no URL that is fetched from.
 */
export function expandTemplate(template: string, request: AppcRequest, ext: AciExtension): string | undefined {
  const { name, labels } = request;
  let whole = true;
  const text = template.replace(/\{([^{}]*)\}/g, (_, key: string) => {
    if (key === 'name') return name;
    if (key === 'ext') return ext;
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
    whole &&= value !== undefined;
    return encodeURIComponent(value ?? '');
  });
  if (!whole || text.length > MAX_URL || !URL.canParse(text)) return undefined;
  const { protocol, username, password, href } = new URL(text);
  const fetchable = (protocol === 'https:' || protocol === 'http:') && username === '' && password === '';
  return fetchable ? href : undefined;
}

interface MetaTag {
  readonly name: string;
  readonly content: string;
}

/** Elements whose content is text, whatever it looks like (HTML, "Parsing", 13.2.6.2 and 13.2.6.4). */
const RAW_TEXT = new Set([
  'iframe',
  'noembed',
  'noframes',
  'noscript',
  'plaintext',
  'script',
  'style',
  'textarea',
  'title',
  'xmp',
]);

/**
 * The meta tags of a page's head. Comments, scripts and values of other tags' attributes are not taken for tags; what
 * comes after the head is the place of those who write there. Linear in the text, whatever it is.
 */
export function parseMetaTags(html: string): MetaTag[] {
  const found: MetaTag[] = [];
  // Closing tags of raw text are looked for without regard to case.
  const lower = html.replace(/[A-Z]/g, (c) => c.toLowerCase());
  for (let i = html.indexOf('<'); i >= 0 && found.length < MAX_META_TAGS; i = html.indexOf('<', i)) {
    if (html.startsWith('<!--', i)) {
      i = after(html, '-->', i + 2);
      continue;
    }
    const tag = /^<([a-z][a-z0-9-]*)/.exec(lower.slice(i, i + 40))?.[1];
    if (tag === undefined) {
      if (/^<\/(?:head|body|html)\b/.test(lower.slice(i, i + 8))) break;
      i = /^<[!?/]/.test(html.slice(i, i + 2)) ? after(html, '>', i) : i + 1;
      continue;
    }
    if (tag === 'body') break;
    const attributes = parseAttributes(html, i + 1 + tag.length);
    if (attributes === undefined) break;
    i = attributes.end;
    if (tag === 'meta') found.push({ name: attributes.of('name'), content: attributes.of('content') });
    if (RAW_TEXT.has(tag)) i = after(lower, `</${tag}`, i);
  }
  return found;
}

interface Attributes {
  readonly of: (name: string) => string;
  /** Behind the tag's `>`. */
  readonly end: number;
}

/** From behind a tag's name; undefined when the tag does not end. The first of two attributes of a name counts. */
function parseAttributes(html: string, start: number): Attributes | undefined {
  const values = new Map<string, string>();
  let i = start;
  for (;;) {
    i = skip(html, i, /[^\s/]/g);
    if (i >= html.length) return undefined;
    if (html[i] === '>') return { of: (name) => decodeEntities(values.get(name) ?? ''), end: i + 1 };
    const nameEnd = skip(html, i + 1, /[\s/>=]/g);
    const name = html.slice(i, nameEnd).toLowerCase();
    i = skip(html, nameEnd, /\S/g);
    let value = '';
    if (html[i] === '=') {
      i = skip(html, i + 1, /\S/g);
      const quote = html[i];
      const isQuoted = quote === '"' || quote === "'";
      const end = isQuoted ? html.indexOf(quote, i + 1) : skip(html, i, /[\s>]/g);
      if (end < 0) return undefined;
      value = html.slice(isQuoted ? i + 1 : i, end);
      i = isQuoted ? end + 1 : end;
    }
    if (!values.has(name)) values.set(name, value);
  }
}

/** The first place from `start` on where `until` matches; the text's end where none does. */
function skip(html: string, start: number, until: RegExp): number {
  until.lastIndex = start;
  return until.exec(html)?.index ?? html.length;
}

function after(text: string, mark: string, from: number): number {
  const at = text.indexOf(mark, from);
  return at < 0 ? text.length : at + mark.length;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** Those that URLs and names are written with; others stay as they are. */
function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(amp|lt|gt|quot|apos));/g, (all, decimal, hex, name) => {
    if (typeof name === 'string') return ENTITIES[name] ?? all;
    const code = typeof decimal === 'string' ? Number(decimal) : Number.parseInt(String(hex), 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });
}

function longest<T extends { readonly prefix: string }>(tags: readonly T[]): readonly T[] {
  const length = Math.max(0, ...tags.map(({ prefix }) => prefix.length));
  return tags.filter(({ prefix }) => prefix.length === length);
}
