/**
 * ▸ The store of Docker and OCI images.
 *
 * Owns nothing on disk itself: it drives the content store (manifests, configs), the layer store (tars, indexes), the
 * merged images and the metadata. `image-pull.ts` has the way in, `retention.ts` the way out; here is what is between:
 * who finds an image here, who waits for whose pull, and what holds an image while somebody looks at it (I5).
 */
import { SingleFlight } from '../concurrency.js';
import type { ContentStore } from '../content/content-store.js';
import { isLarderError, LarderError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import type { Layout } from '../layout.js';
import type { Lease } from '../metadata/leases.js';
import { blobsOf, type ImageRecord } from '../metadata/records.js';
import { type Digest, hexOf } from '../spec/digest.js';
import { dockerV1From } from '../spec/docker-v1.js';
import type { DockerImage, Image } from '../spec/image.js';
import { parseImageConfig } from '../spec/image-config.js';
import { formatPlatform, hostPlatform, parsePlatform } from '../spec/platform.js';
import { formatReference, parseReference, type Reference } from '../spec/reference.js';
import { type RuntimeConfig, runtimeConfigOf } from '../spec/runtime.js';
import { ImagePull, type ImagePullParts, namesOf, type Wanted } from './image-pull.js';
import type { Retention } from './retention.js';
import type { BackendChoice, HeldImage, ImageInfo, PruneOptions, Store } from './store.js';

export interface DockerStoreParts extends ImagePullParts {
  readonly layout: Layout;
  readonly retention: Retention;
  /** Taken for images that name no platform; default: this machine's. */
  readonly platform: string | undefined;
  /** Leaves out how images ask to be run. */
  readonly ignoreRuntime: boolean;
}

/** A record found but pruned before it could be leased is looked for again; more often than this is a bug. */
const MAX_ATTEMPTS = 5;

export class DockerStore implements Store {
  readonly #parts: DockerStoreParts;
  readonly #pulls = new SingleFlight<string, ImageRecord>();
  /** Leases of those who wait for each pull. */
  readonly #waiting = new Map<string, Set<Lease>>();
  readonly #pull: ImagePull;

  constructor(parts: DockerStoreParts) {
    this.#parts = parts;
    this.#pull = new ImagePull(parts);
  }

  async recover(options: OperationOptions = {}): Promise<void> {
    await this.#parts.retention.recover(options);
  }

  async get(image: Image, backend: string, options: OperationOptions = {}): Promise<ImageInfo> {
    await using held = await this.acquire(image, backend, options);
    return held.info;
  }

  async acquire(image: Image, backend: BackendChoice, options: OperationOptions = {}): Promise<HeldImage> {
    const { reference, platform } = this.#wanted(dockerImage(image));
    const lease = await this.#parts.leases.create();
    try {
      const record = await this.#hold(lease, reference, platform, image.cached ?? true, backend, options);
      return { info: await this.#infoOf(record, options), record, [Symbol.asyncDispose]: () => lease.release() };
    } catch (error) {
      await lease.release();
      throw error;
    }
  }

  async prune(
    excludedImages: readonly Image[],
    activeLayerPaths: ReadonlySet<string>,
    options: PruneOptions = {},
  ): Promise<void> {
    // Without a platform the name protects the image on every platform.
    const excluded = excludedImages.map(dockerImage).map(({ name, platform }) => ({
      reference: formatReference(parseReference(name)),
      ...(platform === undefined ? {} : { platform: formatPlatform(parsePlatform(platform)) }),
    }));
    await this.#parts.retention.prune(excluded, activeLayerPaths, options);
  }

  #wanted(image: DockerImage): { reference: Reference; platform: string } {
    const platform = image.platform ?? this.#parts.platform;
    return {
      reference: parseReference(image.name),
      platform: formatPlatform(platform === undefined ? hostPlatform() : parsePlatform(platform)),
    };
  }

  /** The image's record, with everything that it names under `lease`. */
  async #hold(
    lease: Lease,
    reference: Reference,
    platform: string,
    cached: boolean,
    backend: BackendChoice,
    options: OperationOptions,
  ): Promise<ImageRecord> {
    const name = formatReference(reference);
    let ask = !cached;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const known = this.#parts.metadata.get(name, !ask, platform);
      if (known !== undefined && (await this.#leased(lease, known, options))) {
        if (cached)
          options.onEvent?.({ type: 'resolved', reference: name, digest: known.digest, platform, cached: true });
        await this.#parts.metadata.touch({ reference: name, platform });
        return known;
      }
      const chosen = typeof backend === 'string' ? backend : await backend();
      await this.#pullFor(lease, { reference, platform, backend: chosen }, options);
      ask = false;
    }
    throw new LarderError('LARDER_INTERNAL', `pull ${name}: pruned again each time it was there`);
  }

  /**
   * Whether all of the image is here, found out after the lease protects it. A prune that is under way may not have seen
   * the lease: only what it left counts, so the look comes under the store lock.
   */
  async #leased(lease: Lease, record: ImageRecord, { signal }: OperationOptions): Promise<boolean> {
    const { lock, metadata, layers, content } = this.#parts;
    await lease.add(namesOf(record));
    using _shared = await lock.shared(signal === undefined ? {} : { signal });
    const still = metadata.get(record.reference, true, record.platform);
    if (still?.manifest !== record.manifest || still.config !== record.config) return false;
    for (const { diffId } of record.layers) if (!(await layers.has(diffId))) return false;
    for (const digest of blobsOf(record)) if (!(await isSound(content, digest))) return false;
    return true;
  }

  /** Joins or starts the image's pull; `lease` is among those that the image is under when the pull ends. */
  async #pullFor(lease: Lease, wanted: Wanted, options: OperationOptions): Promise<void> {
    const key = `${formatReference(wanted.reference)} ${wanted.platform} ${wanted.backend}`;
    const waiting = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiting.add(lease));
    try {
      await this.#pulls.run(key, (shared) => this.#pull.run(wanted, waiting, shared), options);
    } finally {
      waiting.delete(lease);
      if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
    }
  }

  async #infoOf(record: ImageRecord, options: OperationOptions): Promise<ImageInfo> {
    const { layout, content, ignoreRuntime } = this.#parts;
    const document = await content.read(record.config);
    const runtime = ignoreRuntime ? undefined : runtimeOf(document, record.reference, options);
    return {
      layers: record.layers.map((layer) => layout.layer(layer.diffId)),
      dockerManifest: dockerV1From(document, hexOf(record.config), record.reference),
      config: layout.blob(record.config),
      ...(runtime === undefined ? {} : { runtime }),
    };
  }
}

/** An image that cannot be run can still be looked at. */
function runtimeOf(document: Uint8Array, name: string, { onEvent }: OperationOptions): RuntimeConfig | undefined {
  try {
    return runtimeConfigOf(parseImageConfig(document, name), name);
  } catch (error) {
    if (!isLarderError(error, 'LARDER_CONFIG_INVALID')) throw error;
    onEvent?.({ type: 'warning', message: `${error.message}: it can be mounted but not run` });
    return undefined;
  }
}

/** A damaged document counts as missing: the pull that follows replaces it. */
async function isSound(content: ContentStore, digest: Digest): Promise<boolean> {
  try {
    return (await content.find(digest)) !== undefined;
  } catch (error) {
    if (isLarderError(error, 'LARDER_DIGEST_MISMATCH', 'LARDER_SIZE_MISMATCH')) return false;
    throw error;
  }
}

function dockerImage(image: Image): DockerImage {
  if (image.type === 'docker') return image;
  throw new LarderError(
    'LARDER_IMAGE_TYPE_UNSUPPORTED',
    `docker store: an image of type ${image.type} is not in this store`,
  );
}
