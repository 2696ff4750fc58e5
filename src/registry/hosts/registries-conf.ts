/**
 * `registries.conf`, version 2, of podman and its kin (containers-registries.conf(5)): prefixes, locations, mirrors,
 * insecure and blocked registries. Documents that come later replace the registries of the same prefix.
 */
import * as v from 'valibot';
import { LarderError } from '../../errors.js';
import { formatReference, parseReference, type Reference, registryHostOf } from '../../spec/reference.js';
import { assertShape, listOf, mapOf } from '../../spec/shape.js';
import { type Endpoint, originOf, plainServer } from './endpoint.js';

type PullFrom = 'all' | 'digest-only' | 'tag-only';

export interface RegistryEntry {
  /** `host[:port][/path…]`, or `*.host`. */
  readonly prefix: string;
  /** What takes the prefix's place; undefined where only the prefix is a wildcard and nothing is rewritten. */
  readonly location: string | undefined;
  readonly insecure: boolean;
  readonly blocked: boolean;
  readonly mirrors: readonly { readonly location: string; readonly insecure: boolean; readonly pullFrom: PullFrom }[];
  /** The file that says so, for messages. */
  readonly source: string;
}

export interface RegistriesConf {
  readonly registries: readonly RegistryEntry[];
  /** Read and not obeyed: a name means one image, whatever the host is set up for. */
  readonly unqualifiedSearch: readonly string[];
  readonly aliases: Readonly<Record<string, string>>;
}

export const EMPTY_CONF: RegistriesConf = { registries: [], unqualifiedSearch: [], aliases: {} };

const flag = v.nullish(v.boolean(), false);
const text = v.nullish(v.string(), '');
const PULL_FROM = v.nullish(v.picklist(['', 'all', 'digest-only', 'tag-only']), '');
const MIRROR = v.object({ location: text, insecure: flag, 'pull-from-mirror': PULL_FROM });
const REGISTRY = v.object({
  prefix: text,
  location: text,
  insecure: flag,
  blocked: flag,
  'mirror-by-digest-only': flag,
  mirror: listOf(MIRROR),
});
const DOCUMENT = v.object({
  registry: listOf(REGISTRY),
  registries: v.nullish(v.unknown()),
  'unqualified-search-registries': v.nullish(v.array(v.string())),
  aliases: mapOf(v.string()),
});

/** One document. Rejects with LARDER_CONFIG_INVALID. */
export function parseRegistriesConf(document: unknown, source: string): Partial<RegistriesConf> {
  const doing = `registries configuration: ${source}`;
  const conf = assertShape(DOCUMENT, document, doing, 'LARDER_CONFIG_INVALID');
  if (conf.registries !== undefined && conf.registries !== null) {
    throw new LarderError('LARDER_CONFIG_INVALID', `${doing}: it is of version 1`, {
      hint: 'write [[registry]] tables (containers-registries.conf(5)), or set registries_conf to another file or to none',
    });
  }
  const search = conf['unqualified-search-registries'];
  return {
    registries: conf.registry.map((entry) => parseEntry(entry, source, doing)),
    ...(search === undefined || search === null ? {} : { unqualifiedSearch: search }),
    aliases: conf.aliases,
  };
}

/** What a later document says of a prefix, or of the search, replaces what an earlier one does. */
export function mergeRegistriesConf(base: RegistriesConf, over: Partial<RegistriesConf>): RegistriesConf {
  const later = over.registries ?? [];
  const kept = base.registries.filter(({ prefix }) => !later.some((entry) => entry.prefix === prefix));
  return {
    registries: [...kept, ...later],
    unqualifiedSearch: over.unqualifiedSearch ?? base.unqualifiedSearch,
    aliases: { ...base.aliases, ...over.aliases },
  };
}

/** The mirrors in order, the registry last. Throws LARDER_POLICY_DENIED where it is blocked, LARDER_CONFIG_INVALID. */
export function endpointsByConf(conf: RegistriesConf, reference: Reference): readonly Endpoint[] {
  const found = entryFor(conf, reference);
  if (found === undefined) return [originOf(reference)];
  const { entry, length } = found;
  if (entry.blocked) {
    throw new LarderError('LARDER_POLICY_DENIED', `pull: ${formatReference(reference)}: blocked by ${entry.source}`, {
      hint: `it has blocked = true for ${entry.prefix}`,
      details: { host: reference.domain },
    });
  }
  const at = (location: string | undefined, insecure: boolean, isMirror: boolean): Endpoint => {
    const place = rewrite(reference, length, location, entry);
    const server = plainServer(registryHostOf(place), { insecure });
    return { server, repository: place.path, isMirror, resolves: true, serves: true };
  };
  const mirrors = entry.mirrors.filter(({ pullFrom }) => mayServe(pullFrom, reference));
  return [
    ...mirrors.map(({ location, insecure }) => at(location, insecure, true)),
    at(entry.location, entry.insecure, false),
  ];
}

function parseEntry(entry: v.InferOutput<typeof REGISTRY>, source: string, doing: string): RegistryEntry {
  const invalid = (why: string): LarderError => new LarderError('LARDER_CONFIG_INVALID', `${doing}: ${why}`);
  const location = parseLocation(entry.location, invalid);
  const prefix = parseLocation(entry.prefix, invalid) || location;
  if (prefix === '') throw invalid('a registry has neither a prefix nor a location');
  const wildcard = prefix.startsWith('*.');
  if (wildcard && /[/@:*]/.test(prefix.slice(2))) throw invalid(`the prefix ${show(prefix)} is not *.domain`);
  const byDigest = entry['mirror-by-digest-only'];
  const mirrors = entry.mirror.map((mirror) => {
    const pullFrom = mirror['pull-from-mirror'];
    if (byDigest && pullFrom !== '')
      throw invalid(`${show(prefix)} has both mirror-by-digest-only and pull-from-mirror`);
    const place = parseLocation(mirror.location, invalid);
    if (place === '') throw invalid(`a mirror of ${show(prefix)} has no location`);
    return {
      location: place,
      insecure: mirror.insecure,
      pullFrom: byDigest ? 'digest-only' : pullFrom || 'all',
    } as const;
  });
  const { insecure, blocked } = entry;
  return { prefix, location: location || (wildcard ? undefined : prefix), insecure, blocked, mirrors, source };
}

function parseLocation(value: string, invalid: (why: string) => LarderError): string {
  const location = value.replace(/\/+$/, '');
  if (location.length > 1024 || /[\s\0-\x1f\x7f]/.test(location) || location.includes('://'))
    throw invalid(`${show(location)} is not host[:port][/path]`);
  return location;
}

/** The entry whose prefix covers most of the reference, and how much that is. */
function entryFor(
  { registries }: RegistriesConf,
  reference: Reference,
): { readonly entry: RegistryEntry; readonly length: number } | undefined {
  let best: { entry: RegistryEntry; length: number } | undefined;
  for (const entry of registries) {
    const length = coveredBy(entry.prefix, reference);
    if (length !== undefined && (best === undefined || length > best.length)) best = { entry, length };
  }
  return best;
}

/** How many characters of the reference's text the prefix covers; undefined when it is not meant. */
function coveredBy(prefix: string, reference: Reference): number | undefined {
  const { domain } = reference;
  if (prefix.startsWith('*.')) {
    const host = domain.replace(/:\d+$/, '');
    return host.endsWith(prefix.slice(1).toLowerCase()) ? host.length : undefined;
  }
  const whole = formatReference(reference);
  if (!whole.startsWith(prefix)) return undefined;
  const next = whole.charAt(prefix.length);
  // A colon after a host begins its port, which makes it another registry; after a path it begins the tag.
  const ends = next === '' || next === '/' || (prefix.includes('/') && (next === ':' || next === '@'));
  return ends ? prefix.length : undefined;
}

function rewrite(reference: Reference, length: number, location: string | undefined, entry: RegistryEntry): Reference {
  if (location === undefined) return reference;
  const text = `${location}${formatReference(reference).slice(length)}`;
  const wrong = (): LarderError =>
    new LarderError(
      'LARDER_CONFIG_INVALID',
      `registries configuration: ${entry.source}: the location ${show(location)} makes no name of ${formatReference(reference)}`,
      { hint: 'a location is host[:port][/path]; a host without a dot needs a port' },
    );
  let place: Reference;
  try {
    place = parseReference(text);
  } catch {
    // What is wrong is the file, not the reference.
    throw wrong();
  }
  const host = text.slice(0, text.indexOf('/')).toLowerCase();
  if (place.domain !== host && !/^(?:index\.)?docker\.io$/.test(host)) throw wrong();
  return place;
}

/** As podman does it, by what the image was asked for with. */
function mayServe(pullFrom: PullFrom, { digest }: Reference): boolean {
  return pullFrom === 'all' || (pullFrom === 'digest-only') === (digest !== undefined);
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
