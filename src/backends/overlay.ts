/**
 * ▸ The classic: one directory for each layer, one overlay for each container. For kernels without EROFS of 512-byte
 * blocks. Page cache and disk are shared between images with the same base layers.
 */
import type { OperationOptions } from '../events.js';
import type { Backend, ProvisionedRootfs, ProvisionOptions } from './backend.js';
import type { ChainDirectories } from './chain-directories.js';
import { mountContainerOverlay, remountContainerOverlay } from './container-overlay.js';
import { type Probed, probeOverlay } from './probe.js';
import { destroyRootfs, requireMounting, type Step } from './rootfs-files.js';
import type { RunTask } from './tasks.js';

export interface OverlayBackendOptions {
  readonly chains: ChainDirectories;
  readonly run: RunTask;
  /** A directory of the store in which a probe may make a directory of its own. */
  readonly scratch: string;
  readonly step?: Step;
}

export class OverlayBackend implements Backend {
  readonly name = 'overlay';
  readonly #options: OverlayBackendOptions;
  readonly #step: Step;

  constructor(options: OverlayBackendOptions) {
    this.#options = options;
    this.#step = options.step ?? (() => {});
  }

  async probe(): Promise<Probed> {
    return probeOverlay(this.#options.scratch);
  }

  /** Makes the layers' directories, so that a later provision finds them. */
  async prepare(layers: readonly string[], options: OperationOptions = {}): Promise<void> {
    requireMounting(this.name);
    await this.#options.chains.prepare(layers, options);
  }

  async provision(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options: ProvisionOptions = {},
  ): Promise<ProvisionedRootfs> {
    requireMounting(this.name);
    const lower = await this.#options.chains.prepare(layers, options);
    return mountContainerOverlay({ lower, rootfs, backendDir, options, step: this.#step });
  }

  async remount(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options: ProvisionOptions = {},
  ): Promise<void> {
    requireMounting(this.name);
    const lower = await this.#options.chains.prepare(layers, options);
    remountContainerOverlay({ lower, rootfs, backendDir, options });
  }

  destroy(rootfs: string, backendDir: string): Promise<boolean> {
    return destroyRootfs(rootfs, backendDir, this.#options.run, this.#step);
  }
}
