import { LarderError } from '../errors.js';
import type { Digest } from '../spec/digest.js';
import { formatReference, type Reference, withDigest } from '../spec/reference.js';
import type { BlobGrant, BlobRequest } from './blob.js';
import type { Connections, Slot } from './connections.js';
import { type Endpoint, originOf } from './hosts/endpoint.js';
import type { MirrorPlan } from './mirror-plan.js';
import type { Plan } from './request-plan.js';

export interface BrokerSettings {
  readonly reference: Reference;
  readonly planFor: (digest: Digest, slot: Slot | undefined) => Promise<MirrorPlan>;
  /** Left out: nobody counts its connections. */
  readonly connections: Connections | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Grants the requests for the blobs of one repository, which other threads send. Main thread only: the client's
 * tokens stay here, and leave only within the headers of one granted request.
 */
export class BlobBroker implements Disposable {
  readonly #settings: BrokerSettings;
  readonly #plans = new Map<Digest, MirrorPlan>();
  readonly #slots: Slot[] = [];
  /** Of further connections, by digest and lane: at which host it asks, and how. */
  readonly #lanes = new Map<string, { readonly host: string; readonly plan: Plan }>();
  readonly #laneSlots = new Map<string, Slot>();
  #isOver = false;

  constructor(settings: BrokerSettings) {
    this.#settings = settings;
  }

  /** Rejects with the error that ends the fetch: LARDER_REGISTRY_*, LARDER_BLOB_NOT_FOUND, LARDER_TIMEOUT, LARDER_ABORTED. */
  async ask(request: BlobRequest): Promise<BlobGrant> {
    const { signal } = this.#settings;
    const known = this.#plans.get(request.digest);
    if (request.lane !== undefined) return this.#askForLane(request, request.lane);
    // Who was passed over for this blob is not asked for it again.
    if (known !== undefined) return known.next(request.attempt === 0 ? undefined : request.previous, signal);
    const slot = this.#settings.connections?.slot('layer');
    if (slot !== undefined) this.#slots.push(slot);
    const plan = await this.#settings.planFor(request.digest, slot);
    this.#plans.set(request.digest, plan);
    return plan.next(undefined, signal);
  }

  /** At the host that gives the blob, with redirects of its own, which are followed once for all of a lane's requests. */
  async #askForLane({ digest, attempt, previous }: BlobRequest, lane: number): Promise<BlobGrant> {
    const { signal } = this.#settings;
    const key = `${digest} ${lane}`;
    const beside = this.#mustHavePlan(digest);
    const { host } = beside;
    const known = attempt === 0 ? undefined : this.#lanes.get(key);
    // Who is not asked for the blob any more is not asked for its parts.
    const isSame = known?.host === host;
    const plan = isSame ? known.plan : await beside.beside(signal);
    this.#lanes.set(key, { host, plan });
    const grant = await plan.next(isSame ? previous : undefined, signal);
    return this.#hasRoom(key, host) ? grant : { ...grant, connections: 1 };
  }

  /** A further connection never waits for one: where there is none to spare, its blob does without it. */
  #hasRoom(key: string, host: string): boolean {
    const { connections } = this.#settings;
    if (connections === undefined || this.#laneSlots.has(key)) return true;
    // Whoever asked may have left meanwhile: nobody would give it back.
    const slot = this.#isOver ? undefined : connections.spareSlot(host);
    if (slot !== undefined) this.#laneSlots.set(key, slot);
    return slot !== undefined;
  }

  #mustHavePlan(digest: Digest): MirrorPlan {
    const plan = this.#plans.get(digest);
    if (plan !== undefined) return plan;
    throw new LarderError('LARDER_INTERNAL', `fetch a part of a blob: ${digest}: before the blob was asked for`);
  }

  /** What came for the blob was wrong: whether another host can be asked for it, which the next request then does. */
  passOver(digest: Digest, error: unknown): boolean {
    return this.#plans.get(digest)?.passOver(error) ?? false;
  }

  /** No body of a request that it granted is read any more. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const slot of [...this.#slots, ...this.#laneSlots.values()]) slot[Symbol.dispose]();
  }
}

/** `at` is where the blob is asked for, `reference` what it is called. */
export function blobTarget(reference: Reference, digest: Digest, at = originOf(reference)) {
  return {
    kind: 'registry',
    doing: `fetch a blob: ${formatReference(withDigest(reference, digest))}`,
    path: pathAt(at, `blobs/${digest}`),
    scope: pullScope(at),
    notFound: 'LARDER_BLOB_NOT_FOUND',
  } as const;
}

/** What to ask a token for. */
export function pullScope({ repository }: Endpoint): string {
  return `repository:${repository}:pull`;
}

/** Path and query of a thing of the repository. */
export function pathAt({ server, repository }: Endpoint, thing: string): string {
  const query = server.namespace === undefined ? '' : `?ns=${encodeURIComponent(server.namespace)}`;
  return `${server.apiRoot}/${repository}/${thing}${query}`;
}
