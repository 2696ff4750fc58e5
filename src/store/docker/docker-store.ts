/**
 * ▸ The store of Docker and OCI images.
 *
 * Owns nothing on disk itself: it drives the content store (manifests, configs), the layer store (tars, indexes), the
 * merged images and the metadata. `image-pull.ts` has the way in, `retention.ts` the way out, `read-through.ts` what is
 * between; here is what a name means, whether what it meant still holds, and what is told of an image.
 */
import { LarderError } from '../../errors.js';
import type { OperationOptions } from '../../events.js';
import type { ImageRecord } from '../../metadata/records.js';
import { hexOf } from '../../spec/digest.js';
import { type DockerV1Manifest, dockerV1From, parseDockerV1 } from '../../spec/docker-v1.js';
import type { DockerImage, Image } from '../../spec/image.js';
import { parseImageConfig } from '../../spec/image-config.js';
import { formatImageName, type ImageName, parseImageName } from '../../spec/image-name.js';
import { formatPlatform, hostPlatform, parsePlatform } from '../../spec/platform.js';
import { type RuntimeConfig, runtimeConfigOf } from '../../spec/runtime.js';
import type { ImageCredentials } from '../puller.js';
import type { RunningPulls } from '../pulls/running-pulls.js';
import { type Fetch, ReadThrough, runtimeUnlessBroken } from '../read-through.js';
import type { AcquireOptions, BackendChoice, HeldImage, ImageInfo, PruneOptions, Store } from '../store.js';
import type { Retention } from '../upkeep/retention.js';
import { ImagePull, type ImagePullParts, type Wanted } from './image-pull.js';
import { planPull } from './plan-pull.js';
import type { PullPlan } from './pull-plan.js';

export interface DockerStoreParts extends ImagePullParts {
  readonly pulls: RunningPulls;
  readonly retention: Retention;
  /** Taken for images that name no platform; default: this machine's. */
  readonly platform: string | undefined;
  /** Leaves out how images ask to be run. */
  readonly ignoreRuntime: boolean;
  /** Who logs in for an image that does not leave it to the default login. Rejects as `SecretResolver.resolve`. */
  readonly credentialsOf: (image: DockerImage) => Promise<ImageCredentials | undefined>;
}

export class DockerStore implements Store {
  readonly #parts: DockerStoreParts;
  readonly #images: ReadThrough;
  readonly #pull: ImagePull;

  constructor(parts: DockerStoreParts) {
    this.#parts = parts;
    this.#images = new ReadThrough(parts);
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
      ...(await this.#credentialsOf(docker)),
      ...(options.asOf === undefined ? {} : { asOf: options.asOf }),
    });
    const name = formatImageName(reference);
    return this.#images.acquire(
      {
        reference: name,
        platform,
        cached: image.cached ?? true,
        isCurrent: this.#mayAnswer(docker, reference, options),
      },
      async () => this.#fetchOf(name, await wanted()),
      (record) => this.#infoOf(record, options),
      options,
    );
  }

  async plan(image: Image, options: OperationOptions = {}): Promise<PullPlan> {
    const docker = dockerImage(image);
    const { reference, platform: wanted } = this.#wanted(docker);
    const wantedBy =
      docker.platform !== undefined ? 'request' : this.#parts.platform !== undefined ? 'setting' : 'machine';
    const planned = { reference, wanted, wantedBy, cached: docker.cached ?? true } as const;
    return planPull(planned, () => this.#credentialsOf(docker), this.#parts, options);
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

  /**
   * Asks the registry, with one request, whether the image's login reaches it. Rejects when it does not, or when nobody
   * can tell: LARDER_REGISTRY_*, LARDER_IMAGE_NOT_FOUND, LARDER_POLICY_DENIED for what comes from no registry.
   */
  async prove(image: DockerImage, options: OperationOptions = {}): Promise<void> {
    const { reference, platform } = this.#wanted(image);
    await this.#parts.puller.prove(reference, { ...options, platform, ...(await this.#credentialsOf(image)) });
  }

  async #credentialsOf(image: DockerImage): Promise<{ readonly credentials?: ImageCredentials }> {
    const credentials = await this.#parts.credentialsOf(image);
    return credentials === undefined ? {} : { credentials };
  }

  #wanted(image: DockerImage): { reference: ImageName; platform: string } {
    const platform = image.platform ?? this.#parts.platform;
    return {
      reference: parseImageName(image.name),
      platform: formatPlatform(platform === undefined ? hostPlatform() : parsePlatform(platform)),
    };
  }

  /** Whether what is here may be answered without a pull. */
  #mayAnswer(
    image: DockerImage,
    reference: ImageName,
    options: AcquireOptions,
  ): (record: ImageRecord) => Promise<boolean> {
    const { asIs, asOf } = options;
    if (asOf !== undefined) return async ({ digest }) => digest === asOf;
    if (asIs === true) return async () => true;
    if (image.cached === false) return (record) => this.#isFresh(image, reference, record, options);
    return (record) => this.#parts.puller.isCurrent(reference, record, { ...options, platform: record.platform });
  }

  /** Asks the source, and remembers that it still says the same. */
  async #isFresh(image: DockerImage, name: ImageName, record: ImageRecord, options: AcquireOptions): Promise<boolean> {
    const { puller, history } = this.#parts;
    const { reference, platform, digest, config } = record;
    const { onEvent = () => {} } = options;
    onEvent({ type: 'resolve', reference });
    using _requests = puller.listen(onEvent);
    const asked = { ...options, platform, ...(await this.#credentialsOf(image)) };
    if (!(await puller.isFresh(name, record, asked))) return false;
    await history.add({ reference, platform, digest, imageId: config, how: 'resolved', atMs: Date.now() });
    return true;
  }

  #fetchOf(name: string, wanted: Wanted): Fetch {
    // Who logs in as somebody else asks for himself.
    const own = wanted.credentials?.id ?? '';
    return {
      key: `${name} ${wanted.platform} ${wanted.backend} ${own} ${wanted.asOf ?? ''}`,
      run: (waiting, shared) => this.#pull.run(wanted, waiting, shared),
    };
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
    const name = record.reference;
    const read = (): RuntimeConfig => runtimeConfigOf(parseImageConfig(document, name), name);
    const runtime = ignoreRuntime ? undefined : runtimeUnlessBroken(read, options);
    return {
      layers: record.layers.map((layer) => layout.layer(layer.diffId)),
      dockerManifest: await this.#dockerManifest(record, document),
      config: layout.blob(record.config),
      ...(runtime === undefined ? {} : { runtime }),
    };
  }
}

function dockerImage(image: Image): DockerImage {
  if (image.type === 'docker') return image;
  throw new LarderError(
    'LARDER_IMAGE_TYPE_UNSUPPORTED',
    `docker store: an image of type ${image.type} is not in this store`,
  );
}
