/**
 * ▸ Read-only root filesystems, of any number of layers: the image's shared EROFS mount bound to `rootfs`. Where the
 * kernel has no such EROFS, a read-only overlay of the layers' directories. Nothing is charged to the container.
 */
import { systemError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import { bindMount } from '../linux/mount.js';
import { mountOverlay } from '../linux/overlay-mount.js';
import type { Backend, ProvisionedRootfs, ProvisionOptions } from './backend.js';
import type { ChainDirectories } from './chain-directories.js';
import { mountFlags } from './container-overlay.js';
import { ImageMounts } from './image-mounts.js';
import type { LayerAccess } from './layer-access.js';
import { type Probed, probeErofs, probeOverlay } from './probe.js';
import { destroyRootfs, makeRootfs, requireMounting, type Step } from './rootfs-files.js';
import type { RunTask } from './tasks.js';

export interface BindBackendOptions {
  readonly access: LayerAccess;
  readonly chains: ChainDirectories;
  readonly run: RunTask;
  /** `mounts/` of the store. */
  readonly mounts: string;
  /** A directory of the store in which a probe may make a directory of its own. */
  readonly scratch: string;
  readonly step?: Step;
  /** What the layers are shown from. Default: found out by the first use. */
  readonly from?: 'erofs' | 'directories';
}

interface Place {
  readonly rootfs: string;
  readonly backendDir: string;
  /** The directory is there from the first time. */
  readonly again: boolean;
}

export class BindBackend implements Backend {
  readonly name = 'bind';
  readonly #options: BindBackendOptions;
  readonly #images: ImageMounts;
  readonly #step: Step;
  #from: 'erofs' | 'directories' | undefined;

  constructor(options: BindBackendOptions) {
    this.#options = options;
    this.#step = options.step ?? (() => {});
    this.#images = new ImageMounts({ directory: options.mounts, access: options.access, step: this.#step });
    this.#from = options.from;
  }

  async probe(): Promise<Probed> {
    const { scratch } = this.#options;
    const erofs = probeErofs(scratch, 'bind');
    if (erofs.usable) return erofs;
    const overlay = probeOverlay(scratch);
    return overlay.usable ? { usable: true, reason: `from layer directories: ${erofs.reason}` } : overlay;
  }

  /** Makes what a later provision needs. */
  async prepare(layers: readonly string[], options: OperationOptions = {}): Promise<void> {
    const { access, chains } = this.#options;
    if (this.#source() === 'erofs') await access.mergedImage(layers, options);
    else await chains.prepare(layers, options);
  }

  async provision(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options: ProvisionOptions = {},
  ): Promise<ProvisionedRootfs> {
    await this.#provision(layers, { rootfs, backendDir, again: false }, options);
    return { ephemeral: [], warnings: [] };
  }

  remount(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options: ProvisionOptions = {},
  ): Promise<void> {
    return this.#provision(layers, { rootfs, backendDir, again: true }, options);
  }

  destroy(rootfs: string, backendDir: string): Promise<boolean> {
    return destroyRootfs(rootfs, backendDir, this.#options.run, this.#step);
  }

  release(layers: readonly string[]): Promise<void> {
    return this.#images.release(layers);
  }

  async #provision(layers: readonly string[], place: Place, options: ProvisionOptions): Promise<void> {
    requireMounting(this.name);
    if (this.#source() === 'erofs') {
      await this.#images.use(layers, options, (image) => this.#bind(image, place, options));
    } else {
      this.#show(await this.#options.chains.prepare(layers, options), place, options);
    }
  }

  #source(): 'erofs' | 'directories' {
    this.#from ??= probeErofs(this.#options.scratch, 'bind').usable ? 'erofs' : 'directories';
    return this.#from;
  }

  #show(directories: readonly string[], place: Place, options: ProvisionOptions): void {
    const [only, ...more] = directories;
    if (only !== undefined && more.length === 0) {
      this.#bind(only, place, options);
      return;
    }
    this.#place(place, () => {
      mountOverlay({
        lower: directories,
        target: place.rootfs,
        readOnly: true,
        options: { xino: 'auto' },
        ...mountFlags(options),
      });
    });
  }

  #bind(source: string, place: Place, options: ProvisionOptions): void {
    this.#place(place, () => bindMount({ source, target: place.rootfs, readOnly: true, ...mountFlags(options) }));
  }

  #place({ rootfs, backendDir, again }: Place, mount: () => void): void {
    if (!again) makeRootfs(rootfs, backendDir, this.#step);
    this.#step('mount');
    try {
      mount();
    } catch (error) {
      throw systemError(`provision ${rootfs}: mount it read-only`, error);
    }
    this.#step('mounted');
  }
}
