/** Makes the plan of a pull: resolves the name as the pull would, and looks what is here. Writes nothing. */
import type { OperationOptions } from '../../events.js';
import type { Layout } from '../../layout.js';
import type { MetadataManager } from '../../metadata/metadata-manager.js';
import type { ImageLayer, ImageRecord } from '../../metadata/records.js';
import { formatImageName, type ImageName } from '../../spec/image-name.js';
import { SCHEMA_1_LAYER } from '../../spec/media-types.js';
import {
  type ImageCredentials,
  type ImagePuller,
  isUnfinished,
  type LayerOrigins,
  type UnfinishedImage,
} from '../puller.js';
import { diskSpace } from './disk-need.js';
import { observedRatio, type SurveyedLayer, type SurveyParts, surveyLayers } from './layer-survey.js';
import { type PlatformChoice, type PullPlan, planOf, platformChoice, platformOfRecord } from './pull-plan.js';

export interface PlanParts extends SurveyParts {
  readonly layout: Layout;
  readonly puller: ImagePuller;
  readonly metadata: MetadataManager;
  readonly maxParallelLayers: number;
  readonly reservedDiskBytes: number | undefined;
}

export interface PlanRequest {
  readonly reference: ImageName;
  readonly wanted: string;
  readonly wantedBy: PlatformChoice['wantedBy'];
  /** An image that is here need not be asked for. */
  readonly cached: boolean;
}

export async function planPull(
  request: PlanRequest,
  credentialsOf: () => Promise<{ readonly credentials?: ImageCredentials }>,
  parts: PlanParts,
  options: OperationOptions,
): Promise<PullPlan> {
  const { reference: name, wanted, wantedBy, cached } = request;
  const { puller, layout, maxParallelLayers: parallel } = parts;
  const reference = formatImageName(name);
  const space = await diskSpace(layout.root, parts.reservedDiskBytes);
  const stored = cached ? parts.metadata.get(reference, true, wanted) : undefined;
  if (stored !== undefined && (await isWhole(stored, parts))) {
    if (await puller.isCurrent(name, stored, { ...options, platform: wanted })) {
      const survey = await surveyLayers(stored.layers.map(surveyedOf), NOWHERE, parts);
      const platform = platformOfRecord(stored, wanted, wantedBy);
      return planOf({ reference, facts: stored, platform, survey, from: [], space, parallel });
    }
  }
  using _requests = puller.listen(options.onEvent ?? (() => {}));
  await using source = await puller.resolve(name, {
    ...options,
    platform: wanted,
    writesNothing: true,
    ...(await credentialsOf()),
  });
  const layers = isUnfinished(source) ? await unknownLayers(source, parts, options) : distinct(source.layers);
  const ratio = observedRatio(parts.metadata, parts.layerRecords);
  const survey = await surveyLayers(layers, source, parts, { ...options, ratio, ask: true });
  const documents = isUnfinished(source) ? [] : source.documents;
  const platform = platformChoice(wanted, wantedBy, source.platform, documents);
  return planOf({ reference, facts: source, platform, survey, from: source.from ?? [], space, parallel });
}

/** Of layers that are all here nobody asks where they are. */
const NOWHERE: LayerOrigins = { layerOrigin: () => ({ kind: 'file', path: '', offset: 0 }) };

async function isWhole({ layers }: ImageRecord, parts: PlanParts): Promise<boolean> {
  for (const { diffId } of layers) if (!(await parts.layers.has(diffId))) return false;
  return true;
}

/** As the pull lists them: of a layer that comes twice the last one counts. */
function distinct(layers: readonly ImageLayer[]): SurveyedLayer[] {
  const last = new Map(layers.map((layer, i) => [layer.diffId, i]));
  return layers.filter((layer, i) => last.get(layer.diffId) === i).map(surveyedOf);
}

function surveyedOf({ digest, size, mediaType, diffId }: ImageLayer): SurveyedLayer {
  return { digest, size, mediaType, diffId };
}

/** Schema 1 says neither sizes nor DiffIDs: the store knows those of layers that it has seen, the registry the sizes of others. */
async function unknownLayers(
  source: UnfinishedImage,
  { metadata }: PlanParts,
  options: OperationOptions,
): Promise<SurveyedLayer[]> {
  const known = new Map(metadata.layersOf(source.blobs, SCHEMA_1_LAYER).map((layer) => [layer.digest, layer]));
  return Promise.all(
    source.blobs.map(async (digest) => {
      const layer = known.get(digest);
      if (layer !== undefined) return surveyedOf(layer);
      return { digest, size: await source.sizeOf(digest, options), mediaType: SCHEMA_1_LAYER };
    }),
  );
}
