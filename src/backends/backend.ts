/**
 * ▸ A backend turns layers into a root filesystem. `erofs`, `overlay`, `copy` and `bind` implement it; the shared
 * suite in `testing/conformance/backend.ts` runs over all of them.
 */
import type { OperationOptions } from '../events.js';

export const BACKEND_NAMES = ['erofs', 'overlay', 'copy', 'bind'] as const;
export type BackendName = (typeof BACKEND_NAMES)[number];

export interface ProvisionOptions extends OperationOptions {
  /** Flags of the container's own mount; ignored by `copy`. */
  readonly nodev?: boolean;
  readonly nosuid?: boolean;
  readonly noexec?: boolean;
}

export interface ProvisionedRootfs {
  /** Directories that take what the container writes, for quota (Mesos: ephemeral volumes). */
  readonly ephemeral: readonly string[];
  /** What could not be kept (unprivileged `copy`): one sentence each. */
  readonly warnings: readonly string[];
}

export interface Backend {
  readonly name: BackendName;

  /** Whether it works here, found out by really doing it on the store's file system; the reason either way. */
  probe(): Promise<{ readonly usable: boolean; readonly reason: string }>;

  /**
   * Makes `rootfs` (which must not exist) show the layers, later ones over earlier ones. `backendDir` is the
   * container's own directory, on the store's file system, 0700. `layers` are layer paths, base first, at least one.
   * Killed at any point, {@link destroy} undoes what was done.
   */
  provision(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options?: ProvisionOptions,
  ): Promise<ProvisionedRootfs>;

  /**
   * Unmounts and removes what {@link provision} made, also half of it. Idempotent: false when there was nothing.
   * A busy mount is detached lazily.
   */
  destroy(rootfs: string, backendDir: string): Promise<boolean>;

  /** Called after the claim of a container on `layers` is gone: gives back what its containers shared, when none is left. */
  release?(layers: readonly string[]): Promise<void>;
}
