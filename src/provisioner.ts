/**
 * ▸ The provisioner: from an image to a container's root filesystem and back. After the store, it is the one that
 * callers talk to.
 *
 * Owns `containers/`. Order is everything here: a claim is durable before the mount that it protects (I4) and is
 * released only after that mount is gone; whoever dies in between leaves a claim, and `destroy` of a claimed container
 * undoes whatever half of it was made. One kernel lock for each container keeps its `provision` and `destroy` apart,
 * in all processes. The store lock is shared around the claim and exclusive around prune's mark-and-rename, and never
 * held while anything is fetched, mounted or deleted (I8).
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Backend, BackendName, ProvisionedRootfs } from './backends/backend.js';
import { errnoOf, LarderError, systemError } from './errors.js';
import type { OperationOptions } from './events.js';
import type { Layout } from './layout.js';
import { type FileLock, lockFile } from './linux/file-lock.js';
import { mountsUnder } from './linux/mountinfo.js';
import type { StoreLock } from './linux/store-lock.js';
import type { Claims } from './metadata/claims.js';
import { blobsOf, type ClaimedImage, type ClaimRecord, type ImageRecord, stackOf } from './metadata/records.js';
import { type ContainerId, parseContainerId } from './spec/container-id.js';
import type { Image, ImageType } from './spec/image.js';
import type { ImageInfo, PruneOptions, Store } from './store/store.js';
import { mergedKeyOf } from './tree/merged-key.js';

export interface ProvisionInfo extends ImageInfo {
  readonly container: ContainerId;
  /** Where the root filesystem is. */
  readonly rootfs: string;
  readonly backend: BackendName;
  /** Directories that take what the container writes, for quota. */
  readonly ephemeralVolumes: readonly string[];
  /** What could not be kept, one sentence each. */
  readonly warnings: readonly string[];
  /** Canonical reference of the image. */
  readonly reference: string;
}

export interface ProvisionRequest extends OperationOptions {
  /** Default: the automatic choice. */
  readonly backend?: BackendName;
  /** Flags of the container's mount. `nodev` is on unless it is set to false. */
  readonly nodev?: boolean;
  readonly nosuid?: boolean;
  readonly noexec?: boolean;
}

export interface PruneRequest extends PruneOptions {
  /** Called when everything is marked and renamed away, before anything is deleted. */
  readonly onMarked?: () => void;
}

export interface ProvisionerParts {
  readonly layout: Layout;
  readonly lock: StoreLock;
  readonly claims: Claims;
  readonly stores: ReadonlyMap<ImageType, Store>;
  readonly owner: string;
  /** The named backend, or the automatic choice; rejects when it does not work here. */
  readonly chooseBackend: (name?: BackendName) => Promise<Backend>;
  /** A backend by name, to undo what it did. */
  readonly backendOf: (name: string) => Backend;
  /** Deletes what prune renamed away, and downloads that were given up; after the lock is released. */
  readonly sweep: (options: OperationOptions) => Promise<void>;
}

export class Provisioner {
  readonly #parts: ProvisionerParts;

  constructor(parts: ProvisionerParts) {
    this.#parts = parts;
  }

  /**
   * Makes the image the root filesystem of a new container. Durable: it outlives this process. Rejects with
   * LARDER_CONTAINER_EXISTS, LARDER_IMAGE_*, LARDER_BACKEND_UNAVAILABLE, LARDER_PERMISSION, and leaves nothing then.
   */
  async provision(id: string, image: Image, request: ProvisionRequest = {}): Promise<ProvisionInfo> {
    const container = parseContainerId(id);
    const turn = await this.#turn(container, request.signal);
    try {
      return await this.#provision(container, image, request);
    } finally {
      turn.release({ unlink: true });
    }
  }

  async #provision(container: ContainerId, image: Image, request: ProvisionRequest): Promise<ProvisionInfo> {
    await this.#refuseExisting(container);
    const backend = await this.#parts.chooseBackend(request.backend);
    await using held = await this.#storeOf(image.type).acquire(image, backend.name, request);
    const claim = this.#claimOf(container, backend, held.record);
    const rootfs = this.#parts.layout.rootfs(container);
    {
      using _shared = await this.#parts.lock.shared(signalOf(request));
      await this.#parts.claims.insert(claim);
    }
    const { layers } = held.info;
    const made = await this.#make(claim, backend, layers, request);
    request.onEvent?.({ type: 'mounted', container, rootfs, backend: backend.name });
    return {
      ...held.info,
      container,
      rootfs,
      backend: backend.name,
      ephemeralVolumes: made.ephemeral,
      warnings: made.warnings,
      reference: held.record.reference,
    };
  }

  /**
   * Takes the container's root filesystem down and gives back what it held. Idempotent: false when there is no such
   * container. Waits for a provision of it that is under way. Rejects with LARDER_PERMISSION, LARDER_ROOTFS_BUSY.
   */
  async destroy(id: string, options: OperationOptions = {}): Promise<boolean> {
    const container = parseContainerId(id);
    // A provision that is still fetching has nothing to show but its turn.
    if (!(await this.#exists(container)) && !existsSync(this.#turnPath(container))) return false;
    const turn = await this.#turn(container, options.signal);
    try {
      const claim = this.#parts.claims.get(container);
      if (claim === undefined && !(await this.#exists(container))) return false;
      await this.#unmake(container, claim);
      options.onEvent?.({ type: 'destroyed', container });
      return true;
    } finally {
      turn.release({ unlink: true });
    }
  }

  /** Destroys this owner's containers that are not in `known`; the others stay. Removes what no container uses any more. */
  async recover(known: readonly string[], options: OperationOptions = {}): Promise<void> {
    const keep = new Set(known);
    for (const store of this.#parts.stores.values()) await store.recover(options);
    for (const claim of this.#parts.claims.list()) {
      if (claim.owner === this.#parts.owner && !keep.has(claim.container)) await this.destroy(claim.container, options);
    }
    await this.#parts.sweep(options);
  }

  /** Containers with a claim, whoever made them. */
  list(): readonly ClaimRecord[] {
    return this.#parts.claims.list();
  }

  /** The claim of one container. Rejects with LARDER_CONTAINER_NOT_FOUND. */
  claimOf(id: string): ClaimRecord {
    const claim = this.#parts.claims.get(parseContainerId(id));
    if (claim !== undefined) return claim;
    throw new LarderError('LARDER_CONTAINER_NOT_FOUND', `container ${id}: there is no such container`, {
      hint: '`larder containers` lists them',
    });
  }

  /**
   * Forgets every image that is neither excluded nor in use by a container, and frees what nothing holds. The lock is
   * held to mark and rename only; deleting comes after it.
   */
  async pruneImages(excludedImages: readonly Image[], request: PruneRequest = {}): Promise<void> {
    {
      using _exclusive = await this.#parts.lock.exclusive(signalOf(request));
      const claims = this.#parts.claims.list();
      const images = claims.flatMap((claim) => claim.images);
      const active = new Set(
        images.flatMap(({ layers }) => layers.map((layer) => this.#parts.layout.layerPath(layer))),
      );
      const used = images.map(imageOfClaim);
      for (const [type, store] of this.#parts.stores) {
        const excluded = [...excludedImages, ...used].filter((image) => image.type === type);
        await store.prune(excluded, active, request);
      }
    }
    request.onMarked?.();
    if (request.dryRun !== true) await this.#parts.sweep(request);
  }

  #storeOf(type: ImageType): Store {
    const store = this.#parts.stores.get(type);
    if (store !== undefined) return store;
    throw new LarderError('LARDER_IMAGE_TYPE_UNSUPPORTED', `provision: images of type ${type} are not supported`);
  }

  /** A directory without a claim, too: it may be the root filesystem of a container whose claim was lost. */
  async #refuseExisting(container: ContainerId): Promise<void> {
    if (!(await this.#exists(container))) return;
    throw new LarderError('LARDER_CONTAINER_EXISTS', `provision ${container}: there is a container of this name`, {
      hint: `choose another --id, or run \`larder destroy ${container}\` first`,
    });
  }

  #claimOf(container: ContainerId, backend: Backend, record: ImageRecord): ClaimRecord {
    const { type, reference, platform } = record;
    const layers = stackOf(record);
    const image: ClaimedImage = {
      name: '',
      ...{ type, reference, platform },
      backend: backend.name,
      rootfs: this.#parts.layout.rootfs(container),
      layers,
      // Who shares nothing must not keep the image mounted for others.
      mergedKey: backend.release === undefined ? undefined : mergedKeyOf(layers),
    };
    return {
      container,
      owner: this.#parts.owner,
      images: [image],
      blobs: blobsOf(record),
      createdAtMs: Date.now(),
    };
  }

  async #make(
    claim: ClaimRecord,
    backend: Backend,
    layers: readonly string[],
    request: ProvisionRequest,
  ): Promise<ProvisionedRootfs> {
    const directory = this.#parts.layout.container(claim.container);
    try {
      await mkdir(directory, { mode: 0o700 });
      const { nodev = true, nosuid = false, noexec = false, signal, onEvent } = request;
      const flags = { nodev, nosuid, noexec };
      return await backend.provision(layers, this.#parts.layout.rootfs(claim.container), directory, {
        ...flags,
        ...(signal === undefined ? {} : { signal }),
        ...(onEvent === undefined ? {} : { onEvent }),
      });
    } catch (error) {
      await this.#unmake(claim.container, claim);
      throw systemError(`provision ${claim.container}`, error);
    }
  }

  /** Mounts, files, claim, and what was shared: in this order, so that a crash leaves the claim to try again by. */
  async #unmake(container: ContainerId, claim: ClaimRecord | undefined): Promise<void> {
    const { layout, claims } = this.#parts;
    const directory = layout.container(container);
    // Without a claim (lost metadata) the plainest backend's undo fits all: unmount what is mounted, remove the files.
    const [image] = claim?.images ?? [];
    const backend = this.#parts.backendOf(image?.backend ?? 'copy');
    await backend.destroy(layout.rootfs(container), directory);
    await this.#removeDirectory(container, directory);
    if (claim === undefined) return;
    await claims.remove(container);
    await backend.release?.((image?.layers ?? []).map((layer) => layout.layerPath(layer)));
  }

  async #removeDirectory(container: ContainerId, directory: string): Promise<void> {
    const mounts = await mountsUnder(directory);
    if (mounts.length > 0) {
      throw new LarderError(
        'LARDER_ROOTFS_BUSY',
        `destroy ${container}: ${mounts[0]?.mountPoint ?? directory}: still mounted`,
        {
          hint: 'unmount what was mounted below the root filesystem, then destroy it again',
        },
      );
    }
    try {
      await rm(directory, { recursive: true, force: true });
    } catch (error) {
      throw systemError(`destroy ${container}`, error);
    }
  }

  async #exists(container: ContainerId): Promise<boolean> {
    if (this.#parts.claims.get(container) !== undefined) return true;
    try {
      await readdir(this.#parts.layout.container(container));
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw systemError(`container ${container}`, error);
    }
  }

  #turn(container: ContainerId, signal: AbortSignal | undefined): Promise<FileLock> {
    return lockFile(this.#turnPath(container), 'exclusive', signal === undefined ? {} : { signal });
  }

  #turnPath(container: ContainerId): string {
    return join(this.#parts.layout.containers, `${container}.lock`);
  }
}

function imageOfClaim(image: ClaimedImage): Image {
  return image.type === 'docker'
    ? { type: 'docker', name: image.reference, platform: image.platform }
    : { type: 'appc', name: image.reference };
}

function signalOf({ signal }: OperationOptions): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
