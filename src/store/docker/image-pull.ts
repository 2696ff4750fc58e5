/**
 * One pull, from a reference to a record, in the one order that makes it a commit:
 *
 *     lease -> resolve -> documents -> layers (fetch, verify, stage, adopt) -> merge -> record
 *
 * Bytes before the record on the way in (I3): an image is in the store from the instant its record is, and before that
 * everything that was made is garbage that the next prune takes. The lease is durable before anything is looked for, so
 * what was found cannot be pruned before it is recorded or claimed (I5).
 */
import type { SharedWork } from '../../concurrency.js';
import type { OperationOptions } from '../../events.js';
import type { MergedImages } from '../../layers/merged-images.js';
import type { History, HowResolved } from '../../metadata/history.js';
import type { Lease, Leases } from '../../metadata/leases.js';
import type { MetadataManager } from '../../metadata/metadata-manager.js';
import { type ImageLayer, type ImageRecord, stackOf } from '../../metadata/records.js';
import type { Digest } from '../../spec/digest.js';
import { formatImageName, type ImageName } from '../../spec/image-name.js';
import {
  type ImageCredentials,
  type ImageFacts,
  type ImagePuller,
  isUnfinished,
  type LayerOrigins,
  type UnfinishedImage,
} from '../puller.js';
import { extendLeases } from '../read-through.js';
import { type SuspicionParts, settleSuspicions } from '../suspect-layers.js';
import { diskNeed, diskSpace, requireFit } from './disk-need.js';
import { finishImage } from './finish-image.js';
import { LayerFetch, type LayerFetchParts } from './layer-fetch.js';
import { type SurveyedLayer, surveyLayers } from './layer-survey.js';
import { resolvePast } from './past-image.js';

export interface ImagePullParts extends LayerFetchParts, SuspicionParts {
  readonly puller: ImagePuller;
  readonly metadata: MetadataManager;
  readonly leases: Leases;
  readonly history: History;
  readonly merged: MergedImages;
  /** What is to stay free of the file system; undefined: a part of it. */
  readonly reservedDiskBytes: number | undefined;
  /** Whether `backend` shows images through the merged EROFS image, which is then made as a part of the pull. */
  readonly usesMergedImage: (backend: string) => boolean;
}

export interface Wanted {
  readonly reference: ImageName;
  readonly platform: string;
  readonly backend: string;
  /** The image's own, where it has some. */
  readonly credentials?: ImageCredentials;
  /** What the reference resolved to once, instead of what it resolves to now. */
  readonly asOf?: Digest;
}

/** With so many times the room that is expected to be needed nothing needs to be known better. */
const PLENTY = 4;

export class ImagePull {
  readonly #parts: ImagePullParts;
  readonly #fetch: LayerFetch;

  constructor(parts: ImagePullParts) {
    this.#parts = parts;
    this.#fetch = new LayerFetch(parts);
  }

  /** `waiting` are the leases of those who wait for it: they hold the image before it can be pruned. */
  async run(
    { reference, platform, backend, credentials, asOf }: Wanted,
    waiting: ReadonlySet<Lease>,
    shared: SharedWork,
  ): Promise<ImageRecord> {
    const { leases, puller, content } = this.#parts;
    const { signal, onEvent } = shared;
    const name = formatImageName(reference);
    using _requests = puller.listen(onEvent);
    const lease = await leases.create();
    try {
      onEvent({ type: 'resolve', reference: name });
      // Threads start while the manifest is on its way. An image that is here has mostly not changed, and needs none.
      if (this.#parts.metadata.get(name, true, platform) === undefined) {
        this.#parts.pool.warm(this.#parts.maxParallelLayers, 'prepare');
      }
      const asked = { ...shared, platform, ...(credentials === undefined ? {} : { credentials }) };
      await using source =
        asOf === undefined
          ? await puller.resolve(reference, asked)
          : await resolvePast(reference, asOf, lease, this.#parts, asked);
      onEvent({
        type: 'resolved',
        reference: name,
        digest: source.digest,
        platform: source.platform,
        cached: false,
      });
      const resolved = isUnfinished(source) ? await this.#finish(source, lease, shared) : source;
      const layers = withoutRepeats(resolved.layers);
      await lease.add({
        layers: layers.map((layer) => layer.diffId),
        blobs: resolved.documents.map((document) => document.digest),
      });
      // A prune that is under way may not have seen the lease: what it takes must be gone before anything is looked for.
      (await this.#parts.lock.shared({ signal })).release();
      await settleSuspicions(layers, this.#parts, shared);
      for (const { digest, bytes } of resolved.documents) await content.put(bytes, digest);
      if (!isUnfinished(source)) {
        await this.#requireSpace(layers, source, name, shared);
        await this.#fetch.fetchMissing(source, layers, shared);
      }
      const record = recordOf(name, platform, resolved, layers);
      await this.#merge(record, backend, { signal, onEvent });
      await this.#commit(record, asOf === undefined ? 'resolved' : 'taken-back');
      onEvent({ type: 'commit', reference: name, imageId: record.config });
      // Before this pull's own lease goes: a prune in between would take what they are waiting for.
      await extendLeases(waiting, record);
      await this.#parts.layers.sweep();
      return record;
    } finally {
      await lease.release();
    }
  }

  /** What cannot fit is refused before its first byte. */
  async #requireSpace(
    layers: readonly SurveyedLayer[],
    origins: LayerOrigins,
    name: string,
    shared: SharedWork,
  ): Promise<void> {
    const { layout, reservedDiskBytes, maxParallelLayers } = this.#parts;
    const require = async (ask: boolean): Promise<void> => {
      const survey = await surveyLayers(layers, origins, this.#parts, { ...shared, ask });
      const toFetch = survey.flatMap((one) => one.toFetch ?? []);
      if (toFetch.length === 0) return;
      const need = diskNeed(toFetch, maxParallelLayers);
      const space = await diskSpace(layout.root, reservedDiskBytes);
      requireFit(need, space, `pull ${name}`);
      // Where there is plenty of room no layer is asked how long it is.
      if (!ask && need.peakBytes * PLENTY > space.freeBytes - space.reservedBytes) await require(true);
    };
    await require(false);
  }

  #finish(image: UnfinishedImage, lease: Lease, shared: SharedWork): Promise<ImageFacts> {
    const { lock, layers, metadata } = this.#parts;
    const requireSpace = (missing: readonly SurveyedLayer[]): Promise<void> =>
      this.#requireSpace(missing, image, `schema 1 image ${image.digest}`, shared);
    return finishImage(image, lease, { lock, layers, metadata, fetch: this.#fetch, requireSpace }, shared);
  }

  /** The merge proves that the layers make a tree at all, so it comes before the commit, whatever the backend. */
  async #merge(record: ImageRecord, backend: string, options: OperationOptions): Promise<void> {
    const { merged, usesMergedImage } = this.#parts;
    if (usesMergedImage(backend)) await merged.ensure(stackOf(record), options);
    else await merged.validate(stackOf(record), options);
  }

  async #commit(record: ImageRecord, how: HowResolved): Promise<void> {
    const { reference, platform, digest, config: imageId, createdAtMs: atMs } = record;
    using _shared = await this.#parts.lock.shared();
    await this.#parts.metadata.put(record);
    await this.#parts.history.add({ reference, platform, digest, imageId, how, atMs });
  }
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
  resolved: ImageFacts,
  layers: readonly ImageLayer[],
): ImageRecord {
  const nowMs = Date.now();
  const { digest, manifest, config, v1 } = resolved;
  return {
    type: 'docker',
    reference,
    platform,
    digest,
    manifest,
    config,
    ...(v1 === undefined ? {} : { extraBlobs: [v1] }),
    layers,
    createdAtMs: nowMs,
    lastUsedAtMs: nowMs,
  };
}
