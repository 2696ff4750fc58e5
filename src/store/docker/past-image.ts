/**
 * What a reference meant once: out of the store while all of it is still there, else from where it came from, by its
 * digest. Layers that a tag has left are garbage unless something else holds them, and the next prune takes them.
 */
import type { ContentStore } from '../../content/content-store.js';
import { isLarderError, LarderError } from '../../errors.js';
import type { LayerStore } from '../../layers/layer-store.js';
import type { StoreLock } from '../../linux/store-lock.js';
import type { History } from '../../metadata/history.js';
import type { Lease } from '../../metadata/leases.js';
import type { Digest } from '../../spec/digest.js';
import { formatImageName, type ImageName, isArchiveName } from '../../spec/image-name.js';
import { parsePlatform } from '../../spec/platform.js';
import { withDigest } from '../../spec/reference.js';
import type { ImageFacts, ImagePuller, PullOptions, Resolution, ResolvedImage } from '../puller.js';
import { resolveStored } from './stored-image.js';

export interface PastParts {
  readonly history: History;
  readonly puller: ImagePuller;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly lock: StoreLock;
}

/** Rejects with LARDER_IMAGE_NOT_FOUND when it is too late, and as a pull does. */
export async function resolvePast(
  name: ImageName,
  digest: Digest,
  lease: Pick<Lease, 'add'>,
  parts: PastParts,
  options: PullOptions,
): Promise<Resolution> {
  const doing = `go back to ${digest} of ${formatImageName(name)}`;
  const isOwn = parts.history.list(formatImageName(name), options.platform).some((past) => past.digest === digest);
  // That another image in the store has this digest does not make it one of this name.
  const stored = isOwn ? await resolveStored(digest, parsePlatform(options.platform), parts.content, doing) : undefined;
  if (stored !== undefined && (await areHere(stored, lease, parts, options))) return imageInStore(stored);
  if (isArchiveName(name)) throw tooLate(doing);
  try {
    return await parts.puller.resolve(withDigest(name, digest), options);
  } catch (error) {
    throw isLarderError(error, 'LARDER_IMAGE_NOT_FOUND') ? tooLate(doing, error) : error;
  }
}

/** One of which nothing needs to be fetched. */
export function imageInStore(facts: ImageFacts): ResolvedImage {
  return {
    ...facts,
    layerOrigin: ({ digest }) => {
      throw new LarderError('LARDER_BLOB_NOT_FOUND', `fetch layer ${digest}: it went away while it was looked for`);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Found out after the lease protects them. */
async function areHere(
  { layers }: ImageFacts,
  lease: Pick<Lease, 'add'>,
  parts: PastParts,
  { signal }: PullOptions,
): Promise<boolean> {
  await lease.add({ layers: layers.map(({ diffId }) => diffId) });
  // A prune that is under way may not have seen the lease: what it takes must be gone before anything is looked for.
  (await parts.lock.shared(signal === undefined ? {} : { signal })).release();
  for (const { diffId } of layers) if (!(await parts.layers.has(diffId))) return false;
  return true;
}

function tooLate(doing: string, cause?: LarderError): LarderError {
  const source =
    cause === undefined ? 'is not in the store any more' : `is neither in the store any more nor to be had`;
  const why = cause === undefined ? '' : ` (${cause.message})`;
  return new LarderError('LARDER_IMAGE_NOT_FOUND', `${doing}: all of it ${source}${why}`, {
    hint: 'what a tag has left goes with the next prune; `larder pull NAME@DIGEST` and `larder pin` keep it',
    ...(cause === undefined ? {} : { cause }),
  });
}
