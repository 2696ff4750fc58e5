/** The images that a container is to have, all held until its claim is durable. */
import type { Backend, BackendName } from '../backends/backend.js';
import { Lazy } from '../concurrency.js';
import { isLarderError, LarderError } from '../errors.js';
import type { Layout } from '../layout.js';
import { blobsOf, type ClaimedImage, type ClaimRecord, stackOf } from '../metadata/records.js';
import type { ContainerId } from '../spec/container-id.js';
import type { Image, ImageType } from '../spec/image.js';
import type { HeldImage, Store } from '../store/store.js';
import { mergedKeyOf } from '../tree/merged-key.js';
import { allDone } from './all-done.js';
import type { ProvisionRequest, VolumeRequest } from './request.js';

export interface HolderParts {
  readonly stores: ReadonlyMap<ImageType, Store>;
  readonly chooseBackend: (name?: BackendName) => Promise<Backend>;
}

interface Wanted {
  /** '' for the container's own root filesystem, else the volume's name. */
  readonly name: string;
  readonly image: Image;
  readonly readOnly: boolean;
  readonly backend: Backend;
}

/** One root filesystem to be, with its image. */
export interface HeldRootfs extends Wanted {
  readonly held: HeldImage;
  /** Its backend's root filesystems can be written, and this one is not to be. */
  readonly forceReadOnly: boolean;
}

export interface HeldImages extends AsyncDisposable {
  /** The container's own first, then the volumes in the order of the request. */
  readonly all: readonly HeldRootfs[];
}

export class Holder {
  readonly #parts: HolderParts;
  /** Finding out whether it works takes a mount. */
  readonly #bind = new Lazy(() => this.#parts.chooseBackend('bind'));

  constructor(parts: HolderParts) {
    this.#parts = parts;
  }

  /** Fetched side by side where they are not here. When one fails, none is held. */
  async acquire(image: Image | undefined, request: ProvisionRequest): Promise<HeldImages> {
    const wanted = await this.#wanted(image, request);
    const { signal, onEvent } = request;
    const all = await allDone(
      wanted,
      signal,
      async (each, stop): Promise<HeldRootfs> => {
        const options = { signal: stop, ...(onEvent === undefined ? {} : { onEvent }) };
        const held = await this.#storeOf(each.image.type).acquire(each.image, each.backend.name, options);
        return { ...each, held, forceReadOnly: each.readOnly && each.backend.name !== 'bind' };
      },
      async ({ held }) => held[Symbol.asyncDispose](),
    );
    return {
      all,
      [Symbol.asyncDispose]: async () => {
        for (const { held } of all) await held[Symbol.asyncDispose]();
      },
    };
  }

  async #wanted(image: Image | undefined, { backend, volumes = [] }: ProvisionRequest): Promise<Wanted[]> {
    const wanted: Wanted[] = [];
    if (image !== undefined) {
      const own = await this.#parts.chooseBackend(backend);
      wanted.push({ name: '', image, readOnly: own.name === 'bind', backend: own });
    }
    for (const volume of volumes) {
      const { name, readOnly = true } = volume;
      const chosen = await this.#backendOf(volume, backend);
      wanted.push({ name, image: volume.image, readOnly: readOnly || chosen.name === 'bind', backend: chosen });
    }
    return wanted;
  }

  async #backendOf({ backend, readOnly = true }: VolumeRequest, own: BackendName | undefined): Promise<Backend> {
    if (backend !== undefined || !readOnly) return this.#parts.chooseBackend(backend ?? own);
    try {
      return await this.#bind.get();
    } catch (error) {
      if (!isLarderError(error, 'LARDER_BACKEND_UNAVAILABLE', 'LARDER_PERMISSION')) throw error;
      return this.#parts.chooseBackend(own);
    }
  }

  #storeOf(type: ImageType): Store {
    const store = this.#parts.stores.get(type);
    if (store !== undefined) return store;
    throw new LarderError('LARDER_IMAGE_TYPE_UNSUPPORTED', `provision: images of type ${type} are not supported`);
  }
}

/** One claim on everything that the container's root filesystems are made of. */
export function claimOf(
  container: ContainerId,
  owner: string,
  layout: Layout,
  all: readonly HeldRootfs[],
): ClaimRecord {
  return {
    container,
    owner,
    images: all.map((each) => claimedImage(container, layout, each)),
    blobs: [...new Set(all.flatMap(({ held }) => blobsOf(held.record)))],
    createdAtMs: Date.now(),
  };
}

function claimedImage(container: ContainerId, layout: Layout, { name, held, backend }: HeldRootfs): ClaimedImage {
  const { type, reference, platform } = held.record;
  const layers = stackOf(held.record);
  return {
    name,
    ...{ type, reference, platform },
    backend: backend.name,
    rootfs: layout.rootfs(container, name),
    layers,
    // Who shares nothing must not keep the image mounted for others.
    mergedKey: backend.release === undefined ? undefined : mergedKeyOf(layers),
  };
}
