import type { Digest } from '../spec/digest.js';
import { formatReference, type Reference, withDigest } from '../spec/reference.js';
import type { BlobGrant, BlobRequest } from './blob.js';
import type { RegistryHost } from './registry-host.js';
import { RequestPlan } from './request-plan.js';

export interface BrokerSettings {
  readonly reference: Reference;
  readonly host: () => Promise<RegistryHost>;
  readonly signal: AbortSignal | undefined;
}

/**
 * Grants the requests for the blobs of one repository, which other threads send. Main thread only: the client's
 * tokens stay here, and leave only within the headers of one granted request.
 */
export class BlobBroker {
  readonly #settings: BrokerSettings;
  readonly #plans = new Map<Digest, RequestPlan>();

  constructor(settings: BrokerSettings) {
    this.#settings = settings;
  }

  /** Rejects with the error that ends the fetch: LARDER_REGISTRY_*, LARDER_BLOB_NOT_FOUND, LARDER_TIMEOUT, LARDER_ABORTED. */
  async ask(request: BlobRequest): Promise<BlobGrant> {
    const { signal } = this.#settings;
    const known = request.attempt === 0 ? undefined : this.#plans.get(request.digest);
    if (known !== undefined) return known.next(request.previous, signal);
    const plan = new RequestPlan(await this.#settings.host(), blobTarget(this.#settings.reference, request.digest));
    this.#plans.set(request.digest, plan);
    return plan.next(undefined, signal);
  }
}

export function blobTarget(reference: Reference, digest: Digest) {
  return {
    kind: 'registry',
    doing: `fetch a blob: ${formatReference(withDigest(reference, digest))}`,
    path: `/v2/${reference.path}/blobs/${digest}`,
    scope: pullScope(reference),
    notFound: 'LARDER_BLOB_NOT_FOUND',
  } as const;
}

/** What to ask a token for. */
export function pullScope(reference: Reference): string {
  return `repository:${reference.path}:pull`;
}
