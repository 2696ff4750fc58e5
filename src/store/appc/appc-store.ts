/**
 * ▸ The store of Appc images (ACIs).
 *
 * Owns nothing on disk itself. An ACI is a layer like any other, a verified tar and its index, seen through a view that
 * makes its `rootfs/` the root; an image is the stack of an ACI and all that it depends on. `appc-pull.ts` has the way
 * in, `retention.ts` the way out.
 */

import { LarderError } from '../../errors.js';
import type { OperationOptions } from '../../events.js';
import type { Layout } from '../../layout.js';
import { type ImageRecord, stackOf } from '../../metadata/records.js';
import {
  type AppcManifest,
  MAX_APPC_MANIFEST_BYTES,
  matchesRequest,
  parseAppcManifest,
} from '../../spec/appc-manifest.js';
import { type AppcRequest, appcRequestOf, formatAppcRequest, platformOfRequest } from '../../spec/appc-name.js';
import { imageIdOf } from '../../spec/appc-types.js';
import type { AppcImage, Image } from '../../spec/image.js';
import { parseJson } from '../../spec/json.js';
import { hostPlatform, parsePlatform } from '../../spec/platform.js';
import { type RuntimeConfig, runtimeOfAppc } from '../../spec/runtime.js';
import type { PullPlan } from '../docker/pull-plan.js';
import { ReadThrough, runtimeUnlessBroken } from '../read-through.js';
import type { BackendChoice, HeldImage, ImageInfo, PruneOptions, Store } from '../store.js';
import type { Retention } from '../upkeep/retention.js';
import { parseAppcDocument } from './appc-document.js';
import { AppcPull, type AppcPullParts, keyOf } from './appc-pull.js';

export interface AppcStoreParts extends AppcPullParts {
  readonly layout: Layout;
  readonly retention: Retention;
  /** `docker_ignore_runtime` */
  readonly ignoreRuntime: boolean;
  /** For images that name neither os nor arch; default: this machine's. */
  readonly platform: string | undefined;
}

export class AppcStore implements Store {
  readonly #parts: AppcStoreParts;
  readonly #images: ReadThrough;
  readonly #pull: AppcPull;

  constructor(parts: AppcStoreParts) {
    this.#parts = parts;
    this.#images = new ReadThrough(parts);
    this.#pull = new AppcPull(parts);
  }

  async recover(options: OperationOptions = {}): Promise<void> {
    await this.#parts.retention.recover(options);
  }

  async get(image: Image, backend: string, options: OperationOptions = {}): Promise<ImageInfo> {
    await using held = await this.acquire(image, backend, options);
    return held.info;
  }

  async acquire(image: Image, backend: BackendChoice, options: OperationOptions = {}): Promise<HeldImage> {
    const request = this.requestOf(image);
    const cached = image.cached ?? true;
    const sought = { reference: formatAppcRequest(request), platform: platformOfRequest(request), cached };
    return this.#images.acquire(
      sought,
      async () => {
        const chosen = typeof backend === 'string' ? backend : await backend();
        const wanted = { request, cached, backend: chosen };
        return { key: `${keyOf(request)} ${chosen} ${cached}`, run: (...how) => this.#pull.run(wanted, ...how) };
      },
      (record) => this.#infoOf(record, request, options),
      options,
    );
  }

  async plan(image: Image): Promise<PullPlan> {
    const request = this.requestOf(image);
    const [reference, platform] = [formatAppcRequest(request), platformOfRequest(request)];
    throw new LarderError(
      'LARDER_IMAGE_TYPE_UNSUPPORTED',
      `plan ${reference}: what an Appc image for ${platform} consists of is known when it has been fetched`,
    );
  }

  async prune(
    excludedImages: readonly Image[],
    activeLayerPaths: ReadonlySet<string>,
    options: PruneOptions = {},
  ): Promise<void> {
    const excluded = excludedImages.map((image) => {
      const { platform, labels: { os, arch } = {} } = appcImage(image);
      const request = this.requestOf(image);
      const reference = formatAppcRequest(request);
      // Without these the name protects the image on every platform.
      const isOfOne = platform !== undefined || (os !== undefined && arch !== undefined);
      return isOfOne ? { reference, platform: platformOfRequest(request) } : { reference };
    });
    await this.#parts.retention.prune(excluded, activeLayerPaths, options);
  }

  /** What an image asks for, with what it leaves out filled in. Rejects with LARDER_REFERENCE_INVALID. */
  requestOf(image: Image): AppcRequest {
    const { platform = this.#parts.platform } = appcImage(image);
    return appcRequestOf(appcImage(image), platform === undefined ? hostPlatform() : parsePlatform(platform));
  }

  async #infoOf(record: ImageRecord, request: AppcRequest, options: OperationOptions): Promise<ImageInfo> {
    const { layout, content, ignoreRuntime } = this.#parts;
    const bytes = await content.read(record.manifest);
    const manifest = parseAppcManifest(bytes, record.reference);
    requireMatch(record, manifest, request);
    const read = (): RuntimeConfig | undefined => runtimeOfAppc(manifest, record.reference);
    const runtime = ignoreRuntime ? undefined : runtimeUnlessBroken(read, options);
    return {
      layers: stackOf(record).map((layer) => layout.layerPath(layer)),
      appcManifest: objectOf(bytes, record.reference),
      appcImages: parseAppcDocument(await content.read(record.config)),
      ...(runtime === undefined ? {} : { runtime }),
    };
  }
}

/** Who names a platform wants it named by the image; who came before may have taken one that runs anywhere. */
function requireMatch({ reference, layers }: ImageRecord, manifest: AppcManifest, request: AppcRequest): void {
  const top = layers.at(-1);
  const mismatch = top === undefined ? 'it has no layers' : matchesRequest(manifest, imageIdOf(top.digest), request);
  if (mismatch === undefined) return;
  throw new LarderError('LARDER_MANIFEST_INVALID', `get ${reference}: it is another image: ${mismatch}`, {
    hint: 'check the name, the labels and the id that are asked for',
  });
}

function appcImage(image: Image): AppcImage {
  if (image.type === 'appc') return image;
  throw new LarderError(
    'LARDER_IMAGE_TYPE_UNSUPPORTED',
    `appc store: an image of type ${image.type} is not in this store`,
  );
}

/** All that the manifest says, also what larder does not know. It was parsed before. */
function objectOf(bytes: Uint8Array, doing: string): Readonly<Record<string, unknown>> {
  const value = parseJson(bytes, { doing, maxBytes: MAX_APPC_MANIFEST_BYTES, code: 'LARDER_MANIFEST_INVALID' });
  return value as Readonly<Record<string, unknown>>;
}
