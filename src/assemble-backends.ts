/** The composition of backends: what they need of the store, and which of them works here. */
import { join } from 'node:path';
import { BACKEND_NAMES, type Backend, type BackendName } from './backends/backend.js';
import { BindBackend } from './backends/bind.js';
import { ChainDirectories } from './backends/chain-directories.js';
import { type BackendReport, chooseBackend } from './backends/choose-backend.js';
import { CopyBackend } from './backends/copy.js';
import type { Diagnosis } from './backends/doctor.js';
import { ErofsBackend } from './backends/erofs.js';
import type { LayerAccess } from './backends/layer-access.js';
import { OverlayBackend } from './backends/overlay.js';
import { requireMounting } from './backends/rootfs-files.js';
import type { RunTask } from './backends/tasks.js';
import { Lazy } from './concurrency.js';
import { LarderError } from './errors.js';
import type { LayerStore } from './layers/layer-store.js';
import type { MergedImages } from './layers/merged-images.js';
import { type Layout, parseLayerPath } from './layout.js';
import type { Claims } from './metadata/claims.js';
import type { Derived } from './metadata/derived.js';
import type { DiffId } from './spec/digest.js';
import { type ReadWhitelist, rootfsViewData } from './spec/stack.js';
import { mergedKeyOf } from './tree/merged-key.js';
import type { WorkerPool } from './workers/pool.js';

export type { BackendReport } from './backends/choose-backend.js';

export interface BackendParts {
  readonly layout: Layout;
  readonly layers: LayerStore;
  readonly merged: MergedImages;
  readonly derived: Derived;
  readonly claims: Claims;
  readonly pool: WorkerPool;
  readonly readWhitelist: ReadWhitelist;
  /** Where backends are tried out: this store handle's own, so that nobody clears it away meanwhile. */
  readonly scratch: string;
  /** The backend that the configuration asks for. */
  readonly wanted: BackendName | undefined;
}

export class Backends {
  readonly #parts: BackendParts;
  readonly #all: ReadonlyMap<BackendName, Backend>;
  readonly #erofs: ErofsBackend;
  readonly #choice = new Lazy(() => chooseBackend([...this.#all.values()], this.#parts.wanted));

  constructor(parts: BackendParts) {
    this.#parts = parts;
    const { layout, pool, scratch } = parts;
    const access = layerAccess(parts);
    const run: RunTask = (name, data, { signal } = {}) => pool.run(name, data, signal === undefined ? {} : { signal });
    const chains = new ChainDirectories({ directory: join(layout.derived, 'chains'), access, run });
    const shared = { access, run, chains, mounts: layout.mounts, scratch };
    this.#erofs = new ErofsBackend(shared);
    const list = [this.#erofs, new OverlayBackend(shared), new CopyBackend(shared), new BindBackend(shared)];
    this.#all = new Map(list.map((backend) => [backend.name, backend]));
  }

  /** The backend of this name, whether or not it works here: undoing needs no probe. */
  get(name: string): Backend {
    const backend = this.#all.get(name as BackendName);
    if (backend !== undefined) return backend;
    throw new LarderError('LARDER_FLAGS_INVALID', `backend ${JSON.stringify(name)}: there is no such backend`, {
      hint: `known backends: ${BACKEND_NAMES.join(', ')}`,
    });
  }

  /**
   * The one that is asked for, or configured, or else the first that works here. Rejects with
   * LARDER_BACKEND_UNAVAILABLE and the reasons, or LARDER_PERMISSION where root would help.
   */
  async choose(name?: BackendName): Promise<Backend> {
    if (name !== undefined) this.get(name);
    if (name !== undefined && name !== 'copy') requireMounting(name);
    if (name !== undefined && name !== this.#parts.wanted)
      return (await chooseBackend([...this.#all.values()], name)).backend;
    const { backend, mayPass } = await this.#choice.get();
    // One error of the disk is no reason to do without the better backend until this process ends.
    if (mayPass) this.#choice.forget();
    return backend;
  }

  /** Every backend probed, and which one is chosen by itself. */
  async report(): Promise<{ readonly chosen: BackendName | undefined; readonly reports: readonly BackendReport[] }> {
    const reports: BackendReport[] = [];
    for (const [name, backend] of this.#all) {
      const { usable, reason } = await backend.probe();
      reports.push({ name, usable, reason });
    }
    const usable = (name: BackendName): boolean => reports.some((report) => report.name === name && report.usable);
    const { wanted } = this.#parts;
    const order = wanted === undefined ? (['erofs', 'overlay', 'copy'] as const) : [wanted];
    return { chosen: order.find(usable), reports };
  }

  /** The kernel's EROFS path, tried out. Rejects as `examineErofs`. */
  async *examine(options: { readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<Diagnosis> {
    const { examineErofs } = await import('./backends/doctor.js');
    yield* examineErofs(this.#parts.scratch, options);
  }

  /** After layers were replaced: images that have them are mounted anew for new containers. */
  async detach(diffIds: readonly DiffId[]): Promise<void> {
    if (process.platform !== 'linux') return;
    const images = diffIds.flatMap((diffId) => this.#parts.derived.madeFrom('merged', diffId));
    for (const key of new Set(images.map((image) => image.key))) await this.#erofs.detach(key);
  }

  /** Unmounts shared mounts that no claim names: what a killed process left. */
  async sweep(): Promise<void> {
    if (process.platform === 'linux') await this.#erofs.sweep();
  }
}

function layerAccess({ layers, merged, derived, claims, readWhitelist }: BackendParts): LayerAccess {
  return {
    layerFiles: async (path) => {
      const { diffId, view } = parseLayerPath(path);
      return { ...(await layers.files(diffId)), view, rootfs: await rootfsViewData(view, readWhitelist) };
    },
    mergedKeyOf: (paths) => mergedKeyOf(paths.map(parseLayerPath)),
    mergedImage: (paths, options) => merged.ensure(paths.map(parseLayerPath), options),
    recordChain: async ({ key, layers: diffIds, size }) => {
      if (size === undefined && derived.get('chain', key) !== undefined) return;
      await derived.put({ kind: 'chain', key, sha256: '', size: size ?? 0, layers: diffIds });
    },
    isUsed: (key) => claims.isHeld(key),
  };
}
