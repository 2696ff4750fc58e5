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
import { type DockerV1Manifest, dockerV1From, parseDockerV1 } from '../spec/docker-v1.js';
import type { DockerImage, Image, Secret } from '../spec/image.js';
import { parseImageConfig } from '../spec/image-config.js';
import { formatImageName, type ImageName, parseImageName } from '../spec/image-name.js';
import { formatPlatform, hostPlatform, parsePlatform } from '../spec/platform.js';
import { type RuntimeConfig, runtimeConfigOf } from '../spec/runtime.js';
import { ImagePull, type ImagePullParts, namesOf, type Wanted } from './image-pull.js';
import type { ImageCredentials } from './puller.js';
import type { Retention } from './retention.js';
import type { AcquireOptions, BackendChoice, HeldImage, ImageInfo, PruneOptions, Store } from './store.js';

export interface DockerStoreParts extends ImagePullParts {
  readonly layout: Layout;
  readonly retention: Retention;
  /** Taken for images that name no platform; default: this machine's. */
  readonly platform: string | undefined;
  /** Leaves out how images ask to be run. */
  readonly ignoreRuntime: boolean;
  /** Who logs in for an image with a `config` of its own. Rejects as `SecretResolver.resolve`. */
  readonly credentialsOf: (config: Secret) => Promise<ImageCredentials>;
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

  async acquire(image: Image, backend: BackendChoice, options: AcquireOptions = {}): Promise<HeldImage> {
    const docker = dockerImage(image);
    const { reference, platform } = this.#wanted(docker);
    // What only a pull needs is found out when there is one: an image that is here is answered without its secret.
    const wanted = async (): Promise<Wanted> => ({
      reference,
      platform,
      backend: typeof backend === 'string' ? backend : await backend(),
      ...(docker.config === undefined ? {} : { credentials: await this.#parts.credentialsOf(docker.config) }),
    });
    const lease = await this.#parts.leases.create();
    try {
      const record = await this.#hold(lease, reference, platform, image.cached ?? true, wanted, options);
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
      reference: formatImageName(parseImageName(name)),
      ...(platform === undefined ? {} : { platform: formatPlatform(parsePlatform(platform)) }),
    }));
    await this.#parts.retention.prune(excluded, activeLayerPaths, options);
  }

  #wanted(image: DockerImage): { reference: ImageName; platform: string } {
    const platform = image.platform ?? this.#parts.platform;
    return {
      reference: parseImageName(image.name),
      platform: formatPlatform(platform === undefined ? hostPlatform() : parsePlatform(platform)),
    };
  }

  /** The image's record, with everything that it names under `lease`. */
  async #hold(
    lease: Lease,
    reference: ImageName,
    platform: string,
    cached: boolean,
    wanted: () => Promise<Wanted>,
    options: AcquireOptions,
  ): Promise<ImageRecord> {
    const name = formatImageName(reference);
    let ask = !cached;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const known = this.#parts.metadata.get(name, !ask, platform);
      const isHere = known !== undefined && (await this.#leased(lease, known, options));
      if (isHere && (attempt > 0 || (await this.#isCurrent(reference, known, options)))) {
        if (cached)
          options.onEvent?.({ type: 'resolved', reference: name, digest: known.digest, platform, cached: true });
        await this.#parts.metadata.touch({ reference: name, platform });
        return known;
      }
      await this.#pullFor(lease, await wanted(), options);
      ask = false;
    }
    throw new LarderError('LARDER_INTERNAL', `pull ${name}: pruned again each time it was there`);
  }

  /** Whether what the image was pulled from still says the same. */
  async #isCurrent(reference: ImageName, record: ImageRecord, options: AcquireOptions): Promise<boolean> {
    if (options.asIs === true) return true;
    return this.#parts.puller.isCurrent(reference, record, { ...options, platform: record.platform });
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
    // Who logs in as somebody else asks for himself.
    const own = wanted.credentials?.id ?? '';
    const key = `${formatImageName(wanted.reference)} ${wanted.platform} ${wanted.backend} ${own}`;
    const waiting = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiting.add(lease));
    try {
      await this.#pulls.run(key, (shared) => this.#pull.run(wanted, waiting, shared), options);
    } finally {
      waiting.delete(lease);
      if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
    }
  }

  /** Of an image that came with a v1 document what that says, else what its config makes of it. */
  async #dockerManifest(
    { reference, config, extraBlobs }: ImageRecord,
    document: Uint8Array,
  ): Promise<DockerV1Manifest> {
    const [v1] = extraBlobs ?? [];
    if (v1 === undefined) return dockerV1From(document, hexOf(config), reference);
    return parseDockerV1(await this.#parts.content.read(v1), reference);
  }

  async #infoOf(record: ImageRecord, options: OperationOptions): Promise<ImageInfo> {
    const { layout, content, ignoreRuntime } = this.#parts;
    const document = await content.read(record.config);
    const runtime = ignoreRuntime ? undefined : runtimeOf(document, record.reference, options);
    return {
      layers: record.layers.map((layer) => layout.layer(layer.diffId)),
      dockerManifest: await this.#dockerManifest(record, document),
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
