import type { ContentStore } from '../../content/content-store.js';
import { isLarderError } from '../../errors.js';
import type { Digest } from '../../spec/digest.js';
import type { KeptDocuments } from './registry-puller.js';

/**
 * Configs and manifests by digest that the store has are not fetched again, and of several processes that want one at
 * the same time one fetches it. What is put here belongs to nobody until a pull that holds a lease puts it again: a prune
 * may take it before, which is no harm.
 */
export function keptDocuments(content: ContentStore): KeptDocuments {
  return async (digest, fetch, signal) => {
    const known = await findSound(content, digest);
    if (known !== undefined) return known;
    await using ingest = await content.openIngest(digest, signal === undefined ? {} : { signal });
    const bytes = (await findSound(content, digest)) ?? (await fetchAndPut(content, digest, fetch));
    await ingest.finish();
    return bytes;
  };
}

async function fetchAndPut(content: ContentStore, digest: Digest, fetch: () => Promise<Uint8Array>) {
  const bytes = await fetch();
  await content.put(bytes, digest);
  return bytes;
}

/** A damaged one is fetched again, which replaces it. */
async function findSound(content: ContentStore, digest: Digest): Promise<Uint8Array | undefined> {
  try {
    return await content.find(digest);
  } catch (error) {
    if (isLarderError(error, 'LARDER_DIGEST_MISMATCH', 'LARDER_SIZE_MISMATCH')) return undefined;
    throw error;
  }
}
