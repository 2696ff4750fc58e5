/**
 * What a repository is known to have: what its images in the store name, document by document, and what its registry has
 * said meanwhile. That some other repository has a digest says nothing: bytes are served under the names that they have.
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
}

const MAX_PARSED = 1000;
const MAX_REPOSITORIES = 1000;
const MAX_LEARNED = 200;
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
  /** Documents that the registry said the repository has. */
  readonly #learned = new BoundedMap<string, BoundedSet>(MAX_REPOSITORIES);
  /** Repository and digest -> size: the same of blobs. */
  readonly #sizes = new BoundedMap<string, number>(MAX_PARSED);
  /** What tags meant last. */
  readonly #tags = new BoundedMap<string, Digest>(MAX_REPOSITORIES);

  constructor(parts: RepositoriesParts) {
    this.#parts = parts;
  }

  learnDocument(reference: Reference, digest: Digest): void {
    const repository = repositoryOf(reference);
    const known = this.#learned.get(repository) ?? new BoundedSet(MAX_LEARNED);
    known.add(digest);
    this.#learned.set(repository, known);
    if (reference.digest === undefined) this.#tags.set(formatReference(reference), digest);
  }

  learnBlob(reference: Reference, digest: Digest, size: number): void {
    this.#sizes.set(`${repositoryOf(reference)} ${digest}`, size);
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
    for await (const { digest: each } of this.#walk(repositoryOf(reference))) {
      if (each === digest) return this.readDocument(digest);
    }
    return undefined;
  }

  /** Whoever has it: for what the registry has just said of the repository. */
  async readDocument(digest: Digest): Promise<StoredDocument | undefined> {
    const bytes = await this.#parts.findBlob(digest);
    if (bytes === undefined) return undefined;
    const { mediaType } = parseLinks(bytes, undefined, `read the manifest: ${digest}`);
    return { digest, mediaType, bytes };
  }

  async findBlob(reference: Reference, digest: Digest): Promise<KnownBlob | undefined> {
    for await (const { links } of this.#walk(repositoryOf(reference))) {
      if (links.config?.digest === digest) return { ...links.config, role: 'config' };
      const layer = links.layers.find((each) => each.digest === digest);
      if (layer !== undefined) return { ...layer, role: 'layer' };
    }
    const size = this.#sizes.get(`${repositoryOf(reference)} ${digest}`);
    return size === undefined ? undefined : { role: 'layer', mediaType: '', digest, size };
  }

  /** Everything that is known of the repository and in the store. */
  async *#walk(repository: string): AsyncGenerator<{ readonly digest: Digest; readonly links: DocumentLinks }> {
    const records = this.#parts.recordsOf(repository);
    const roots = records.flatMap(({ digest, manifest }) => [digest, manifest]);
    const queue = new Set<Digest>([...(this.#learned.get(repository)?.values() ?? []), ...roots]);
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

/** Schema 1 names nothing that is served. */
function linksOr(bytes: Uint8Array, otherwise: DocumentLinks): DocumentLinks {
  try {
    return parseLinks(bytes);
  } catch (error) {
    if (isLarderError(error, 'LARDER_MEDIA_TYPE_UNSUPPORTED', 'LARDER_MANIFEST_INVALID')) return otherwise;
    throw error;
  }
}

class BoundedSet {
  readonly #values = new Set<Digest>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  add(value: Digest): void {
    this.#values.delete(value);
    this.#values.add(value);
    const [oldest] = this.#values;
    if (this.#values.size > this.#max && oldest !== undefined) this.#values.delete(oldest);
  }

  values(): Iterable<Digest> {
    return this.#values;
  }
}
