/**
 * What every store does around its pulls: finds the record of an image, puts what it names under the caller's lease
 * before it trusts it, and lets those who want the same image share one pull (I5). Each waiter's lease is among those
 * that the image is under when the pull ends, so that nothing takes it between the pull and its use.
 */
import { type SharedWork, SingleFlight } from '../concurrency.js';
import type { ContentStore } from '../content/content-store.js';
import { isLarderError, LarderError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import type { LayerStore } from '../layers/layer-store.js';
import type { StoreLock } from '../linux/store-lock.js';
import type { Lease, Leases } from '../metadata/leases.js';
import type { MetadataManager } from '../metadata/metadata-manager.js';
import { blobsOf, type ImageRecord } from '../metadata/records.js';
import type { DiffId, Digest } from '../spec/digest.js';
import type { RuntimeConfig } from '../spec/runtime.js';
import type { RunningPulls } from './pulls/running-pulls.js';
import type { HeldImage, ImageInfo } from './store.js';
import { type SuspicionParts, settleSuspicions } from './suspect-layers.js';

export interface ReadThroughParts extends SuspicionParts {
  readonly lock: StoreLock;
  readonly metadata: MetadataManager;
  readonly leases: Leases;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly pulls: RunningPulls;
}

export interface Sought {
  /** Canonical. */
  readonly reference: string;
  readonly platform: string;
  readonly cached: boolean;
  /** Whether a record that is here may be answered; asked before any pull. Left out: it may where `cached` says so. */
  readonly isCurrent?: (record: ImageRecord) => Promise<boolean>;
}

/** A pull that has not begun. */
export interface Fetch {
  /** Callers with the same key share one run. */
  readonly key: string;
  /** Commits the image and, with {@link extendLeases}, puts it under the leases of those who wait for it. */
  run(waiting: ReadonlySet<Lease>, shared: SharedWork): Promise<ImageRecord>;
}

/** A record found but pruned before it could be leased is looked for again; more often than this is a bug. */
const MAX_ATTEMPTS = 5;

export class ReadThrough {
  readonly #parts: ReadThroughParts;
  readonly #pulls = new SingleFlight<string, ImageRecord>();
  /** Leases of those who wait for each pull. */
  readonly #waiting = new Map<string, Set<Lease>>();

  constructor(parts: ReadThroughParts) {
    this.#parts = parts;
  }

  /** The image under a lease of its own. `fetch` is asked only when something must be pulled. */
  async acquire(
    sought: Sought,
    fetch: () => Promise<Fetch>,
    infoOf: (record: ImageRecord) => Promise<ImageInfo>,
    options: OperationOptions,
  ): Promise<HeldImage> {
    const lease = await this.#parts.leases.create();
    try {
      const record = await this.#find(lease, sought, fetch, options);
      return { info: await infoOf(record), record, [Symbol.asyncDispose]: () => lease.release() };
    } catch (error) {
      await lease.release();
      throw error;
    }
  }

  async #find(
    lease: Lease,
    { reference, platform, cached, isCurrent }: Sought,
    fetch: () => Promise<Fetch>,
    options: OperationOptions,
  ): Promise<ImageRecord> {
    const mayAnswer = isCurrent ?? (async () => cached);
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const known = this.#parts.metadata.get(reference, true, platform);
      const isHere = known !== undefined && (await this.#leased(lease, known, options));
      // What was pulled just now is current, whatever has changed since.
      if (isHere && (attempt > 0 || (await mayAnswer(known)))) {
        // What was pulled just now was told of by its pull.
        if (attempt === 0) {
          options.onEvent?.({ type: 'resolved', reference, digest: digestOfImage(known), platform, cached: true });
        }
        await this.#parts.metadata.touch({ reference, platform });
        return known;
      }
      await this.#pullFor(lease, { reference, platform }, await fetch(), options);
    }
    throw new LarderError('LARDER_INTERNAL', `pull ${reference}: pruned again each time it was there`);
  }

  /**
   * Whether all of the image is here, found out after the lease protects it. A prune that is under way may not have seen
   * the lease: only what it left counts, so the look comes under the store lock.
   */
  async #leased(lease: Lease, record: ImageRecord, options: OperationOptions): Promise<boolean> {
    const { lock, metadata, layers, content } = this.#parts;
    const { signal } = options;
    await lease.add(namesOf(record));
    // Where a check found wrong bytes, they are read again before anybody is given them.
    await settleSuspicions(record.layers, this.#parts, options);
    using _shared = await lock.shared(signal === undefined ? {} : { signal });
    const still = metadata.get(record.reference, true, record.platform);
    if (still?.manifest !== record.manifest || still.config !== record.config) return false;
    for (const { diffId } of record.layers) if (!(await layers.has(diffId))) return false;
    for (const digest of blobsOf(record)) if (!(await isSound(content, digest))) return false;
    return true;
  }

  /** Joins or starts the image's pull. */
  async #pullFor(
    lease: Lease,
    image: Pick<Sought, 'reference' | 'platform'>,
    { key, run }: Fetch,
    options: OperationOptions,
  ): Promise<void> {
    const waiting = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiting.add(lease));
    try {
      const { pulls } = this.#parts;
      await this.#pulls.run(key, (shared) => pulls.tell(image, shared, (told) => run(waiting, told)), options);
    } finally {
      waiting.delete(lease);
      if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
    }
  }
}

/** By what people know the image: what its reference resolved to, or the id of an Appc image. */
function digestOfImage({ type, digest, layers }: ImageRecord): Digest {
  return type === 'appc' ? (layers.at(-1)?.digest ?? digest) : digest;
}

/** What a lease on an image names. */
export function namesOf(record: ImageRecord): {
  readonly layers: readonly DiffId[];
  readonly blobs: readonly Digest[];
} {
  return { layers: record.layers.map((layer) => layer.diffId), blobs: blobsOf(record) };
}

/** Puts the image under the waiters' leases, some of which may have been given back meanwhile. */
export async function extendLeases(waiting: ReadonlySet<Lease>, record: ImageRecord): Promise<void> {
  for (const lease of waiting) {
    try {
      await lease.add(namesOf(record));
    } catch (error) {
      if (waiting.has(lease)) throw error;
    }
  }
}

/** How the image asks to be run. One that cannot be run can still be looked at: then undefined, and a warning. */
export function runtimeUnlessBroken(
  read: () => RuntimeConfig | undefined,
  { onEvent }: OperationOptions,
): RuntimeConfig | undefined {
  try {
    return read();
  } catch (error) {
    if (!isLarderError(error, 'LARDER_CONFIG_INVALID')) throw error;
    onEvent?.({ type: 'warning', message: `${error.message}: it can be mounted but not run` });
    return undefined;
  }
}

/** A damaged document counts as missing: the pull that follows replaces it. */
export async function isSound(content: ContentStore, digest: Digest): Promise<boolean> {
  try {
    return (await content.find(digest)) !== undefined;
  } catch (error) {
    if (isLarderError(error, 'LARDER_DIGEST_MISMATCH', 'LARDER_SIZE_MISMATCH')) return false;
    throw error;
  }
}
