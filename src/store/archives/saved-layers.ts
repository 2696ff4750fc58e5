/**
 * Layers of a `docker save` archive, and the image that they make. Such an archive has no manifest as registries have
 * them. One is written here from what is proven: the config's digest, and for each layer its digest, which is its DiffID
 * where it is not compressed.
 */
import { isLarderError, LarderError } from '../../errors.js';
import type { Descriptor } from '../../spec/descriptor.js';
import { type DiffId, type Digest, digestOf, parseDigest } from '../../spec/digest.js';
import { parseManifest } from '../../spec/manifest.js';
import { DOCKER_CONFIG, DOCKER_MANIFEST } from '../../spec/media-types.js';
import type { Platform } from '../../spec/platform.js';
import { formatReference, parseReference } from '../../spec/reference.js';
import { SNIFF_BYTES, sniffCompression } from '../../tar/compression.js';
import { resolveManifest } from '../docker/resolve-manifest.js';
import { type ArchiveFile, type ArchiveFiles, invalid, readStart } from './archive-files.js';
import type { ArchiveImage } from './archive-image.js';
import type { HashArchivedResult } from './archive-tasks.js';

/** Hashes a part of a file in a thread. */
export type HashArchived = (file: ArchiveFile) => Promise<HashArchivedResult>;

/** One layer, as it lies in the archive. */
export interface SavedLayer {
  readonly diffId: DiffId;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly file: ArchiveFile;
}

const LAYER_TYPE = 'application/vnd.docker.image.rootfs.diff.tar';

/** The image of these layers and this config, with the manifest that it would have in a registry. */
export async function imageOfLayers(
  config: Uint8Array,
  layers: readonly SavedLayer[],
  wanted: Platform,
  doing: string,
): Promise<ArchiveImage> {
  const manifest = {
    schemaVersion: 2,
    mediaType: DOCKER_MANIFEST,
    config: { mediaType: DOCKER_CONFIG, size: config.length, digest: digestOf(config) },
    layers: layers.map(({ mediaType, digest, file }): Descriptor => ({ mediaType, size: file.size, digest })),
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const top = { digest: digestOf(bytes), bytes, manifest: parseManifest(bytes, DOCKER_MANIFEST, doing) };
  const source = { fetchManifest: async () => top, fetchConfig: async () => config };
  const facts = await resolveManifest(top, source, wanted, doing);
  return { facts, places: new Map(layers.map(({ digest, file }) => [digest, file])) };
}

/** What the first bytes of a layer show decides its media type; where it is compressed, only hashing tells its digest. */
export async function savedLayer(
  file: ArchiveFile,
  diffId: DiffId,
  digest: Digest | undefined,
  doing: string,
  hash: HashArchived,
): Promise<SavedLayer> {
  const found = sniffCompression(await readStart(file, SNIFF_BYTES, doing));
  if (found === 'none') return { file, diffId, digest: parseDigest(diffId), mediaType: LAYER_TYPE };
  if (found !== 'gzip' && found !== 'zstd') {
    throw new LarderError('LARDER_MEDIA_TYPE_UNSUPPORTED', `${doing}: a layer is compressed with ${found}`);
  }
  const known = digest ?? parseDigest(`sha256:${(await hash(file)).sha256}`);
  return { file, diffId, digest: known, mediaType: `${LAYER_TYPE}.${found}` };
}

/** A member that the archive's list names. */
export async function required(files: ArchiveFiles, name: string, doing: string): Promise<ArchiveFile> {
  const file = await files.find(name);
  if (file !== undefined) return file;
  throw invalid(doing, `${JSON.stringify(name.slice(0, 200))} is listed but not in it`);
}

/** None for what is no name, such as `<none>:<none>`. */
export function canonicalTag(tag: string): string[] {
  try {
    return [formatReference(parseReference(tag))];
  } catch (error) {
    if (!isLarderError(error, 'LARDER_REFERENCE_INVALID', 'LARDER_IMAGE_TYPE_UNSUPPORTED')) throw error;
    return [];
  }
}
