/** What a pull would do, before it transfers the first byte of a layer. */
import type { ImageRecord } from '../../metadata/records.js';
import type { Digest } from '../../spec/digest.js';
import { parseManifest } from '../../spec/manifest.js';
import { formatPlatform } from '../../spec/platform.js';
import type { FetchedDocument, ImageFacts } from '../puller.js';
import { type DiskNeed, type DiskSpace, diskNeed, fits } from './disk-need.js';
import type { PlannedLayer, surveyLayers } from './layer-survey.js';

/** Why an image of this platform, and not another one. */
export interface PlatformChoice {
  readonly wanted: string;
  /** `request`: asked for; `setting`: the setting platform; `machine`: what this machine is. */
  readonly wantedBy: 'request' | 'setting' | 'machine';
  readonly chosen: string;
  /** `only`: the reference has one image; `exact`, or the best that runs on it. */
  readonly match: 'only' | 'exact' | 'compatible';
  /** What the image index offers; empty without one. */
  readonly offered: readonly string[];
}

export interface PullPlan {
  readonly reference: string;
  readonly digest: Digest;
  readonly manifest: Digest;
  /** Undefined where nothing tells before the layers are here (schema 1). */
  readonly imageId?: Digest;
  /** The image is here: a pull would transfer nothing. */
  readonly isHere: boolean;
  readonly platform: PlatformChoice;
  /** Base first, each once. */
  readonly layers: readonly PlannedLayer[];
  /**
   * What layers transfer over the network: exact, unless the beginning of a download turns out to be damaged and comes
   * again. The documents that the plan was made from are not in it.
   */
  readonly networkBytes: number;
  readonly disk: DiskNeed & DiskSpace & { readonly fits: boolean };
  /** Where layers come from, best first: `host[:port]`, or a path. */
  readonly from: readonly string[];
}

export interface PlanInput {
  readonly reference: string;
  readonly facts: Pick<ImageFacts, 'digest' | 'manifest'> & { readonly config?: Digest };
  readonly platform: PlatformChoice;
  readonly survey: Awaited<ReturnType<typeof surveyLayers>>;
  readonly from: readonly string[];
  readonly space: DiskSpace;
  readonly parallel: number;
}

export function planOf({ reference, facts, platform, survey, from, space, parallel }: PlanInput): PullPlan {
  const { digest, manifest, config } = facts;
  const toFetch = survey.flatMap((one) => one.toFetch ?? []);
  const need = diskNeed(toFetch, parallel);
  return {
    ...{ reference, digest, manifest },
    ...(config === undefined ? {} : { imageId: config }),
    isHere: toFetch.length === 0 && config !== undefined,
    platform,
    layers: survey.map(({ layer }) => layer),
    networkBytes: toFetch.reduce((sum, { downloads, size, here }) => sum + (downloads ? size - here : 0), 0),
    disk: { ...need, ...space, fits: fits(need, space) },
    from,
  };
}

export function platformChoice(
  wanted: string,
  wantedBy: PlatformChoice['wantedBy'],
  chosen: string,
  documents: readonly FetchedDocument[],
): PlatformChoice {
  const offered = offeredIn(documents);
  const match = offered.length === 0 ? 'only' : chosen === wanted ? 'exact' : 'compatible';
  return { wanted, wantedBy, chosen, match, offered };
}

/** As it stands in the store: nobody was asked what else there would be. */
export function platformOfRecord(
  { platform }: ImageRecord,
  wanted: string,
  wantedBy: PlatformChoice['wantedBy'],
): PlatformChoice {
  return { wanted, wantedBy, chosen: platform, match: platform === wanted ? 'exact' : 'compatible', offered: [] };
}

function offeredIn(documents: readonly FetchedDocument[]): string[] {
  const platforms: string[] = [];
  for (const { bytes } of documents) {
    // The first that is no image index is the manifest; what follows is none either.
    const manifest = parseManifest(bytes);
    if (manifest.kind !== 'index') break;
    for (const { platform } of manifest.manifests) {
      if (platform !== undefined && platform.os !== 'unknown') platforms.push(formatPlatform(platform));
    }
  }
  return [...new Set(platforms)];
}
