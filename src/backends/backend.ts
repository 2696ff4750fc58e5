/**
 * ▸ A backend turns layers into a root filesystem. `erofs`, `overlay`, `copy` and `bind` implement it; the shared
 * suite in `testing/conformance/backend.ts` runs over all of them.
 */
import type { OperationOptions } from '../events.js';

export const BACKEND_NAMES = ['erofs', 'overlay', 'copy', 'bind'] as const;
export type BackendName = (typeof BACKEND_NAMES)[number];

export interface ProvisionOptions extends OperationOptions {
  /**
   * Flags of the container's own mount. `copy`, which has none, leaves out what the first two forbid, and says that it
   * cannot do the third.
   */
  readonly nodev?: boolean;
  readonly nosuid?: boolean;
  readonly noexec?: boolean;
  /**
   * What the container writes need not survive a power cut: fsync inside does nothing, and destroy does not write back
   * the whole file system below, as unmounting an overlay does otherwise. Default false; only for overlay mounts.
   */
  readonly volatile?: boolean;
}

export interface ProvisionedRootfs {
  /** Directories that take what the container writes, for quota (Mesos: ephemeral volumes). */
  readonly ephemeral: readonly string[];
  /** What was not kept (`copy`): one sentence each. */
  readonly warnings: readonly string[];
}

export interface Backend {
  readonly name: BackendName;

  /**
   * Whether it works here, found out by really doing it on the store's file system; the reason either way. With `mayPass`
   * the reason need not be there the next time.
   */
  probe(): Promise<{ readonly usable: boolean; readonly reason: string; readonly mayPass?: boolean }>;

  /**
   * Makes `rootfs` (which must not exist, but its parent) show the layers, later ones over earlier ones. `backendDir`
   * is this root filesystem's own directory, on the store's file system, 0700; `rootfs` may be in it. `layers` are layer
   * paths, base first, at least one. Failed or killed at any point, {@link destroy} undoes what was done.
   * Rejects with LARDER_CONTAINER_EXISTS, LARDER_PERMISSION, LARDER_LAYER_CORRUPT, LARDER_BACKEND_UNAVAILABLE,
   * LARDER_NO_SPACE, LARDER_ABORTED.
   */
  provision(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options?: ProvisionOptions,
  ): Promise<ProvisionedRootfs>;

  /**
   * Unmounts and removes what {@link provision} made, also half of it. Idempotent: false when there was nothing.
   * A busy mount is detached lazily. A `rootfs` that was there before provision is left alone; `backendDir` stays, empty
   * of what the backend put there.
   */
  destroy(rootfs: string, backendDir: string): Promise<boolean>;

  /**
   * Mounts again what {@link provision} made and a reboot has unmounted: same places, same layers, and what the container
   * wrote is there as before. Only where nothing is mounted. A backend without it mounts nothing. Rejects when something
   * of it is missing; nothing is changed then.
   */
  remount?(layers: readonly string[], rootfs: string, backendDir: string, options?: ProvisionOptions): Promise<void>;

  /** Throws when provision wrote files and was killed before all were there. A backend without it has nothing to write. */
  requireWhole?(rootfs: string, backendDir: string): void;

  /** Makes now what a later provision of these layers needs beside them. */
  prepare?(layers: readonly string[], options?: OperationOptions): Promise<void>;

  /** Called after the claim of a container on `layers` is gone: gives back what its containers shared, when none is left. */
  release?(layers: readonly string[]): Promise<void>;
}
