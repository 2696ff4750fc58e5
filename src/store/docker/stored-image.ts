/** An image by the documents that the store still has, whether or not a record names it: nobody is asked. */
import type { ContentStore } from '../../content/content-store.js';
import { isLarderError, LarderError } from '../../errors.js';
import type { Descriptor } from '../../spec/descriptor.js';
import type { Digest } from '../../spec/digest.js';
import { parseManifest } from '../../spec/manifest.js';
import type { Platform } from '../../spec/platform.js';
import type { ImageFacts } from '../puller.js';
import { type FetchedManifest, resolveManifest } from './resolve-manifest.js';

/**
 * Undefined when one of the documents is not here, or does not say what is in the layers (schema 1). Rejects with
 * LARDER_PLATFORM_NOT_FOUND when it is not an image for this platform.
 */
export async function resolveStored(
  digest: Digest,
  wanted: Platform,
  content: ContentStore,
  doing: string,
): Promise<ImageFacts | undefined> {
  const read = async (wantedDigest: Digest): Promise<Uint8Array> => {
    const bytes = await content.find(wantedDigest);
    if (bytes !== undefined) return bytes;
    throw new LarderError('LARDER_BLOB_NOT_FOUND', `${doing}: ${wantedDigest} is not in the store`);
  };
  const manifestOf = async (at: Digest, mediaType?: string): Promise<FetchedManifest> => {
    const bytes = await read(at);
    return { digest: at, bytes, manifest: parseManifest(bytes, mediaType, doing) };
  };
  const source = {
    fetchManifest: (entry: Descriptor) => manifestOf(entry.digest, entry.mediaType),
    fetchConfig: (descriptor: Descriptor) => read(descriptor.digest),
  };
  try {
    return await resolveManifest(await manifestOf(digest), source, wanted, doing);
  } catch (error) {
    const lost = ['LARDER_BLOB_NOT_FOUND', 'LARDER_DIGEST_MISMATCH', 'LARDER_SIZE_MISMATCH'] as const;
    if (isLarderError(error, ...lost, 'LARDER_MEDIA_TYPE_UNSUPPORTED')) return undefined;
    throw error;
  }
}
