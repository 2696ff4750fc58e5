/**
 * The layers of an image that are not here: fetched in parallel, each verified, staged and adopted by itself. A layer
 * that was adopted stays, even if the pull fails: the next one needs not fetch it again.
 */
import { allOrNone, Semaphore, type SharedWork } from '../../concurrency.js';
import type { ContentStore } from '../../content/content-store.js';
import type { Ingest } from '../../content/ingest.js';
import { isLarderError } from '../../errors.js';
import type { OnEvent } from '../../events.js';
import type { LayerStore } from '../../layers/layer-store.js';
import type { LayerJob, LayerProgress, LayerResult } from '../../layers/layer-task.js';
import type { StoreLock } from '../../linux/store-lock.js';
import type { Lease } from '../../metadata/leases.js';
import type { ImageLayer } from '../../metadata/records.js';
import type { BlobGrant, BlobRange, BlobRequest } from '../../registry/blob.js';
import type { DiffId, Digest } from '../../spec/digest.js';
import { SCHEMA_1_LAYER } from '../../spec/media-types.js';
import type { LayerLimits } from '../../tar/entry.js';
import type { RunOptions, WorkerPool } from '../../workers/pool.js';
import type { LayerOrigin, LayerOrigins } from '../puller.js';

export interface LayerFetchParts {
  readonly lock: StoreLock;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly pool: WorkerPool;
  readonly limits: LayerLimits;
  readonly maxParallelLayers: number;
  /** Connections for layers, where one has more than one. */
  readonly maxParallelRanges: number;
  /** The compressed bytes stay as a blob. Default false. */
  readonly keepBlobs?: boolean;
  /** A proven tar took the place of these layers' damaged ones: what shows the old ones must not be shown to new containers. */
  readonly onReplaced: (diffIds: readonly DiffId[]) => Promise<void>;
}

/** A layer of which nobody has said what is in it. */
interface UnknownLayer {
  readonly digest: Digest;
  readonly size: number;
}

export class LayerFetch {
  readonly #parts: LayerFetchParts;
  readonly #slots: Semaphore;
  /** Layers that are fetched from registries at this moment. */
  #fetching = 0;

  constructor(parts: LayerFetchParts) {
    this.#parts = parts;
    this.#slots = new Semaphore(parts.maxParallelLayers);
  }

  /** All of `layers` are in the store when it resolves; the caller holds a lease on them. */
  async fetchMissing(origins: LayerOrigins, layers: readonly ImageLayer[], shared: SharedWork): Promise<void> {
    const missing: ImageLayer[] = [];
    for (const layer of layers) if (!(await this.#parts.layers.has(layer.diffId))) missing.push(layer);
    const states = layers.map((layer) => ({
      layer: layer.digest,
      size: layer.size,
      state: missing.includes(layer) ? ('fetch' as const) : ('present' as const),
    }));
    shared.onEvent({ type: 'plan', layers: states });
    // Who was killed between a layer's adoption and the end of its download left the download.
    const { content } = this.#parts;
    for (const { digest, diffId } of layers) {
      const isHere = !missing.some((layer) => layer.diffId === diffId);
      if (isHere && content.hasIngest(digest)) await content.removeIngest(digest);
    }
    await allOrNone(largestFirst(missing), shared, (layer, signal) =>
      this.#slots.run(() => this.#fetchLayer(origins, layer, { ...shared, signal }), signal),
    );
  }

  /**
   * Layers of which only the digest and the size are known; answers what they are, in the same order. All of them are in
   * the store when it resolves, and `lease` has held each from before it was.
   */
  async fetchUnknown(
    origins: LayerOrigins,
    layers: readonly UnknownLayer[],
    lease: Pick<Lease, 'add'>,
    shared: SharedWork,
  ): Promise<ImageLayer[]> {
    const found = new Map<Digest, ImageLayer>();
    await allOrNone(largestFirst(layers), shared, (layer, signal) =>
      this.#slots.run(async () => {
        const work = { ...shared, signal };
        await using ingest = await this.#openIngest(layer, work);
        const hold = (diffId: DiffId): Promise<void> => lease.add({ layers: [diffId] });
        const { diffId } = await this.#write(origins, { ...layer, mediaType: SCHEMA_1_LAYER }, ingest, work, hold);
        found.set(layer.digest, { ...layer, diffId, mediaType: SCHEMA_1_LAYER });
      }, signal),
    );
    return layers.flatMap(({ digest }) => found.get(digest) ?? []);
  }

  /** One download for each layer over all processes: who waited for another's ingest finds the layer there. */
  async #fetchLayer(origins: LayerOrigins, layer: ImageLayer, shared: SharedWork): Promise<void> {
    await using ingest = await this.#openIngest(layer, shared);
    if (await this.#parts.layers.has(layer.diffId)) {
      const { digest, diffId } = layer;
      shared.onEvent({ type: 'layer-done', layer: digest, diffId, received: 0, written: 0, entries: 0, ms: 0 });
      await ingest.finish();
      return;
    }
    await this.#write(origins, layer, ingest, shared);
  }

  #openIngest({ digest }: UnknownLayer, { signal, onEvent }: SharedWork): Promise<Ingest> {
    const onWait = (): void => onEvent({ type: 'layer-wait', layer: digest, reason: 'another-process' });
    return this.#parts.content.openIngest(digest, { signal, onWait });
  }

  /** `hold` is called with what it turned out to be, before it is a layer of the store. */
  async #write(
    origins: LayerOrigins,
    layer: UnknownLayer & { readonly mediaType: string; readonly diffId?: DiffId },
    ingest: Ingest,
    shared: SharedWork,
    hold: (diffId: DiffId) => Promise<void> = async () => {},
  ): Promise<LayerResult> {
    const { layers, lock } = this.#parts;
    const { signal, onEvent } = shared;
    const { digest, size, mediaType, diffId: expectedDiffId } = layer;
    await using staging = await layers.stage();
    const origin = origins.layerOrigin(layer, shared);
    const job: LayerJob = {
      digest,
      size,
      ...(mediaType === SCHEMA_1_LAYER ? {} : { mediaType }),
      ...(expectedDiffId === undefined ? {} : { expectedDiffId }),
      source: origin.kind === 'registry' ? { kind: 'registry' } : origin,
      ...(origin.kind === 'registry' ? { ingestData: ingest.dataPath } : {}),
      outDir: staging.outDir(digest),
      limits: this.#parts.limits,
    };
    const how = { signal, onMessage: progressOf(layer, onEvent) };
    const known = await this.#fromBlob(job, how);
    const result = known ?? (await this.#runJob(job, origin, how));
    onEvent({ type: 'layer-verified', layer: digest, diffId: result.diffId, size: result.tarSize });
    await hold(result.diffId);
    let replaced: readonly DiffId[];
    {
      using _shared = await lock.shared({ signal });
      replaced = await layers.adopt([result]);
    }
    await this.#parts.onReplaced(replaced);
    // Only what the job has just proven becomes a blob (I1).
    const isProven = known === undefined && origin.kind === 'registry';
    await ingest.finish({ keepBlob: isProven && this.#parts.keepBlobs === true });
    const { diffId, received, tarSize, entries, ms } = result;
    onEvent({ type: 'layer-done', layer: digest, diffId, received, written: tarSize, entries, ms });
    return result;
  }

  /** Out of the blob that is kept of it; undefined where there is none, or none that is any good. */
  async #fromBlob(job: LayerJob, options: RunOptions): Promise<LayerResult | undefined> {
    const { content, pool } = this.#parts;
    const { digest, ingestData: _, ...rest } = job;
    if (digest === undefined || !(await content.has(digest))) return undefined;
    const source = { kind: 'file', path: content.pathOf(digest), offset: 0 } as const;
    try {
      return await pool.run<LayerResult>('layer', { ...rest, digest, source }, options);
    } catch (error) {
      // It may be damaged, or pruned meanwhile: where it came from has the last word.
      if (isLarderError(error, 'LARDER_ABORTED', 'LARDER_NO_SPACE', 'LARDER_WORKER_LOST')) throw error;
      return undefined;
    }
  }

  /** Once more for each host that gave the wrong bytes while another can be asked. */
  async #runJob(job: LayerJob, origin: LayerOrigin, options: RunOptions): Promise<LayerResult> {
    if (origin.kind === 'file') return this.#parts.pool.run<LayerResult>('layer', job, options);
    const onAsk = async (request: unknown): Promise<BlobGrant> => {
      const grant = await origin.ask(request as BlobRequest);
      return {
        ...grant,
        connections: Math.min(grant.connections ?? Number.POSITIVE_INFINITY, this.#connectionsForEach()),
      };
    };
    this.#fetching++;
    try {
      for (;;) {
        try {
          return await this.#parts.pool.run<LayerResult>('layer', job, { ...options, onAsk });
        } catch (error) {
          if (origin.passOver?.(error) !== true) throw error;
        }
      }
    } finally {
      this.#fetching--;
      origin.close?.();
    }
  }

  /** Layers share them: a layer that is fetched beside others gets fewer, or none but its first. */
  #connectionsForEach(): number {
    return Math.max(1, Math.floor(this.#parts.maxParallelRanges / Math.max(1, this.#fetching)));
  }
}

/** Whichever comes last has the machine for itself, and leaves most of it idle: that shall be a short one. */
function largestFirst<L extends { readonly size: number }>(layers: readonly L[]): L[] {
  return [...layers].sort((a, b) => b.size - a.size);
}

/** A layer that is begun again from nothing starts again. */
function progressOf(layer: UnknownLayer, onEvent: OnEvent): (message: unknown) => void {
  let started: number | undefined;
  return (message) => {
    const told = message as LayerProgress | BlobRange;
    if (told.type === 'layer-range') {
      onEvent({ ...told, layer: layer.digest });
      return;
    }
    const { received, written, resumedFrom, doing, waited } = told;
    if (started !== resumedFrom) onEvent({ type: 'layer-start', layer: layer.digest, size: layer.size, resumedFrom });
    started = resumedFrom;
    onEvent({ type: 'layer-progress', layer: layer.digest, received, written, doing, waited });
  };
}
