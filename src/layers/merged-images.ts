/**
 * ▸ One EROFS image of metadata per stack of layers, shared by all images and containers that have that stack.
 *
 * Owns `derived/<format>/merged/`. All of it can be made again from the layers (I10): an image whose checksum is not
 * the recorded one is refused and made anew, with the same bytes. The `erofs` backend calls `ensure` before a mount,
 * `image.fs` calls `tree`, a pull calls `validate` where nothing can be mounted. `derived-listing.ts` takes them away.
 */
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { SingleFlight } from '../concurrency.js';
import { systemError } from '../errors.js';
import type { OnEvent, OperationOptions } from '../events.js';
import type { Layout } from '../layout.js';
import { ensureDirectory, fsyncDirectory } from '../linux/durable.js';
import type { DerivedRecord, LayerRecord } from '../metadata/records.js';
import type { DiffId } from '../spec/digest.js';
import { type ReadWhitelist, rootfsViewData, type StackLayer } from '../spec/stack.js';
import { mergeLayers } from '../tree/merge.js';
import { mergedKeyOf } from '../tree/merged-key.js';
import { seenAs } from '../tree/seen-as.js';
import type { DataSource, LayerIndex, MergedTree } from '../tree/types.js';
import type { WorkerPool } from '../workers/pool.js';
import { matchesRecord } from './derived-file.js';
import { type DeviceSlot, readDeviceTable } from './device-table.js';
import type { MergeInput, MergeJob, MergeResult } from './layer-job.js';
import type { LayerStore } from './layer-store.js';

/** The metadata's part: durable when the promise resolves. */
export interface DerivedRecords {
  get(kind: DerivedRecord['kind'], key: string): Promise<DerivedRecord | undefined> | DerivedRecord | undefined;
  put(record: DerivedRecord): Promise<void> | void;
}

export interface MergedImagesOptions {
  readonly layout: Layout;
  readonly layers: LayerStore;
  readonly records: DerivedRecords;
  readonly pool: WorkerPool;
  readonly readWhitelist: ReadWhitelist;
  readonly onEvent?: OnEvent;
  /** Called before each numbered step of a durable protocol, so that tests can stop there. */
  readonly onStep?: (step: string) => void;
}

/** A data file that the kernel must be given, opened and checked to have exactly `size` bytes. */
export interface DataDevice {
  readonly diffId: DiffId;
  readonly source: DataSource;
  readonly path: string;
  readonly size: number;
}

export interface MergedImage {
  /** The merged key. */
  readonly key: string;
  readonly path: string;
  /** Hex. */
  readonly sha256: string;
  readonly size: number;
  /** In the order in which the kernel must be given them. */
  readonly devices: readonly DataDevice[];
}

export interface EnsureOptions extends OperationOptions {
  /** Make it again even when it is as recorded. */
  readonly rebuild?: boolean;
}

export class MergedImages {
  readonly #options: MergedImagesOptions;
  readonly #layout: Layout;
  readonly #making = new SingleFlight<string, MergedImage>();

  constructor(options: MergedImagesOptions) {
    this.#options = options;
    this.#layout = options.layout;
  }

  /**
   * The image of these layers, base first; made when it is missing or not what was recorded. Its checksum has been
   * verified in this call, and its data files are there. The caller holds the layers by a lease or claim.
   * Rejects with LARDER_LAYER_CORRUPT, LARDER_LAYER_INVALID, LARDER_LAYER_LIMIT, LARDER_NO_SPACE.
   */
  async ensure(stack: readonly StackLayer[], options: EnsureOptions = {}): Promise<MergedImage> {
    const key = mergedKeyOf(stack);
    const found = options.rebuild === true ? undefined : await this.#find(key, stack);
    if (found !== undefined) return found;
    return this.#making.run(key, (shared) => this.#make(key, stack, shared), options);
  }

  /** The merged tree of these layers, base first, in this thread's memory. */
  async tree(stack: readonly StackLayer[]): Promise<MergedTree> {
    const { layers, readWhitelist } = this.#options;
    const read = async ({ diffId, view }: StackLayer): Promise<LayerIndex> =>
      seenAs(await layers.index(diffId), await rootfsViewData(view, readWhitelist));
    return mergeLayers(await Promise.all(stack.map(read)));
  }

  /** Rejects as {@link ensure} does when these layers make no tree together; writes nothing. */
  async validate(stack: readonly StackLayer[], options: OperationOptions = {}): Promise<void> {
    await this.#merge(mergedKeyOf(stack), stack, undefined, options);
  }

  async #find(key: string, stack: readonly StackLayer[]): Promise<MergedImage | undefined> {
    const record = await this.#options.records.get('merged', key);
    if (record === undefined) return undefined;
    const path = this.#layout.merged(key);
    if (!(await matchesRecord(path, record.size, record.sha256))) return undefined;
    const layers = await this.#recordsOf(stack);
    const slots = await this.#slotsOf(path, layers);
    if (slots === undefined) return undefined;
    await this.#ensureExtras(slots, layers);
    return { key, path, sha256: record.sha256, size: record.size, devices: this.#devicesOf(slots, layers) };
  }

  /**
   * Crash argument. The image is durable in staging before it has its name, and its name is durable before its record
   * is. Between them it is a file that nobody trusts, and the next call writes the same bytes again.
   */
  async #make(key: string, stack: readonly StackLayer[], options: OperationOptions): Promise<MergedImage> {
    const startedMs = performance.now();
    await using staging = await this.#options.layers.stage();
    this.#step('merge: 1 write');
    const staged = join(staging.path, 'merged.erofs');
    const { sha256, size, entries, devices } = await this.#merge(key, stack, staged, options);
    this.#step('merge: 2 rename');
    const path = this.#layout.merged(key);
    await install(staged, path, join(this.#layout.derived, 'merged'));
    this.#step('merge: 3 record');
    // The point of no return.
    await this.#options.records.put({ kind: 'merged', key, sha256, size, layers: stack.map(({ diffId }) => diffId) });
    this.#step('merge: 4 done');
    const ms = performance.now() - startedMs;
    const event = { type: 'merge', layers: stack.length, entries, ms } as const;
    options.onEvent?.(event);
    this.#options.onEvent?.(event);
    return { key, path, sha256, size, devices: this.#devicesOf(devices, await this.#recordsOf(stack)) };
  }

  async #merge(
    mergedKey: string,
    stack: readonly StackLayer[],
    outPath: string | undefined,
    options: OperationOptions,
  ): Promise<MergeResult> {
    const job: MergeJob = { layers: await Promise.all(stack.map((layer) => this.#inputOf(layer))), mergedKey, outPath };
    return this.#options.pool.run<MergeResult>(
      'merge',
      job,
      options.signal === undefined ? {} : { signal: options.signal },
    );
  }

  async #inputOf({ diffId, view }: StackLayer): Promise<MergeInput> {
    const { layers, readWhitelist } = this.#options;
    const { indexSha256, indexSize, extraSha256, extraSize } = await layers.ensureDerived(diffId);
    const rootfs = await rootfsViewData(view, readWhitelist);
    const index = { path: this.#layout.layerIndex(diffId), sha256: indexSha256, size: indexSize };
    if (extraSha256 === undefined) return { diffId, rootfs, index, extra: undefined };
    return {
      diffId,
      rootfs,
      index,
      extra: { path: this.#layout.layerExtra(diffId), sha256: extraSha256, size: extraSize },
    };
  }

  async #recordsOf(stack: readonly StackLayer[]): Promise<LayerRecord[]> {
    return Promise.all(stack.map(({ diffId }) => this.#options.layers.mustHave(diffId)));
  }

  async #slotsOf(path: string, layers: readonly LayerRecord[]): Promise<readonly DeviceSlot[] | undefined> {
    try {
      await using file = await open(path);
      return await readDeviceTable(file, layers);
    } catch (error) {
      throw systemError(`read merged image: ${path}`, error);
    }
  }

  async #ensureExtras(slots: readonly DeviceSlot[], layers: readonly LayerRecord[]): Promise<void> {
    for (const { layer, source } of slots) {
      const record = layers[layer];
      if (source === 'extra' && record !== undefined) await this.#options.layers.ensureDerived(record.diffId);
    }
  }

  #devicesOf(slots: readonly DeviceSlot[], layers: readonly LayerRecord[]): DataDevice[] {
    return slots.flatMap(({ layer, source }): DataDevice[] => {
      const record = layers[layer];
      if (record === undefined) return [];
      const { diffId, tarSize, extraSize } = record;
      if (source === 'tar') return [{ diffId, source, path: this.#layout.layerTar(diffId), size: tarSize }];
      return [{ diffId, source, path: this.#layout.layerExtra(diffId), size: extraSize }];
    });
  }

  #step(step: string): void {
    this.#options.onStep?.(step);
  }
}

async function install(staged: string, path: string, directory: string): Promise<void> {
  await ensureDirectory(directory);
  try {
    await rename(staged, path);
  } catch (error) {
    throw systemError(`install merged image: ${path}`, error);
  }
  await fsyncDirectory(directory);
}
