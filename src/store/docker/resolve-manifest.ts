/** From what a name leads to down to one image: the same for a registry, an OCI layout and an archive. */
import { LarderError } from '../../errors.js';
import type { ImageLayer } from '../../metadata/records.js';
import type { Descriptor, IndexEntry } from '../../spec/descriptor.js';
import type { Digest } from '../../spec/digest.js';
import { checkDiffIds, type ImageConfig, parseImageConfig, platformOfConfig } from '../../spec/image-config.js';
import type { ImageManifest, Manifest } from '../../spec/manifest.js';
import { isIndexType } from '../../spec/media-types.js';
import { findPlatform, formatPlatform, type Platform, platformMatches, platformNotFound } from '../../spec/platform.js';
import type { FetchedDocument, ImageFacts } from '../puller.js';

/** An image index may name an image index; three levels are more than anyone has a use for. */
const MAX_NESTING = 3;
/** Each costs a request. */
const MAX_NESTED_INDEXES = 10;

export interface FetchedManifest {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

/** Where documents come from; what it answers is verified by digest and size. */
export interface DocumentSource {
  fetchManifest(entry: IndexEntry): Promise<FetchedManifest>;
  fetchConfig(descriptor: Descriptor): Promise<Uint8Array>;
}

/** Rejects with LARDER_PLATFORM_NOT_FOUND, LARDER_MANIFEST_INVALID, LARDER_CONFIG_INVALID, and what the source rejects with. */
export async function resolveManifest(
  top: FetchedManifest,
  source: DocumentSource,
  wanted: Platform,
  doing: string,
): Promise<ImageFacts> {
  const found = await descend({ source, wanted, doing }, top, 0);
  const manifestDocument = found?.documents.at(-1);
  if (found === undefined || manifestDocument === undefined) {
    throw platformNotFound(top.manifest.kind === 'index' ? top.manifest.manifests : [], wanted, doing);
  }
  const { documents, manifest } = found;
  const bytes = await source.fetchConfig(manifest.config);
  const image = parseImageConfig(bytes, `${doing}: config ${manifest.config.digest}`);
  checkDiffIds(manifest, image, doing);
  return {
    digest: top.digest,
    documents: [...documents, { digest: manifest.config.digest, bytes }],
    manifest: manifestDocument.digest,
    config: manifest.config.digest,
    imageConfig: image,
    platform: formatPlatform(platformOf(image, wanted, doing)),
    layers: layersOf(manifest, image),
    ...foreignOf(manifest),
  };
}

function foreignOf({ layers }: ImageManifest): Pick<ImageFacts, 'foreign'> {
  const foreign = new Map(layers.flatMap(({ digest, urls }) => (urls === undefined ? [] : [[digest, urls] as const])));
  return foreign.size === 0 ? {} : { foreign };
}

interface Search {
  readonly source: DocumentSource;
  readonly wanted: Platform;
  readonly doing: string;
}

interface Found {
  readonly documents: readonly FetchedDocument[];
  readonly manifest: ImageManifest;
}

/** The documents from here down to a manifest for the platform: by the index's own entries first, then in the indexes that it names. */
async function descend(
  search: Search,
  { digest, bytes, manifest }: FetchedManifest,
  depth: number,
): Promise<Found | undefined> {
  const here: FetchedDocument = { digest, bytes };
  if (manifest.kind === 'manifest') return { documents: [here], manifest };
  const { source, wanted, doing } = search;
  if (depth === MAX_NESTING) {
    throw new LarderError(
      'LARDER_MANIFEST_INVALID',
      `${doing}: image indexes are nested more than ${MAX_NESTING} deep`,
    );
  }
  const nested = manifest.manifests.filter(({ mediaType }) => isIndexType(mediaType));
  const plain = manifest.manifests.filter(({ mediaType }) => !isIndexType(mediaType));
  const match = findPlatform(plain, wanted);
  for (const entry of match === undefined ? nested.slice(0, MAX_NESTED_INDEXES) : [match]) {
    const found = await descend(search, await source.fetchManifest(entry), depth + 1);
    if (found !== undefined) return { documents: [here, ...found.documents], manifest: found.manifest };
  }
  return undefined;
}

/** The platform that the image says it is for; one that says nothing is taken at the index's word. Rejects with LARDER_PLATFORM_NOT_FOUND. */
export function platformOf(image: ImageConfig, wanted: Platform, doing: string): Platform {
  const offered = platformOfConfig(image);
  if (offered === undefined) return wanted;
  if (platformMatches(offered, wanted)) return offered;
  throw new LarderError(
    'LARDER_PLATFORM_NOT_FOUND',
    `${doing}: the image is for ${formatPlatform(offered)}, not for ${formatPlatform(wanted)}`,
    {
      hint: `choose with --platform ${formatPlatform(offered)}`,
      details: { wanted: formatPlatform(wanted), there: formatPlatform(offered) },
    },
  );
}

function layersOf(manifest: ImageManifest, image: ImageConfig): ImageLayer[] {
  return manifest.layers.map((layer, i) => {
    const diffId = image.diffIds[i];
    if (diffId === undefined) throw new LarderError('LARDER_INTERNAL', `layer ${layer.digest}: no DiffID`);
    return { diffId, digest: layer.digest, size: layer.size, mediaType: layer.mediaType };
  });
}
