/** Images whose name is lost: every proven manifest of which all is here, and that no known image has. */
import type { ContentStore } from '../../content/content-store.js';
import { isLarderError } from '../../errors.js';
import type { ImageLayer, ImageRecord } from '../../metadata/records.js';
import { type DiffId, type Digest, hexOf } from '../../spec/digest.js';
import { checkDiffIds, type ImageConfig, parseImageConfig, platformOfConfig } from '../../spec/image-config.js';
import { type ImageManifest, MAX_MANIFEST_BYTES, parseManifest } from '../../spec/manifest.js';
import { formatPlatform, hostPlatform } from '../../spec/platform.js';

export interface FoundContent {
  readonly content: ContentStore;
  /** Proven to be here. */
  readonly blobs: ReadonlySet<Digest>;
  readonly layers: ReadonlySet<DiffId>;
  /** Manifests of images that have a name. */
  readonly named: ReadonlySet<Digest>;
}

export async function unnamedImages({ content, blobs, layers, named }: FoundContent): Promise<ImageRecord[]> {
  const found = new Map<string, ImageRecord>();
  for (const digest of blobs) {
    if (named.has(digest)) continue;
    const bytes = await content.find(digest);
    const manifest = bytes === undefined ? undefined : manifestOf(bytes);
    if (manifest === undefined || !blobs.has(manifest.config.digest)) continue;
    const record = recordOf(digest, manifest, await content.read(manifest.config.digest));
    if (record?.layers.every(({ diffId }) => layers.has(diffId)) === true) found.set(record.reference, record);
  }
  return [...found.values()];
}

/** Most documents are something else. */
function manifestOf(bytes: Uint8Array): ImageManifest | undefined {
  if (bytes.length > MAX_MANIFEST_BYTES) return undefined;
  return orUndefined(() => {
    const manifest = parseManifest(bytes);
    return manifest.kind === 'manifest' ? manifest : undefined;
  });
}

function recordOf(digest: Digest, manifest: ImageManifest, configBytes: Uint8Array): ImageRecord | undefined {
  return orUndefined(() => {
    const config = parseImageConfig(configBytes);
    checkDiffIds(manifest, config);
    const nowMs = Date.now();
    return {
      type: 'docker',
      reference: `localhost/recovered:${hexOf(manifest.config.digest).slice(0, 12)}`,
      platform: formatPlatform(platformOfConfig(config) ?? hostPlatform()),
      digest,
      manifest: digest,
      config: manifest.config.digest,
      layers: layersOf(manifest, config),
      createdAtMs: nowMs,
      lastUsedAtMs: nowMs,
    };
  });
}

/** Of a layer that comes twice the last one counts, as in a pull (I7). */
function layersOf(manifest: ImageManifest, { diffIds }: ImageConfig): ImageLayer[] {
  const layers = manifest.layers.flatMap(({ digest, size, mediaType }, i): ImageLayer[] => {
    const diffId = diffIds[i];
    return diffId === undefined ? [] : [{ diffId, digest, size, mediaType }];
  });
  return layers.filter(({ diffId }, i) => layers.findLastIndex((layer) => layer.diffId === diffId) === i);
}

function orUndefined<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (isLarderError(error) && error.kind !== 'internal') return undefined;
    throw error;
  }
}
