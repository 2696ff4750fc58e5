/** From a schema 1 manifest to an image: its config is made of its history, as Docker makes it, and of the layers' DiffIDs. */
import { LarderError } from '../../errors.js';
import type { ImageLayer } from '../../metadata/records.js';
import { type DiffId, type Digest, digestOf, parseDiffId } from '../../spec/digest.js';
import { configFromDockerV1 } from '../../spec/docker-v1.js';
import { type ImageConfig, parseImageConfig } from '../../spec/image-config.js';
import type { Schema1Manifest } from '../../spec/manifest-v1.js';
import { formatPlatform, type Platform } from '../../spec/platform.js';
import type { FetchedDocument, ImageFacts, UnfinishedImage } from '../puller.js';
import { platformOf } from './resolve-manifest.js';

export type Schema1Facts = Omit<UnfinishedImage, 'sizeOf' | 'layerOrigin' | typeof Symbol.asyncDispose>;

/** Rejects with LARDER_CONFIG_INVALID, LARDER_PLATFORM_NOT_FOUND. */
export function resolveSchema1(
  manifest: Schema1Manifest,
  digest: Digest,
  wanted: Platform,
  doing: string,
): Schema1Facts {
  const blobs = manifest.steps.flatMap(({ layer }) => layer ?? []);
  const top = manifest.steps.at(-1);
  if (top === undefined) throw new LarderError('LARDER_INTERNAL', `${doing}: no history`);
  const make = (diffIds: readonly DiffId[]): { bytes: Uint8Array; config: ImageConfig } => {
    const history = manifest.steps.map((step) => step.history);
    const bytes = configFromDockerV1(top.v1, diffIds, history, doing);
    return { bytes, config: parseImageConfig(bytes, doing) };
  };
  // What makes no config is refused before a layer is fetched, and what is for another machine, too.
  const draft = make(blobs.map(() => NO_DIFF_ID)).config;
  const platform = formatPlatform(platformOf(withArchitecture(draft, manifest), wanted, doing));
  const v1: FetchedDocument = { digest: digestOf(top.v1), bytes: top.v1 };
  const known = { digest, manifest: digest, platform, documents: [{ digest, bytes: manifest.payload }, v1] };
  return {
    ...known,
    blobs: [...new Set(blobs)],
    finish: (found): ImageFacts => {
      const layers = blobs.map((blob) => layerOf(blob, found, doing));
      const { bytes, config: imageConfig } = make(layers.map(({ diffId }) => diffId));
      const config = digestOf(bytes);
      const documents = [...known.documents, { digest: config, bytes }];
      return { ...known, documents, config, v1: v1.digest, imageConfig, layers };
    },
  };
}

const NO_DIFF_ID = parseDiffId(`sha256:${'0'.repeat(64)}`);

/** The manifest says it, too; in schema 1 nothing but Linux was ever said of the system. */
function withArchitecture(config: ImageConfig, { architecture }: Schema1Manifest): ImageConfig {
  return { ...config, os: config.os || 'linux', architecture: config.architecture || architecture };
}

function layerOf(blob: Digest, found: ReadonlyMap<Digest, ImageLayer>, doing: string): ImageLayer {
  const layer = found.get(blob);
  if (layer !== undefined) return layer;
  throw new LarderError('LARDER_BLOB_NOT_FOUND', `${doing}: nothing tells what is in layer ${blob}`);
}
