/**
 * ▸ A root filesystem of its own: every file of the merged tree is written once. Needs no mount and no root; an
 * ordinary user gets files of their own, and is told what could not be kept. No mount of its own says `nodev` or
 * `nosuid`: what these forbid is not made.
 */
import { mayOwnAnything } from '../linux/capabilities.js';
import type { Backend, ProvisionedRootfs, ProvisionOptions } from './backend.js';
import type { LayerAccess, LayerFiles } from './layer-access.js';
import { type Probed, probeCopy } from './probe.js';
import { destroyRootfs, makeRootfs, requireWhole, type Step, writeWhole } from './rootfs-files.js';
import type { RunTask } from './tasks.js';

export interface CopyBackendOptions {
  readonly access: LayerAccess;
  readonly run: RunTask;
  /** A directory of the store in which a probe may make a directory of its own. */
  readonly scratch: string;
  readonly step?: Step;
}

const NO_NOEXEC = 'noexec is not in force: a copy has no mount of its own.';

export class CopyBackend implements Backend {
  readonly name = 'copy';
  readonly #options: CopyBackendOptions;
  readonly #step: Step;

  constructor(options: CopyBackendOptions) {
    this.#options = options;
    this.#step = options.step ?? (() => {});
  }

  async probe(): Promise<Probed> {
    return probeCopy(this.#options.scratch);
  }

  async provision(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options: ProvisionOptions = {},
  ): Promise<ProvisionedRootfs> {
    const { access, run } = this.#options;
    const files: LayerFiles[] = [];
    for (const layer of layers) files.push(await access.layerFiles(layer, options));
    const { nodev = false, nosuid = false } = options;
    const data = { layers: files, directory: rootfs, privileged: mayOwnAnything(), nodev, nosuid };
    const { warnings } = await writeWhole(backendDir, () => {
      makeRootfs(rootfs, backendDir, this.#step);
      this.#step('write files');
      return run('materialise', data, options);
    });
    this.#step('written');
    return { ephemeral: [rootfs], warnings: options.noexec === true ? [...warnings, NO_NOEXEC] : warnings };
  }

  requireWhole(rootfs: string, backendDir: string): void {
    requireWhole(rootfs, backendDir);
  }

  destroy(rootfs: string, backendDir: string): Promise<boolean> {
    return destroyRootfs(rootfs, backendDir, this.#options.run, this.#step);
  }
}
