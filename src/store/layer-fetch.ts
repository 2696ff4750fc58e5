/**
 * The layers of an image that are not here: fetched in parallel, each verified, staged and adopted by itself. A layer
 * that was adopted stays, even if the pull fails: the next one needs not fetch it again.
 */
import { allOrNone, Semaphore, type SharedWork } from '../concurrency.js';
import type { ContentStore } from '../content/content-store.js';
import type { OnEvent } from '../events.js';
import type { LayerStore } from '../layers/layer-store.js';
import type { LayerJob, LayerProgress, LayerResult } from '../layers/layer-task.js';
import type { StoreLock } from '../linux/store-lock.js';
import type { ImageLayer } from '../metadata/records.js';
import type { BlobRequest } from '../registry/blob.js';
import type { DiffId } from '../spec/digest.js';
import type { LayerLimits } from '../tar/entry.js';
import type { WorkerPool } from '../workers/pool.js';
import type { ResolvedImage } from './puller.js';

export interface LayerFetchParts {
  readonly lock: StoreLock;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly pool: WorkerPool;
  readonly limits: LayerLimits;
  readonly maxParallelLayers: number;
  /** A proven tar took the place of these layers' damaged ones: what shows the old ones must not be shown to new containers. */
  readonly onReplaced: (diffIds: readonly DiffId[]) => Promise<void>;
}

/** Who knows where the bytes of layers are. */
export type LayerOrigins = Pick<ResolvedImage, 'layerOrigin'>;

export class LayerFetch {
  readonly #parts: LayerFetchParts;
  readonly #slots: Semaphore;

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
    await allOrNone(missing, shared, (layer, signal) =>
      this.#slots.run(() => this.#fetchLayer(origins, layer, { ...shared, signal }), signal),
    );
  }

  /** One download for each layer over all processes: who waited for another's ingest finds the layer there. */
  async #fetchLayer(origins: LayerOrigins, layer: ImageLayer, shared: SharedWork): Promise<void> {
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
    const origin = origins.layerOrigin(layer, shared);
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
    let replaced: readonly DiffId[];
    {
      using _shared = await lock.shared({ signal });
      replaced = await layers.adopt([result]);
    }
    await this.#parts.onReplaced(replaced);
    await ingest.finish();
    const { received, tarSize, entries, ms } = result;
    onEvent({ type: 'layer-done', layer: layer.digest, diffId: layer.diffId, received, written: tarSize, entries, ms });
  }
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
