/** Which of an image's layers are here, which in part, and what those weigh that are not. Writes nothing. */
import { Semaphore } from '../../concurrency.js';
import type { ContentStore } from '../../content/content-store.js';
import type { OperationOptions } from '../../events.js';
import type { LayerStore } from '../../layers/layer-store.js';
import type { Layers } from '../../metadata/layers.js';
import type { MetadataManager } from '../../metadata/metadata-manager.js';
import type { DiffId, Digest } from '../../spec/digest.js';
import type { LayerOrigin, LayerOrigins } from '../puller.js';
import type { LayerToFetch } from './disk-need.js';
import { LEAST_TAR_SHARE, lengthInTrailer, likelyLength } from './gzip-trailer.js';

export interface SurveyParts {
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly layerRecords: Layers;
}

export interface SurveyedLayer {
  /** As transferred. */
  readonly digest: Digest;
  readonly size: number;
  readonly mediaType: string;
  /** Undefined where nothing tells before the layer is read. */
  readonly diffId?: DiffId;
}

/** A layer in a plan. */
export interface PlannedLayer extends SurveyedLayer {
  readonly state: 'have' | 'partly' | 'fetch';
  /** Bytes of a download that was broken off, from which the pull goes on. */
  readonly hereBytes: number;
  /** Bytes that the pull transfers. */
  readonly fetchBytes: number;
  /** Of the uncompressed tar. */
  readonly tarBytes: number;
  /** How `tarBytes` is known: the layer is here or not compressed, its last bytes say so, or it is guessed from its size. */
  readonly tarBytesAre: 'exact' | 'told' | 'estimated';
}

/** How much longer than its transferred form a tar is, where nothing else tells. */
export const USUAL_RATIO = 2.5;
const LEAST_BYTES_TO_COMPARE = 1024 * 1024;
const ASKED_AT_ONCE = 6;
/** After that no further layer is asked: where answers take so long a guess has to do. */
const ASKING_MS = 3000;

export interface SurveyOptions extends OperationOptions {
  /** By how much a compressed layer is thought to grow. */
  readonly ratio?: number;
  /** Layers are asked how long their tars are: one small request for each that is large. */
  readonly ask?: boolean;
}

/** Rejects with LARDER_ABORTED. */
export async function surveyLayers(
  layers: readonly SurveyedLayer[],
  origins: LayerOrigins,
  parts: SurveyParts,
  { ratio = USUAL_RATIO, ask = false, ...options }: SurveyOptions = {},
): Promise<readonly { readonly layer: PlannedLayer; readonly toFetch?: LayerToFetch }[]> {
  const asking = new Semaphore(ASKED_AT_ONCE);
  const endsAtMs = performance.now() + ASKING_MS;
  const lengthOf = (layer: SurveyedLayer, origin: LayerOrigin): Promise<number | undefined> =>
    asking.run(async () => (performance.now() < endsAtMs ? lengthInTrailer(layer, origin) : undefined), options.signal);
  return Promise.all(
    layers.map(async (layer) => {
      const record = layer.diffId === undefined ? undefined : parts.layerRecords.get(layer.diffId);
      if (record !== undefined && (await parts.layers.has(record.diffId))) {
        const known = { hereBytes: 0, fetchBytes: 0, tarBytes: record.tarSize, tarBytesAre: 'exact' } as const;
        return { layer: { ...layer, state: 'have', ...known } as const };
      }
      const origin = origins.layerOrigin(layer, options);
      const downloads = origin.kind === 'registry';
      const here = downloads ? Math.min(layer.size, await parts.content.downloaded(layer.digest)) : 0;
      const isExact = isUncompressed(layer.mediaType);
      const told = ask ? await lengthOf(layer, origin) : undefined;
      const guess = Math.round(layer.size * ratio);
      const likely = told === undefined ? undefined : likelyLength(told, layer.size, guess);
      const tarBytes = isExact ? layer.size : (likely ?? guess);
      const planned: PlannedLayer = {
        ...layer,
        state: here > 0 ? 'partly' : 'fetch',
        hereBytes: here,
        fetchBytes: layer.size - here,
        tarBytes,
        tarBytesAre: isExact ? 'exact' : likely === undefined ? 'estimated' : 'told',
      };
      const leastTarBytes = isExact ? tarBytes : Math.max(Math.floor(layer.size * LEAST_TAR_SHARE), told ?? 0);
      return { layer: planned, toFetch: { size: layer.size, here, downloads, tarBytes, leastTarBytes, isExact } };
    }),
  );
}

function isUncompressed(mediaType: string): boolean {
  return mediaType.endsWith('.tar');
}

/** The ratio of the compressed layers that are in the store. Reads the records of all images. */
export function observedRatio(metadata: Pick<MetadataManager, 'list'>, layerRecords: Pick<Layers, 'list'>): number {
  const tarSizes = new Map(layerRecords.list().map(({ diffId, tarSize }) => [diffId, tarSize]));
  let [transferred, uncompressed] = [0, 0];
  for (const { layers } of metadata.list()) {
    for (const { diffId, size, mediaType } of layers) {
      const tarSize = tarSizes.get(diffId);
      if (tarSize === undefined || isUncompressed(mediaType)) continue;
      transferred += size;
      uncompressed += tarSize;
      tarSizes.delete(diffId);
    }
  }
  return transferred < LEAST_BYTES_TO_COMPARE ? USUAL_RATIO : Math.max(1, uncompressed / transferred);
}
