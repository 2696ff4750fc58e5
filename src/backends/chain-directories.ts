/**
 * ▸ Layers as overlay directories, `derived/<format>/chains/<ChainID>/`: each is what that layer changes in the merged
 * tree of those below it. One directory serves every image with the same layers up to it. Owns `chains/`.
 *
 * 1. Under the lock of `chains/`, what a killed process left is removed.
 * 2. The missing directories are made together beside their places, and synced.
 * 3. Each is renamed into its place: from here on it exists (I10: it appears only whole).
 * 4. It is recorded. A directory in place without a record is whole, so it is recorded then.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { systemError, throwIfAborted } from '../errors.js';
import type { OperationOptions } from '../events.js';
import { fsyncDirectory } from '../linux/durable.js';
import { lockFile } from '../linux/file-lock.js';
import { makeDirectories } from '../linux/make-directories.js';
import { dropInheritedAcls } from '../linux/xattr.js';
import { type DiffId, hexOf } from '../spec/digest.js';
import { chainIdsOf, stackLayer } from '../spec/stack.js';
import type { LayerAccess, LayerFiles } from './layer-access.js';
import type { Step } from './rootfs-files.js';
import type { RunTask } from './tasks.js';

export interface ChainDirectoriesOptions {
  /** `derived/<format>/chains` of the store; created when it is missing. */
  readonly directory: string;
  readonly access: LayerAccess;
  readonly run: RunTask;
  readonly step?: Step;
}

interface Chain {
  readonly depth: number;
  readonly key: string;
  readonly path: string;
  readonly diffIds: readonly DiffId[];
}

const MAKING = '.making-';

export class ChainDirectories {
  readonly #options: ChainDirectoriesOptions;
  readonly #step: Step;
  /** Keys that this process has seen recorded. */
  readonly #known = new Set<string>();

  constructor(options: ChainDirectoriesOptions) {
    this.#options = options;
    this.#step = options.step ?? (() => {});
  }

  /** The directories of the layers, base first; made where they are missing. Rejects with LARDER_LAYER_CORRUPT, LARDER_NO_SPACE. */
  async prepare(layerPaths: readonly string[], options: OperationOptions = {}): Promise<readonly string[]> {
    const { access, directory } = this.#options;
    const layers: LayerFiles[] = [];
    for (const path of layerPaths) layers.push(await access.layerFiles(path, options));
    const chains = chainsOf(directory, layers);
    if (!chains.every((chain) => this.#isReady(chain))) await this.#makeLocked(layers, chains, options);
    return chains.map(({ path }) => path);
  }

  #isReady({ key, path }: Chain): boolean {
    return this.#known.has(key) && existsSync(path);
  }

  async #makeLocked(layers: readonly LayerFiles[], chains: readonly Chain[], options: OperationOptions): Promise<void> {
    const { directory } = this.#options;
    makeDirectories(directory);
    const { signal } = options;
    const lock = await lockFile(join(directory, '.lock'), 'exclusive', signal === undefined ? {} : { signal });
    try {
      await this.#removeLeftovers();
      const missing = chains.filter(({ path }) => !existsSync(path));
      const sizes = await this.#make(layers, missing, options);
      for (const chain of chains) await this.#record(chain, sizes.get(chain.key));
    } finally {
      lock.release();
    }
  }

  async #removeLeftovers(): Promise<void> {
    const { directory, run } = this.#options;
    for (const name of readdirSync(directory)) {
      if (name.startsWith(MAKING)) await run('removeTree', { path: join(directory, name) });
    }
  }

  /** Apparent bytes by key. */
  async #make(
    layers: readonly LayerFiles[],
    missing: readonly Chain[],
    options: OperationOptions,
  ): Promise<ReadonlyMap<string, number>> {
    if (missing.length === 0) return new Map();
    const { directory, run } = this.#options;
    const making = join(directory, `${MAKING}${randomUUID()}`);
    try {
      mkdirSync(making, { mode: 0o700 });
      dropInheritedAcls(making);
      const jobs = missing.map(({ depth, key }) => ({ depth, directory: join(making, key) }));
      for (const job of jobs) mkdirSync(job.directory, { mode: 0o700 });
      this.#step('write chains');
      const made = await run('buildChains', { layers, chains: jobs }, options);
      throwIfAborted(options.signal, 'make overlay directories');
      this.#step('rename chains');
      for (const { key, path } of missing) renameSync(join(making, key), path);
      await fsyncDirectory(directory);
      this.#step('record chains');
      return new Map(missing.map(({ key }, i) => [key, made[i]?.bytes ?? 0]));
    } catch (error) {
      throw systemError(`make overlay directories: ${directory}`, error);
    } finally {
      await run('removeTree', { path: making });
    }
  }

  async #record({ key, diffIds }: Chain, size: number | undefined): Promise<void> {
    if (size !== undefined || !this.#known.has(key)) {
      await this.#options.access.recordChain({ key, layers: diffIds, size });
    }
    this.#known.add(key);
  }
}

function chainsOf(directory: string, layers: readonly LayerFiles[]): readonly Chain[] {
  const stack = layers.map(({ diffId, view }) => stackLayer(diffId, view));
  const diffIds = layers.map(({ diffId }) => diffId);
  return chainIdsOf(stack).map((chainId, i) => {
    const key = hexOf(chainId);
    return { depth: i + 1, key, path: join(directory, key), diffIds: diffIds.slice(0, i + 1) };
  });
}
