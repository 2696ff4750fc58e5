/**
 * ▸ The store of Docker and OCI images.
 *
 * Owns nothing on disk itself: it drives the content store (manifests, configs), the layer store (tars, indexes), the
 * merged images and the metadata, in the one order that makes a pull a commit:
 *
 *     lease -> resolve -> documents -> layers (fetch, verify, stage, adopt) -> merge -> record
 *
 * Bytes before the record on the way in (I3): an image is in the store from the instant its record is, and before that
 * everything that was made is garbage that the next prune takes. On the way out the record goes first. The lease is
 * durable before anything is looked for, so what was found cannot be pruned before it is recorded or claimed (I5).
 */
import { setMaxListeners } from 'node:events';
import { Semaphore, type SharedWork, SingleFlight } from '../concurrency.js';
import type { ContentStore } from '../content/content-store.js';
import { isLarderError, LarderError } from '../errors.js';
import type { OnEvent, OperationOptions } from '../events.js';
import type { LayerStore } from '../layers/layer-store.js';
import type { LayerJob, LayerProgress, LayerResult } from '../layers/layer-task.js';
import type { MergedImages } from '../layers/merged-images.js';
import type { Layout } from '../layout.js';
import type { StoreLock } from '../linux/store-lock.js';
import type { History } from '../metadata/history.js';
import type { Lease, Leases } from '../metadata/leases.js';
import type { MetadataManager } from '../metadata/metadata-manager.js';
import type { ImageLayer, ImageRecord } from '../metadata/records.js';
import type { BlobRequest } from '../registry/blob.js';
import { type DiffId, type Digest, hexOf } from '../spec/digest.js';
import { dockerV1From } from '../spec/docker-v1.js';
import type { DockerImage, Image } from '../spec/image.js';
import { parseImageConfig } from '../spec/image-config.js';
import { formatPlatform, hostPlatform, parsePlatform } from '../spec/platform.js';
import { formatReference, parseReference, type Reference } from '../spec/reference.js';
import type { LayerLimits } from '../tar/entry.js';
import type { WorkerPool } from '../workers/pool.js';
import type { Puller, ResolvedImage } from './puller.js';
import type { Retention } from './retention.js';
import type { BackendChoice, HeldImage, ImageInfo, PruneOptions, Store } from './store.js';

export interface DockerStoreParts {
  readonly layout: Layout;
  readonly lock: StoreLock;
  readonly metadata: MetadataManager;
  readonly leases: Leases;
  readonly history: History;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly merged: MergedImages;
  readonly pool: WorkerPool;
  readonly puller: Puller;
  readonly retention: Retention;
  readonly limits: LayerLimits;
  /** Taken for images that name no platform; default: this machine's. */
  readonly platform: string | undefined;
  readonly maxParallelLayers: number;
  /** Whether `backend` shows images through the merged EROFS image, which is then made as a part of the pull. */
  readonly usesMergedImage: (backend: string) => boolean;
}

interface Wanted {
  readonly reference: Reference;
  readonly platform: string;
  readonly backend: string;
}

/** A record found but pruned before it could be leased is looked for again; more often than this is a bug. */
const MAX_ATTEMPTS = 5;

export class DockerStore implements Store {
  readonly #parts: DockerStoreParts;
  readonly #pulls = new SingleFlight<string, ImageRecord>();
  /** Leases of those who wait for each pull. */
  readonly #waiting = new Map<string, Set<Lease>>();
  readonly #slots: Semaphore;

  constructor(parts: DockerStoreParts) {
    this.#parts = parts;
    this.#slots = new Semaphore(parts.maxParallelLayers);
  }

  async recover(options: OperationOptions = {}): Promise<void> {
    await this.#parts.retention.recover(options);
  }

  async get(image: Image, backend: string, options: OperationOptions = {}): Promise<ImageInfo> {
    await using held = await this.acquire(image, backend, options);
    return held.info;
  }

  async acquire(image: Image, backend: BackendChoice, options: OperationOptions = {}): Promise<HeldImage> {
    const { reference, platform } = this.#wanted(dockerImage(image));
    const lease = await this.#parts.leases.create();
    try {
      const record = await this.#hold(lease, reference, platform, image.cached ?? true, backend, options);
      return { info: await this.#infoOf(record), record, [Symbol.asyncDispose]: () => lease.release() };
    } catch (error) {
      await lease.release();
      throw error;
    }
  }

  async prune(
    excludedImages: readonly Image[],
    activeLayerPaths: ReadonlySet<string>,
    options: PruneOptions = {},
  ): Promise<void> {
    // Without a platform the name protects the image on every platform.
    const excluded = excludedImages.map(dockerImage).map(({ name, platform }) => ({
      reference: formatReference(parseReference(name)),
      ...(platform === undefined ? {} : { platform: formatPlatform(parsePlatform(platform)) }),
    }));
    await this.#parts.retention.prune(excluded, activeLayerPaths, options);
  }

  #wanted(image: DockerImage): { reference: Reference; platform: string } {
    const platform = image.platform ?? this.#parts.platform;
    return {
      reference: parseReference(image.name),
      platform: formatPlatform(platform === undefined ? hostPlatform() : parsePlatform(platform)),
    };
  }

  /** The image's record, with everything that it names under `lease`. */
  async #hold(
    lease: Lease,
    reference: Reference,
    platform: string,
    cached: boolean,
    backend: BackendChoice,
    options: OperationOptions,
  ): Promise<ImageRecord> {
    const name = formatReference(reference);
    let ask = !cached;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const known = this.#parts.metadata.get(name, !ask, platform);
      if (known !== undefined && (await this.#leased(lease, known, options))) {
        if (cached)
          options.onEvent?.({ type: 'resolved', reference: name, digest: known.digest, platform, cached: true });
        await this.#parts.metadata.touch({ reference: name, platform });
        return known;
      }
      const chosen = typeof backend === 'string' ? backend : await backend();
      await this.#pullFor(lease, { reference, platform, backend: chosen }, options);
      ask = false;
    }
    throw new LarderError('LARDER_INTERNAL', `pull ${name}: pruned again each time it was there`);
  }

  /**
   * Whether all of the image is here, found out after the lease protects it. A prune that is under way may not have seen
   * the lease: only what it left counts, so the look comes under the store lock.
   */
  async #leased(lease: Lease, record: ImageRecord, { signal }: OperationOptions): Promise<boolean> {
    const { lock, metadata, layers, content } = this.#parts;
    await lease.add(namesOf(record));
    using _shared = await lock.shared(signal === undefined ? {} : { signal });
    const still = metadata.get(record.reference, true, record.platform);
    if (still?.manifest !== record.manifest || still.config !== record.config) return false;
    for (const { diffId } of record.layers) if (!(await layers.has(diffId))) return false;
    for (const digest of blobsOf(record)) if (!(await isSound(content, digest))) return false;
    return true;
  }

  /** Joins or starts the image's pull; `lease` is among those that the image is under when the pull ends. */
  async #pullFor(lease: Lease, wanted: Wanted, options: OperationOptions): Promise<void> {
    const key = `${formatReference(wanted.reference)} ${wanted.platform} ${wanted.backend}`;
    const waiting = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiting.add(lease));
    try {
      await this.#pulls.run(key, (shared) => this.#pull(wanted, waiting, shared), options);
    } finally {
      waiting.delete(lease);
      if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
    }
  }

  async #pull(
    { reference, platform, backend }: Wanted,
    waiting: ReadonlySet<Lease>,
    shared: SharedWork,
  ): Promise<ImageRecord> {
    const { leases, puller, content } = this.#parts;
    const { signal, onEvent } = shared;
    const name = formatReference(reference);
    using _requests = puller.listen(onEvent);
    const lease = await leases.create();
    try {
      onEvent({ type: 'resolve', reference: name });
      // Threads start while the manifest is on its way.
      this.#parts.pool.warm(this.#parts.maxParallelLayers, 'prepare');
      const resolved = await puller.resolve(reference, { ...shared, platform });
      onEvent({
        type: 'resolved',
        reference: name,
        digest: resolved.digest,
        platform: resolved.platform,
        cached: false,
      });
      const layers = withoutRepeats(resolved.layers);
      await lease.add({
        layers: layers.map((layer) => layer.diffId),
        blobs: resolved.documents.map((document) => document.digest),
      });
      // A prune that is under way may not have seen the lease: what it takes must be gone before anything is looked for.
      (await this.#parts.lock.shared({ signal })).release();
      for (const { digest, bytes } of resolved.documents) await content.put(bytes, digest);
      await this.#fetchMissing(reference, layers, { ...shared, platform });
      const record = recordOf(name, platform, resolved, layers);
      await this.#merge(record, backend, { signal, onEvent });
      await this.#commit(record);
      onEvent({ type: 'commit', reference: name, imageId: record.config });
      // Before this pull's own lease goes: a prune in between would take what they are waiting for.
      for (const waiter of waiting) await extend(waiter, record, waiting);
      await this.#parts.layers.sweep();
      return record;
    } finally {
      await lease.release();
    }
  }

  /** The merge proves that the layers make a tree at all, so it comes before the commit, whatever the backend. */
  async #merge(record: ImageRecord, backend: string, options: OperationOptions): Promise<void> {
    const { merged, usesMergedImage } = this.#parts;
    const diffIds = record.layers.map((layer) => layer.diffId);
    if (usesMergedImage(backend)) await merged.ensure(diffIds, options);
    else await merged.validate(diffIds, options);
  }

  async #commit(record: ImageRecord): Promise<void> {
    using _shared = await this.#parts.lock.shared();
    await this.#parts.metadata.put(record);
    await this.#parts.history.add({ reference: record.reference, digest: record.digest, atMs: record.createdAtMs });
  }

  async #fetchMissing(
    reference: Reference,
    layers: readonly ImageLayer[],
    shared: SharedWork & { platform: string },
  ): Promise<void> {
    const missing: ImageLayer[] = [];
    for (const layer of layers) if (!(await this.#parts.layers.has(layer.diffId))) missing.push(layer);
    const states = layers.map((layer) => ({
      layer: layer.digest,
      size: layer.size,
      state: missing.includes(layer) ? ('fetch' as const) : ('present' as const),
    }));
    shared.onEvent({ type: 'plan', layers: states });
    await allOrNone(missing, shared, (layer, signal) =>
      this.#slots.run(() => this.#fetchLayer(reference, layer, { ...shared, signal }), signal),
    );
  }

  /** One download for each layer over all processes: who waited for another's ingest finds the layer there. */
  async #fetchLayer(reference: Reference, layer: ImageLayer, shared: SharedWork & { platform: string }): Promise<void> {
    const { content, layers, lock } = this.#parts;
    const { signal, onEvent } = shared;
    const onWait = (): void => onEvent({ type: 'layer-wait', layer: layer.digest, reason: 'another-process' });
    await using ingest = await content.openIngest(layer.digest, { signal, onWait });
    if (await layers.has(layer.diffId)) {
      onEvent({
        type: 'layer-done',
        layer: layer.digest,
        diffId: layer.diffId,
        received: 0,
        written: 0,
        entries: 0,
        ms: 0,
      });
      return;
    }
    await using staging = await layers.stage();
    const origin = this.#parts.puller.layerOrigin(reference, layer, shared);
    const job: LayerJob = {
      digest: layer.digest,
      size: layer.size,
      mediaType: layer.mediaType,
      expectedDiffId: layer.diffId,
      source: origin.kind === 'registry' ? { kind: 'registry' } : origin,
      ...(origin.kind === 'registry' ? { ingestData: ingest.dataPath } : {}),
      outDir: staging.outDir(layer.diffId),
      limits: this.#parts.limits,
    };
    const result = await this.#parts.pool.run<LayerResult>('layer', job, {
      signal,
      onMessage: progressOf(layer, onEvent),
      ...(origin.kind === 'registry' ? { onAsk: (request) => origin.ask(request as BlobRequest) } : {}),
    });
    {
      using _shared = await lock.shared({ signal });
      await layers.adopt([result]);
    }
    await ingest.finish();
    const { received, tarSize, entries, ms } = result;
    onEvent({ type: 'layer-done', layer: layer.digest, diffId: layer.diffId, received, written: tarSize, entries, ms });
  }

  async #infoOf(record: ImageRecord): Promise<ImageInfo> {
    const { layout, content } = this.#parts;
    const config = parseImageConfig(await content.read(record.config), record.reference);
    return {
      layers: record.layers.map((layer) => layout.layer(layer.diffId)),
      dockerManifest: dockerV1From(config, hexOf(record.config)),
      config: layout.blob(record.config),
    };
  }
}

/** Manifest and config of an image, and the image index that led to it. */
export function blobsOf(record: ImageRecord): Digest[] {
  return [...new Set([record.digest, record.manifest, record.config])];
}

function namesOf(record: ImageRecord): { readonly layers: readonly DiffId[]; readonly blobs: readonly Digest[] } {
  return { layers: record.layers.map((layer) => layer.diffId), blobs: blobsOf(record) };
}

/** A damaged document counts as missing: the pull that follows replaces it. */
async function isSound(content: ContentStore, digest: Digest): Promise<boolean> {
  try {
    return (await content.find(digest)) !== undefined;
  } catch (error) {
    if (isLarderError(error, 'LARDER_DIGEST_MISMATCH', 'LARDER_SIZE_MISMATCH')) return false;
    throw error;
  }
}

/** Puts the image under a waiter's lease, which the waiter may have given back meanwhile. */
async function extend(lease: Lease, record: ImageRecord, waiting: ReadonlySet<Lease>): Promise<void> {
  try {
    await lease.add(namesOf(record));
  } catch (error) {
    if (waiting.has(lease)) throw error;
  }
}

function dockerImage(image: Image): DockerImage {
  if (image.type === 'docker') return image;
  throw new LarderError(
    'LARDER_IMAGE_TYPE_UNSUPPORTED',
    `docker store: an image of type ${image.type} is not in this store`,
  );
}

/**
 * A layer list has no duplicates (I7). Of a layer that comes twice the last one counts: what it brings is on top in
 * either case.
 */
function withoutRepeats(layers: readonly ImageLayer[]): ImageLayer[] {
  const last = new Map(layers.map((layer, i) => [layer.diffId, i]));
  return layers.filter((layer, i) => last.get(layer.diffId) === i);
}

function recordOf(
  reference: string,
  platform: string,
  resolved: ResolvedImage,
  layers: readonly ImageLayer[],
): ImageRecord {
  const nowMs = Date.now();
  const { digest, manifest, config } = resolved;
  return {
    type: 'docker',
    reference,
    platform,
    digest,
    manifest,
    config,
    layers,
    createdAtMs: nowMs,
    lastUsedAtMs: nowMs,
  };
}

function progressOf(layer: ImageLayer, onEvent: OnEvent): (message: unknown) => void {
  let started = false;
  return (message) => {
    const { received, written, resumedFrom } = message as LayerProgress;
    if (!started) onEvent({ type: 'layer-start', layer: layer.digest, size: layer.size, resumedFrom });
    started = true;
    onEvent({ type: 'layer-progress', layer: layer.digest, received, written });
  };
}

/** Runs all; the first failure cancels the others, and is thrown when all have ended. */
async function allOrNone<T>(
  items: readonly T[],
  shared: SharedWork,
  work: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([shared.signal, stop.signal]);
  // Each layer listens several times, and an image may have hundreds.
  setMaxListeners(0, signal);
  const outcomes = await Promise.allSettled(
    items.map(async (item) => {
      try {
        await work(item, signal);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    }),
  );
  const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
  if (failures.length === 0) return;
  throw failures.find((failure) => !isLarderError(failure, 'LARDER_ABORTED')) ?? failures[0];
}
