/**
 * ▸ The provisioner: from images to a container's root filesystems and back. After the store, it is the one that
 * callers talk to.
 *
 * Owns `containers/`. Order is everything here: one claim that names all images of a container is durable before the
 * first mount that it protects (I4) and is released only after the last one is gone; whoever dies in between leaves a
 * claim, and `destroy` of a claimed container undoes whatever half of it was made. Kernel locks keep the `provision` and
 * `destroy` of one container, and those of a container and of what is nested in it, apart in all processes (turns.ts).
 * The store lock is shared around the claim and exclusive around prune's mark-and-rename, and never held while anything
 * is fetched, mounted or deleted (I8).
 */
import type { Backend, BackendName, ProvisionedRootfs } from './backends/backend.js';
import { LarderError, systemError, throwIfAborted } from './errors.js';
import type { OperationOptions } from './events.js';
import type { Layout } from './layout.js';
import type { StoreLock } from './linux/store-lock.js';
import type { Claims } from './metadata/claims.js';
import type { ClaimedImage, ClaimRecord } from './metadata/records.js';
import { Destruction } from './provisioner/destruction.js';
import { hasDirectory } from './provisioner/directories.js';
import { claimOf, type HeldRootfs, Holder } from './provisioner/holder.js';
import { Recovery } from './provisioner/recovery.js';
import {
  type ProvisionInfo,
  type ProvisionRequest,
  type PruneRequest,
  requireVolumes,
  type VolumeInfo,
  type VolumesInfo,
} from './provisioner/request.js';
import { RootFilesystems } from './provisioner/root-filesystems.js';
import { Turns } from './provisioner/turns.js';
import { UnderWay } from './provisioner/under-way.js';
import { imageOfKey } from './spec/any-image.js';
import { type ContainerId, parseContainerId } from './spec/container-id.js';
import type { Image, ImageType } from './spec/image.js';
import type { Store } from './store/store.js';

export type {
  ProvisionInfo,
  ProvisionRequest,
  PruneRequest,
  VolumeInfo,
  VolumeRequest,
  VolumesInfo,
} from './provisioner/request.js';

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
  readonly #turns: Turns;
  readonly #underWay = new UnderWay();
  readonly #roots: RootFilesystems;
  readonly #holder: Holder;
  readonly #destruction: Destruction;

  constructor(parts: ProvisionerParts) {
    this.#parts = parts;
    this.#turns = new Turns(parts.layout);
    this.#roots = new RootFilesystems(parts);
    this.#holder = new Holder(parts);
    this.#destruction = new Destruction({ ...parts, roots: this.#roots });
  }

  /**
   * Makes the image the root filesystem of a new container, and each volume's image one beside it. The container may be
   * nested: its parent need not exist. Durable: it outlives this process. Rejects with LARDER_CONTAINER_EXISTS,
   * LARDER_REQUEST_INVALID, LARDER_IMAGE_*, LARDER_BACKEND_UNAVAILABLE, LARDER_PERMISSION, and with LARDER_ABORTED also
   * when it is destroyed meanwhile; leaves nothing then.
   */
  async provision(id: string, image: Image, request: ProvisionRequest = {}): Promise<ProvisionInfo> {
    const { own, common } = await this.#begin(id, image, request);
    if (own === undefined) throw new LarderError('LARDER_INTERNAL', `provision ${id}: its own root filesystem is lost`);
    const { name: _, readOnly: __, ...root } = own;
    return { ...root, ...common };
  }

  /** The same for a container that has volumes and no image of its own. */
  async provisionVolumes(id: string, request: ProvisionRequest): Promise<VolumesInfo> {
    if ((request.volumes ?? []).length > 0) return (await this.#begin(id, undefined, request)).common;
    throw new LarderError('LARDER_REQUEST_INVALID', `provision ${id}: it has neither an image nor a volume`);
  }

  async #begin(id: string, image: Image | undefined, request: ProvisionRequest): Promise<Made> {
    const container = parseContainerId(id);
    requireVolumes(container, request.volumes ?? []);
    return this.#underWay.run(container, request.signal, async (signal) => {
      const turn = await this.#turns.take(container, signal);
      try {
        return await this.#provision(container, image, { ...request, signal });
      } finally {
        turn.release();
      }
    });
  }

  async #provision(container: ContainerId, image: Image | undefined, request: ProvisionRequest): Promise<Made> {
    this.#refuseExisting(container);
    await using held = await this.#holder.acquire(image, request);
    const claim = claimOf(container, this.#parts.owner, this.#parts.layout, held.all);
    {
      using _shared = await this.#parts.lock.shared(signalOf(request));
      await this.#parts.claims.insert(claim);
    }
    const made = await this.#make(claim, held.all, request);
    for (const { rootfs, backend } of claim.images) request.onEvent?.({ type: 'mounted', container, rootfs, backend });
    return madeOf(claim, held.all, made);
  }

  /**
   * Takes the container's root filesystems down and gives back what they held; first those of the containers nested in
   * it, also when it is a container only by them. Idempotent: false when there is nothing of the kind. Cuts off what this
   * process still fetches for them, and waits for what other processes do. Rejects with LARDER_PERMISSION,
   * LARDER_ROOTFS_BUSY; what is left then goes with the next call.
   */
  async destroy(id: string, options: OperationOptions = {}): Promise<boolean> {
    const container = parseContainerId(id);
    throwIfAborted(options.signal, `destroy ${container}`);
    const cutOff = this.#underWay.cutOff(container);
    // A provision that is still fetching has nothing to show but its turn.
    const maybe = cutOff || this.#turns.isTaken(container) || this.#parts.claims.get(container) !== undefined;
    if (!maybe && !(await this.#destruction.isThere(container))) return false;
    const turn = await this.#turns.take(container, options.signal);
    try {
      return (await this.#destruction.destroyTree(container, options)) || cutOff;
    } finally {
      turn.release();
    }
  }

  /**
   * Destroys this owner's containers that are not in `known`, one by one, also where a known one is nested in them or
   * they are nested in a known one. The known ones stay, and what a reboot has unmounted of them is mounted again.
   * Removes what no container uses any more, and what killed processes left. Whatever fails, the rest is done; then it
   * rejects with the first failure's code and names all. What must not be decided here is told by a warning.
   */
  async recover(known: readonly string[], options: OperationOptions = {}): Promise<void> {
    for (const store of this.#parts.stores.values()) await store.recover(options);
    const recovery = new Recovery({ ...this.#parts, turns: this.#turns, roots: this.#roots });
    try {
      await recovery.run(new Set(known), options);
    } finally {
      await this.#parts.sweep(options);
    }
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
      // A dry run only looks: nobody has to wait for it.
      const { lock, claims, layout } = this.#parts;
      using _exclusive = request.dryRun === true ? undefined : await lock.exclusive(signalOf(request));
      const { images, layers } = claims.used();
      const active = new Set(layers.map((layer) => layout.layerPath(layer)));
      const used = images.map(imageOfKey);
      for (const [type, store] of this.#parts.stores) {
        const excluded = [...excludedImages, ...used].filter((image) => image.type === type);
        await store.prune(excluded, active, request);
      }
    }
    request.onMarked?.();
    if (request.dryRun !== true) await this.#parts.sweep(request);
  }

  /** A directory without a claim, too: it may be the root filesystem of a container whose claim was lost. */
  #refuseExisting(container: ContainerId): void {
    const { claims, layout } = this.#parts;
    if (claims.get(container) === undefined && !hasDirectory(layout, container)) return;
    throw new LarderError('LARDER_CONTAINER_EXISTS', `provision ${container}: there is a container of this name`, {
      hint: `choose another --id, or run \`larder destroy ${container}\` first`,
    });
  }

  async #make(
    claim: ClaimRecord,
    held: readonly HeldRootfs[],
    request: ProvisionRequest,
  ): Promise<readonly ProvisionedRootfs[]> {
    const { nodev = true, nosuid = false, noexec = false, signal, onEvent } = request;
    const forced = new Map(held.map(({ name, forceReadOnly }) => [name, forceReadOnly]));
    try {
      return await this.#roots.make(
        claim,
        ({ name }) => ({ nodev, nosuid, noexec, readOnly: forced.get(name) === true }),
        { ...(signal === undefined ? {} : { signal }), ...(onEvent === undefined ? {} : { onEvent }) },
      );
    } catch (error) {
      await this.#undo(claim, request);
      throw systemError(`provision ${claim.container}`, error);
    }
  }

  /** What failed counts; the claim stays where undoing fails too, and the next destroy goes on. */
  async #undo(claim: ClaimRecord, { onEvent }: OperationOptions): Promise<void> {
    try {
      await this.#roots.unmake(claim.container, claim);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      onEvent?.({ type: 'warning', message: `container ${claim.container}: half of it is left: ${why}` });
    }
  }
}

interface Made {
  /** The container's own root filesystem, if it has one. */
  readonly own: VolumeInfo | undefined;
  readonly common: VolumesInfo;
}

function madeOf(claim: ClaimRecord, held: readonly HeldRootfs[], made: readonly ProvisionedRootfs[]): Made {
  const roots = held.map((each, i) => rootInfo(each, claim.images[i], made[i]));
  return {
    own: roots.find(({ name }) => name === ''),
    common: {
      container: claim.container,
      volumes: roots.filter(({ name }) => name !== ''),
      ephemeralVolumes: roots.flatMap(({ ephemeralVolumes }) => ephemeralVolumes),
      warnings: made.flatMap(({ warnings }) => warnings),
    },
  };
}

function rootInfo(
  { name, held, backend, readOnly }: HeldRootfs,
  image: ClaimedImage | undefined,
  made: ProvisionedRootfs | undefined,
): VolumeInfo {
  return {
    ...held.info,
    name,
    rootfs: image?.rootfs ?? '',
    reference: held.record.reference,
    backend: backend.name,
    readOnly,
    ephemeralVolumes: made?.ephemeral ?? [],
  };
}

function signalOf({ signal }: OperationOptions): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
