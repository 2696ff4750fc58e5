/**
 * What a repository is known to have: what its images in the store name, document by document, and what was fetched from
 * it meanwhile. That its registry says so, or a document of it, is no proof where the bytes here came from elsewhere: anybody
 * may have a registry, and name digests in it. Only who has sent the bytes has them.
 */
import { isLarderError } from '../errors.js';
import type { ImageRecord } from '../metadata/records.js';
import type { Digest } from '../spec/digest.js';
import { type DocumentLinks, parseLinks } from '../spec/manifest.js';
import { formatReference, type Reference } from '../spec/reference.js';
import { repositoryOf } from './access.js';
import { BoundedMap } from './bounded-map.js';

export interface RepositoriesParts {
  /** As `ContentStore.find`. */
  readonly findBlob: (digest: Digest) => Promise<Buffer | undefined>;
  /** As `MetadataManager.inRepository`. */
  readonly recordsOf: (repository: string) => readonly ImageRecord[];
  /** Whose image a tag means where the store has it for several. */
  readonly platform: string;
}

/** A document that the store has. */
export interface StoredDocument {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** What a document of the repository says of a blob. */
export interface KnownBlob {
  readonly role: 'config' | 'layer';
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  /** Bytes of it that are here may be served under this name, so many; the rest has to come from its registry. */
  readonly provenBytes: number;
}

const MAX_PARSED = 1000;
const MAX_REPOSITORIES = 1000;
const MAX_LEARNED = 200;
const MAX_FETCHED = 50_000;
/** An image index of a thousand entries, and then some. */
const MAX_WALK = 5000;
const NO_LINKS: DocumentLinks = {
  mediaType: 'application/vnd.oci.image.index.v1+json',
  manifests: [],
  layers: [],
};

export class Repositories {
  readonly #parts: RepositoriesParts;
  /** By digest, so they never change. */
  readonly #parsed = new BoundedMap<Digest, DocumentLinks>(MAX_PARSED);
  /** Documents that were fetched from the repository. */
  readonly #learned = new BoundedMap<string, BoundedMap<Digest, true>>(MAX_REPOSITORIES);
  /** Repository and digest -> size of the blob, as the registry says. */
  readonly #sizes = new BoundedMap<string, number>(MAX_PARSED);
  /** Repository and digest -> bytes of the blob that were fetched from there. */
  readonly #fetched = new BoundedMap<string, number>(MAX_FETCHED);
  /** What tags meant last. */
  readonly #tags = new BoundedMap<string, Digest>(MAX_REPOSITORIES);

  constructor(parts: RepositoriesParts) {
    this.#parts = parts;
  }

  learnDocument(reference: Reference, digest: Digest): void {
    const repository = repositoryOf(reference);
    const known = this.#learned.get(repository) ?? new BoundedMap(MAX_LEARNED);
    known.set(digest, true);
    this.#learned.set(repository, known);
    if (reference.digest === undefined) this.#tags.set(formatReference(reference), digest);
  }

  learnBlob(reference: Reference, digest: Digest, size: number): void {
    this.#sizes.set(`${repositoryOf(reference)} ${digest}`, size);
  }

  /** So many bytes of the blob came from the repository, from its first one on. */
  learnBytes(reference: Reference, digest: Digest, bytes: number): void {
    this.#fetched.set(`${repositoryOf(reference)} ${digest}`, bytes);
  }

  /** What the tag meant when it was last asked for, here or by a pull. */
  lastMeaning(reference: Reference): Digest | undefined {
    const name = formatReference(reference);
    const known = this.#tags.get(name);
    if (known !== undefined) return known;
    const records = this.#parts.recordsOf(repositoryOf(reference)).filter((record) => record.reference === name);
    return (records.find(({ platform }) => platform === this.#parts.platform) ?? records[0])?.digest;
  }

  /** The document, where the repository is known to have it and the store does. */
  async findDocument(reference: Reference, digest: Digest): Promise<StoredDocument | undefined> {
    const repository = repositoryOf(reference);
    if (this.#learned.get(repository)?.has(digest) === true) return this.readDocument(digest);
    for await (const { digest: each } of this.#walk(repository)) {
      if (each === digest) return this.readDocument(digest);
    }
    return undefined;
  }

  /** For a digest that the repository is known to have. */
  async readDocument(digest: Digest): Promise<StoredDocument | undefined> {
    const bytes = await this.#parts.findBlob(digest);
    if (bytes === undefined) return undefined;
    const { mediaType } = parseLinks(bytes, undefined, `read the manifest: ${digest}`);
    return { digest, mediaType, bytes };
  }

  async findBlob(reference: Reference, digest: Digest): Promise<KnownBlob | undefined> {
    const repository = repositoryOf(reference);
    for await (const { links } of this.#walk(repository)) {
      const named = namedIn(links, digest);
      if (named !== undefined) return { ...named, provenBytes: named.size };
    }
    const provenBytes = this.#fetched.get(`${repository} ${digest}`) ?? 0;
    for (const document of this.#learned.get(repository)?.keys() ?? []) {
      const links = await this.#linksOf(document);
      const named = links === undefined ? undefined : namedIn(links, digest);
      if (named !== undefined) return { ...named, provenBytes };
    }
    const size = this.#sizes.get(`${repository} ${digest}`);
    return size === undefined ? undefined : { role: 'layer', mediaType: '', digest, size, provenBytes };
  }

  /** All documents that the repository's images in the store lead to, as far as they are here. */
  async *#walk(repository: string): AsyncGenerator<{ readonly digest: Digest; readonly links: DocumentLinks }> {
    const records = this.#parts.recordsOf(repository);
    const queue = new Set<Digest>(records.flatMap(({ digest, manifest }) => [digest, manifest]));
    let walked = 0;
    // A set is walked in the order of insertion, what is added on the way included.
    for (const digest of queue) {
      if (++walked > MAX_WALK) return;
      const links = await this.#linksOf(digest);
      if (links === undefined) continue;
      yield { digest, links };
      for (const entry of links.manifests) queue.add(entry.digest);
    }
  }

  async #linksOf(digest: Digest): Promise<DocumentLinks | undefined> {
    const known = this.#parsed.get(digest);
    if (known !== undefined) return known;
    const bytes = await this.#parts.findBlob(digest);
    if (bytes === undefined) return undefined;
    const links = linksOr(bytes, NO_LINKS);
    this.#parsed.set(digest, links);
    return links;
  }
}

function namedIn({ config, layers }: DocumentLinks, digest: Digest): Omit<KnownBlob, 'provenBytes'> | undefined {
  if (config?.digest === digest) return { ...config, role: 'config' };
  const layer = layers.find((each) => each.digest === digest);
  return layer === undefined ? undefined : { ...layer, role: 'layer' };
}

/** Schema 1 names nothing that is served. */
function linksOr(bytes: Uint8Array, otherwise: DocumentLinks): DocumentLinks {
  try {
    return parseLinks(bytes);
  } catch (error) {
    if (isLarderError(error, 'LARDER_MEDIA_TYPE_UNSUPPORTED', 'LARDER_MANIFEST_INVALID')) return otherwise;
    throw error;
  }
}
