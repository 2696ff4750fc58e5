/**
 * The layers of an image whose source says nothing of them but the digests: found where the store has seen the same bytes
 * before, else fetched; then what they are made the image's config. Only what was seen in this way counts: that
 * a manifest and a config of some image name a digest and a DiffID in the same place does not prove that they belong
 * together, for a layer that was there was not read again.
 */
import type { SharedWork } from '../../concurrency.js';
import type { LayerStore } from '../../layers/layer-store.js';
import type { StoreLock } from '../../linux/store-lock.js';
import type { Lease } from '../../metadata/leases.js';
import type { MetadataManager } from '../../metadata/metadata-manager.js';
import type { ImageLayer } from '../../metadata/records.js';
import type { Digest } from '../../spec/digest.js';
import { SCHEMA_1_LAYER } from '../../spec/media-types.js';
import type { ImageFacts, UnfinishedImage } from '../puller.js';
import type { LayerFetch } from './layer-fetch.js';
import type { SurveyedLayer } from './layer-survey.js';

export interface FinishParts {
  readonly lock: StoreLock;
  readonly layers: LayerStore;
  readonly metadata: MetadataManager;
  readonly fetch: LayerFetch;
  /** Rejects with LARDER_NO_SPACE where these cannot fit. */
  readonly requireSpace: (missing: readonly SurveyedLayer[]) => Promise<void>;
}

/** All of its layers are in the store when it resolves, and `lease` holds them. */
export async function finishImage(
  image: UnfinishedImage,
  lease: Lease,
  parts: FinishParts,
  shared: SharedWork,
): Promise<ImageFacts> {
  const found = await knownLayers(image, lease, parts, shared);
  const blobs = await Promise.all(
    image.blobs.map(async (digest) => ({
      digest,
      size: found.get(digest)?.size ?? (await image.sizeOf(digest, shared)),
    })),
  );
  shared.onEvent({
    type: 'plan',
    layers: blobs.map(({ digest, size }) => ({
      layer: digest,
      size,
      state: found.has(digest) ? 'present' : 'fetch',
    })),
  });
  const missing = blobs.filter(({ digest }) => !found.has(digest));
  await parts.requireSpace(missing.map((layer) => ({ ...layer, mediaType: SCHEMA_1_LAYER })));
  for (const layer of await parts.fetch.fetchUnknown(image, missing, lease, shared)) found.set(layer.digest, layer);
  return image.finish(found);
}

/** Those that are here, after the lease protects them. */
async function knownLayers(
  image: UnfinishedImage,
  lease: Lease,
  { lock, layers, metadata }: FinishParts,
  { signal }: SharedWork,
): Promise<Map<Digest, ImageLayer>> {
  const recorded = metadata.layersOf(image.blobs, SCHEMA_1_LAYER);
  await lease.add({ layers: recorded.map(({ diffId }) => diffId) });
  // A prune that is under way may not have seen the lease: what it takes must be gone before anything is looked for.
  (await lock.shared({ signal })).release();
  const here = new Map<Digest, ImageLayer>();
  for (const layer of recorded) if (await layers.has(layer.diffId)) here.set(layer.digest, layer);
  return here;
}
