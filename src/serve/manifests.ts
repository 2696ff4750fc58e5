/**
 * Manifests and image indexes: by digest out of the store where the repository is known to have it; a tag is what its
 * registry says that it is, and what it was last where the registry cannot be reached.
 */
import { isLarderError, LarderError } from '../errors.js';
import type { Digest } from '../spec/digest.js';
import { formatReference, type Reference, withDigest } from '../spec/reference.js';
import type { Repositories, StoredDocument } from './repositories.js';
import type { Upstream } from './upstream.js';

export interface ManifestsParts {
  readonly repositories: Repositories;
  /** As `ContentStore.put`. */
  readonly putBlob: (bytes: Uint8Array, digest: Digest) => Promise<unknown>;
}

/** How long a registry may take to say what a tag means, where the store knows what it meant. */
const FRESHNESS_MS = 5000;

export class Manifests {
  readonly #parts: ManifestsParts;

  constructor(parts: ManifestsParts) {
    this.#parts = parts;
  }

  /** Rejects with LARDER_REGISTRY_*, LARDER_IMAGE_NOT_FOUND, LARDER_OFFLINE, LARDER_MANIFEST_INVALID, … */
  async get(reference: Reference, upstream: Upstream, signal: AbortSignal): Promise<StoredDocument> {
    const { digest } = reference;
    return digest === undefined
      ? this.#byTag(reference, upstream, signal)
      : this.#byDigest(withDigest(reference, digest), digest, upstream, signal);
  }

  async #byDigest(reference: Reference, digest: Digest, upstream: Upstream, signal: AbortSignal) {
    const { repositories } = this.#parts;
    return (await repositories.findDocument(reference, digest)) ?? this.#fetch(reference, upstream, signal);
  }

  async #byTag(reference: Reference, upstream: Upstream, signal: AbortSignal): Promise<StoredDocument> {
    const { repositories } = this.#parts;
    const last = repositories.lastMeaning(reference);
    const stored = last === undefined ? undefined : await repositories.readDocument(last);
    if (stored === undefined) return this.#fetchTag(reference, upstream, signal);
    const soon = AbortSignal.any([signal, AbortSignal.timeout(FRESHNESS_MS)]);
    try {
      return await this.#fetchTag(reference, upstream, soon);
    } catch (error) {
      if (signal.aborted || !isUnreachable(error)) throw error;
      return stored;
    }
  }

  /** One HEAD where the store has what the tag means now. */
  async #fetchTag(reference: Reference, upstream: Upstream, signal: AbortSignal): Promise<StoredDocument> {
    const { repositories } = this.#parts;
    const digest = await upstream.digestOf(reference, { signal });
    // What a registry says costs nothing: a document that did not come from it is fetched from it.
    const stored = digest === undefined ? undefined : await repositories.findDocument(reference, digest);
    if (stored === undefined) return this.#fetch(reference, upstream, signal);
    repositories.learnDocument(reference, stored.digest);
    return stored;
  }

  async #fetch(reference: Reference, upstream: Upstream, signal: AbortSignal): Promise<StoredDocument> {
    const document = await upstream.document(reference, { signal });
    const { digest, bytes } = document;
    if (reference.digest !== undefined && reference.digest !== digest) throw wrong(reference);
    await this.#parts.putBlob(bytes, digest);
    this.#parts.repositories.learnDocument(reference, digest);
    return document;
  }
}

/** It says nothing of the image that its registry is away, or that nobody may be asked. */
function isUnreachable(error: unknown): boolean {
  return isLarderError(error) && (error.kind === 'unavailable' || error.kind === 'aborted');
}

function wrong(reference: Reference): LarderError {
  return new LarderError('LARDER_DIGEST_MISMATCH', `serve ${formatReference(reference)}: another manifest came`);
}
