/**
 * ▸ The default backend: the image is one EROFS mount of metadata over its layers' tars, shared by all its containers;
 * a container is one overlay on it. Nothing is unpacked, and it does not matter how many layers there are.
 */
import type { OperationOptions } from '../events.js';
import type { Backend, ProvisionedRootfs, ProvisionOptions } from './backend.js';
import { mountContainerOverlay, remountContainerOverlay } from './container-overlay.js';
import { ImageMounts } from './image-mounts.js';
import type { LayerAccess } from './layer-access.js';
import { type Probed, probeErofs } from './probe.js';
import { destroyRootfs, requireMounting, type Step } from './rootfs-files.js';
import type { RunTask } from './tasks.js';

export interface ErofsBackendOptions {
  readonly access: LayerAccess;
  readonly run: RunTask;
  /** `mounts/` of the store. */
  readonly mounts: string;
  /** A directory of the store in which a probe may make a directory of its own. */
  readonly scratch: string;
  readonly step?: Step;
}

export class ErofsBackend implements Backend {
  readonly name = 'erofs';
  readonly #options: ErofsBackendOptions;
  readonly #images: ImageMounts;
  readonly #step: Step;

  constructor(options: ErofsBackendOptions) {
    this.#options = options;
    this.#step = options.step ?? (() => {});
    this.#images = new ImageMounts({ directory: options.mounts, access: options.access, step: this.#step });
  }

  async probe(): Promise<Probed> {
    return probeErofs(this.#options.scratch, 'overlay');
  }

  /** Makes the image's metadata, so that a later provision finds it. */
  async prepare(layers: readonly string[], options: OperationOptions = {}): Promise<void> {
    await this.#options.access.mergedImage(layers, options);
  }

  async provision(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options: ProvisionOptions = {},
  ): Promise<ProvisionedRootfs> {
    requireMounting(this.name);
    return await this.#images.use(layers, options, (image) =>
      mountContainerOverlay({ lower: [image], rootfs, backendDir, options, step: this.#step }),
    );
  }

  async remount(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options: ProvisionOptions = {},
  ): Promise<void> {
    requireMounting(this.name);
    await this.#images.use(layers, options, (image) =>
      remountContainerOverlay({ lower: [image], rootfs, backendDir, options }),
    );
  }

  destroy(rootfs: string, backendDir: string): Promise<boolean> {
    return destroyRootfs(rootfs, backendDir, this.#options.run, this.#step);
  }

  release(layers: readonly string[]): Promise<void> {
    return this.#images.release(layers);
  }

  /** New containers of the image with this merged key get a new mount. */
  detach(mergedKey: string): Promise<void> {
    return this.#images.detach(mergedKey);
  }

  /** Unmounts the images that no claim names; for `recover`. */
  sweep(): Promise<void> {
    return this.#images.sweep();
  }
}
