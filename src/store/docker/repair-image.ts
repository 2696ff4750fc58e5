/**
 * Fetches again what is broken of one image, and only that, from where the image came from and at the digest that was
 * recorded: its tag may mean something else by now, and stays what it is here.
 */
import type { ContentStore } from '../../content/content-store.js';
import { isLarderError, LarderError } from '../../errors.js';
import type { OperationOptions } from '../../events.js';
import type { Leases } from '../../metadata/leases.js';
import type { ImageRecord } from '../../metadata/records.js';
import type { DiffId, Digest } from '../../spec/digest.js';
import { type ImageName, isArchiveName, parseImageName } from '../../spec/image-name.js';
import { withDigest } from '../../spec/reference.js';
import { type FetchedDocument, type ImagePuller, isUnfinished, type Resolution } from '../puller.js';
import { namesOf } from '../read-through.js';
import { LayerFetch, type LayerFetchParts } from './layer-fetch.js';

export interface ImageRepairParts extends LayerFetchParts {
  readonly puller: ImagePuller;
  readonly leases: Leases;
}

export interface BrokenParts {
  readonly layers: ReadonlySet<DiffId>;
  readonly documents: ReadonlySet<Digest>;
}

export class ImageRepair {
  readonly #parts: ImageRepairParts;
  readonly #fetch: LayerFetch;

  constructor(parts: ImageRepairParts) {
    this.#parts = parts;
    this.#fetch = new LayerFetch(parts);
  }

  /**
   * All of `broken` that the image has is whole when it resolves; the caller has made sure that broken layers have no
   * record. Rejects with LARDER_IMAGE_NOT_FOUND when the source has another image now, and as a pull does.
   */
  async run(record: ImageRecord, broken: BrokenParts, options: OperationOptions): Promise<void> {
    const { puller, leases, content } = this.#parts;
    const { signal = new AbortController().signal, onEvent = () => {} } = options;
    using _requests = puller.listen(onEvent);
    await using _lease = await leases.create(namesOf(record));
    await using resolved = await this.#resolve(record, { signal, onEvent });
    await putDocuments(content, resolved, record, broken.documents);
    const layers = record.layers.filter(({ diffId }) => broken.layers.has(diffId));
    if (layers.length > 0) await this.#fetch.fetchMissing(resolved, layers, { signal, onEvent });
  }

  async #resolve(record: ImageRecord, options: OperationOptions): Promise<Resolution> {
    const { reference, platform, manifest } = record;
    const [first, ...others] = placesOf(record);
    const attempt = (name: ImageName): Promise<Resolution> =>
      this.#parts.puller.resolve(name, { ...options, platform });
    let resolved = await attempt(first).catch(async (error: unknown) => {
      const [other] = others;
      // The registry may have forgotten the image index, and kept the manifest.
      if (other === undefined || !isLarderError(error, 'LARDER_IMAGE_NOT_FOUND')) throw error;
      return attempt(other);
    });
    if (resolved.manifest === manifest) return resolved;
    await resolved[Symbol.asyncDispose]();
    const [other] = others;
    if (other !== undefined) {
      resolved = await attempt(other);
      if (resolved.manifest === manifest) return resolved;
      await resolved[Symbol.asyncDispose]();
    }
    throw new LarderError('LARDER_IMAGE_NOT_FOUND', `repair ${reference}: its source has another image now`, {
      details: { wanted: manifest, found: resolved.manifest },
    });
  }
}

/** What it resolved to, then its manifest alone. An archive has one place. */
function placesOf({ reference, digest, manifest }: ImageRecord): readonly [ImageName, ...ImageName[]] {
  const name = parseImageName(reference);
  if (isArchiveName(name)) return [name];
  if (digest === manifest) return [withDigest(name, digest)];
  return [withDigest(name, digest), withDigest(name, manifest)];
}

async function putDocuments(
  content: ContentStore,
  resolved: Resolution,
  { config, layers }: ImageRecord,
  broken: ReadonlySet<Digest>,
): Promise<void> {
  const put = async (documents: readonly FetchedDocument[]): Promise<void> => {
    for (const { digest, bytes } of documents) if (broken.has(digest)) await content.put(bytes, digest);
  };
  await put(resolved.documents);
  // Of such an image the source has no config: the layers that are recorded make the same one again.
  if (!isUnfinished(resolved) || !broken.has(config)) return;
  await put(resolved.finish(new Map(layers.map((layer) => [layer.digest, layer]))).documents);
}
