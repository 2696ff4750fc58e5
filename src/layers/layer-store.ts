/**
 * ▸ The layers that are here: each a verified tar that never changes (I2, I11), and what is derived from it (I10).
 *
 * Owns `layers/`, `derived/<format>/layers/`, `staging/` and `gc/`; nobody else writes there, but for the worker tasks
 * that it or a puller starts on a {@link Staging}. Stores pull with `stage` and `adopt`; backends, the merged images and
 * `image.fs` read with `index` and `openTar`; prune calls `retire` in short turns under the exclusive store lock, and
 * `sweep` without any. What a layer is known by, its record, is kept by the metadata and handed in.
 *
 * Garbage is safe, dangling is not: the tar is there before its record on the way in, the record goes before the tar on
 * the way out.
 */
import { type Dir, lstatSync } from 'node:fs';
import { type FileHandle, opendir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, type LarderError, systemError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { DERIVED_FORMAT, type Layout } from '../layout.js';
import { ensureDirectory, fsyncDirectory } from '../linux/durable.js';
import { makeDirectories } from '../linux/make-directories.js';
import { namesIn } from '../linux/names-in.js';
import type { LayerRecord } from '../metadata/records.js';
import { type DiffId, hexOf, parseDiffId } from '../spec/digest.js';
import { DEFAULT_LAYER_LIMITS, type LayerLimits } from '../tar/entry.js';
import { decodeLayerIndex } from '../tree/layer-index.js';
import type { LayerIndex } from '../tree/types.js';
import type { WorkerPool } from '../workers/pool.js';
import { readDerived } from './derived-file.js';
import { Garbage, type Swept } from './garbage.js';
import type { IndexJob, IndexResult, LayerResult, VerifyJob, VerifyResult } from './layer-job.js';
import { abandonedStagings, createStaging, type Staging } from './staging.js';
import { corrupt, openExactly, sizeOf } from './stored-file.js';

/** The metadata's part: durable when the promise resolves. */
export interface LayerRecords {
  get(diffId: DiffId): Promise<LayerRecord | undefined> | LayerRecord | undefined;
  put(record: LayerRecord): Promise<void> | void;
  /** Forgets those that nothing holds, all or none. Answers those of `diffIds` that have no record then. */
  forget(diffIds: readonly DiffId[]): Promise<ReadonlySet<DiffId>> | ReadonlySet<DiffId>;
}

export interface LayerStoreOptions {
  readonly layout: Layout;
  readonly records: LayerRecords;
  readonly pool: WorkerPool;
  /** The id of the store handle that this object belongs to; names its staging directories. */
  readonly handle: string;
  readonly limits?: LayerLimits;
  readonly onEvent?: OnEvent;
  /** Called before each numbered step of a durable protocol, so that tests can stop there. */
  readonly onStep?: (step: string) => void;
}

export interface RetiredLayers {
  readonly retired: readonly DiffId[];
  readonly failures: readonly LarderError[];
}

export interface StoredLayer {
  readonly diffId: DiffId;
  /** Undefined: a tar that no record names, left by a process that died before the commit. */
  readonly record: LayerRecord | undefined;
}

/** One layer's files, as plain data for a backend or a worker. */
export interface LayerFiles {
  readonly diffId: DiffId;
  readonly tar: string;
  readonly tarSize: number;
  /** Undefined when the layer has none. */
  readonly extra: string | undefined;
  readonly extraSize: number;
  readonly index: string;
  /** Hex. */
  readonly indexSha256: string;
  readonly indexSize: number;
}

export interface VerifyOptions {
  readonly signal?: AbortSignal;
  /** Hears how many bytes more have been read. */
  readonly onBytes?: (bytes: number) => void;
}

const HEX = /^[0-9a-f]{64}$/;

export class LayerStore {
  readonly #layout: Layout;
  readonly #options: LayerStoreOptions;
  readonly #garbage: Garbage;
  readonly #rebuilding = new Map<DiffId, Promise<LayerRecord>>();

  constructor(options: LayerStoreOptions) {
    this.#options = options;
    this.#layout = options.layout;
    this.#garbage = new Garbage(options.layout.gc);
  }

  /** Makes the directories that are missing. Idempotent. */
  async prepare(): Promise<void> {
    const { layers, derived, staging, gc } = this.#layout;
    for (const path of [layers, join(derived, 'layers'), join(derived, 'merged'), staging, gc]) {
      await ensureDirectory(path);
    }
  }

  /** Removes the staging of store handles that are no more, and what waits in `gc/`. */
  async recover(isAlive: (handle: string) => Promise<boolean>): Promise<Swept> {
    await this.prepare();
    for (const path of await abandonedStagings(this.#layout.staging, isAlive)) await this.#garbage.take(path);
    return this.sweep();
  }

  /** Whether the layer is recorded and its tar is there at the recorded size. The bytes are not read; {@link verify} does. */
  async has(diffId: DiffId): Promise<boolean> {
    const record = await this.record(diffId);
    return record !== undefined && (await sizeOf(this.#layout.layerTar(diffId))) === record.tarSize;
  }

  async record(diffId: DiffId): Promise<LayerRecord | undefined> {
    return this.#options.records.get(diffId);
  }

  /** LARDER_LAYER_CORRUPT when no record names the layer. */
  async mustHave(diffId: DiffId): Promise<LayerRecord> {
    const record = await this.record(diffId);
    if (record === undefined) throw corrupt(diffId, 'the store has no such layer');
    return record;
  }

  /** A new workbench; the caller disposes it when its layers are adopted or given up. */
  async stage(): Promise<Staging> {
    return createStaging(this.#layout.staging, this.#options.handle, this.#options.onEvent);
  }

  /**
   * Makes staged layers part of the store, durably. The caller holds the store lock (shared) and a lease on them.
   * Quiet for a layer that is already there: the staged copy stays in its staging and goes with it. Answers the layers
   * that took the place of a tar which was no good: who has that one mounted sees it still.
   *
   * Crash argument. Before 2 nothing of a layer is visible: staging is garbage, and derived files without a record are
   * too. From 2 on the tar stands complete under its name, because its bytes and its directory were synced in staging
   * (I2). It counts only with its record, and that is written when the name is durable (I3).
   */
  async adopt(staged: readonly LayerResult[]): Promise<readonly DiffId[]> {
    const missing: LayerResult[] = [];
    for (const layer of staged) if (!(await this.has(layer.diffId))) missing.push(layer);
    if (missing.length === 0) return [];
    this.#step('adopt: 1 derived files');
    for (const layer of missing) await this.#installDerived(layer);
    this.#step('adopt: 2 rename');
    const replaced: DiffId[] = [];
    for (const layer of missing) if (await this.#installTar(layer)) replaced.push(layer.diffId);
    this.#step('adopt: 3 sync the directory');
    await fsyncDirectory(this.#layout.layers);
    this.#step('adopt: 4 record');
    // The point of no return, for each layer by itself.
    for (const layer of missing) await this.#options.records.put(recordOf(layer));
    this.#step('adopt: 5 done');
    return replaced;
  }

  /**
   * The layer's entries. Read from the derived index, which is refused when its checksum is not the recorded one and
   * is then made again from the tar (I10). LARDER_LAYER_CORRUPT: the layer is not there, or its tar is not its DiffID's.
   */
  async index(diffId: DiffId): Promise<LayerIndex> {
    const record = await this.ensureDerived(diffId);
    const bytes = await this.#readIndex(record);
    if (bytes === undefined) throw corrupt(diffId, 'its index vanished while it was read');
    return decodeLayerIndex(bytes);
  }

  /** Makes sure that the derived files are there and as recorded, without keeping them; the record that is true then. */
  async ensureDerived(diffId: DiffId): Promise<LayerRecord> {
    const record = await this.mustHave(diffId);
    if ((await this.#readIndex(record)) !== undefined && (await this.#hasExtra(record))) return record;
    let rebuilding = this.#rebuilding.get(diffId);
    if (rebuilding === undefined) {
      rebuilding = this.#rebuild(record).finally(() => this.#rebuilding.delete(diffId));
      this.#rebuilding.set(diffId, rebuilding);
    }
    return rebuilding;
  }

  /** Where the layer's files are and what they must be, its derived ones made when they are missing. As {@link ensureDerived}. */
  async files(diffId: DiffId): Promise<LayerFiles> {
    const record = await this.ensureDerived(diffId);
    const tar = this.#layout.layerTar(diffId);
    await (await openExactly(tar, record.tarSize, diffId)).close();
    return {
      diffId,
      tar,
      tarSize: record.tarSize,
      extra: record.extraSize === 0 ? undefined : this.#layout.layerExtra(diffId),
      extraSize: record.extraSize,
      index: this.#layout.layerIndex(diffId),
      indexSha256: record.indexSha256,
      indexSize: record.indexSize,
    };
  }

  /** The tar for reading. LARDER_LAYER_CORRUPT when it is missing or not as long as it was when it was adopted. */
  async openTar(diffId: DiffId): Promise<FileHandle> {
    const record = await this.mustHave(diffId);
    return openExactly(this.#layout.layerTar(diffId), record.tarSize, diffId);
  }

  /** The files whose bytes are not mapped from the tar; undefined when the layer has none. */
  async openExtra(diffId: DiffId): Promise<FileHandle | undefined> {
    const record = await this.ensureDerived(diffId);
    if (record.extraSize === 0) return undefined;
    return openExactly(this.#layout.layerExtra(diffId), record.extraSize, diffId);
  }

  /** Reads all of the tar: rejects with LARDER_LAYER_CORRUPT unless its SHA-256 is its name (I2). */
  async verify(diffId: DiffId, options: VerifyOptions = {}): Promise<void> {
    const { signal, onBytes } = options;
    const job: VerifyJob = { path: this.#layout.layerTar(diffId) };
    const found = await this.#options.pool.run<VerifyResult>('verify', job, {
      ...(signal === undefined ? {} : { signal }),
      ...(onBytes === undefined ? {} : { onMessage: (bytes) => onBytes(Number(bytes)) }),
    });
    if (found.sha256 !== hexOf(diffId)) throw corrupt(diffId, `its tar hashes to sha256:${found.sha256}`);
  }

  /**
   * Reads all of the tar, makes the derived files again and records the layer, whatever was known of it. Rejects with
   * LARDER_LAYER_CORRUPT when the tar is missing or is not what its name says (I2); then nothing has changed.
   */
  async prove(diffId: DiffId, options: { readonly signal?: AbortSignal } = {}): Promise<LayerRecord> {
    const tarSize = await sizeOf(this.#layout.layerTar(diffId));
    if (tarSize === undefined || tarSize < 0) throw corrupt(diffId, 'there is no layer.tar');
    return this.#derive(diffId, tarSize, options);
  }

  /** Every layer under `layers/`, recorded or not, by one look at the directory; for who asks for many. */
  async names(): Promise<ReadonlySet<DiffId>> {
    const names = await readdir(this.#layout.layers).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw systemError(`list ${this.#layout.layers}`, error);
    });
    return new Set(names.filter((name) => HEX.test(name)).map((name) => `sha256:${name}` as DiffId));
  }

  /** Every layer under `layers/`, recorded or not. */
  async *list(): AsyncGenerator<StoredLayer, void, void> {
    for await (const entry of await openDirectory(this.#layout.layers)) {
      if (!HEX.test(entry.name)) continue;
      const diffId = parseDiffId(`sha256:${entry.name}`);
      yield { diffId, record: await this.record(diffId) };
    }
  }

  /** The layers that something lies on disk of: a tar, or what is derived from one; recorded or not. */
  async onDisk(): Promise<ReadonlySet<DiffId>> {
    const directories = [this.#layout.layers, join(this.#layout.derived, 'layers')];
    const names = (await Promise.all(directories.map((path) => namesIn(path)))).flat();
    return new Set(names.filter((name) => HEX.test(name)).map((name) => parseDiffId(`sha256:${name}`)));
  }

  /**
   * Forgets those of these layers that nothing holds (I5), and moves them and those that have no record to `gc/`. The
   * caller holds the store lock exclusively, and hands in few enough layers for that to be short: one change of records
   * and two renames for each (I8). What cannot be renamed is answered and does not keep the rest.
   *
   * Crash argument. After 1 each layer is a tar without a record: never used, and found by the next prune, which looks
   * at the disk. A rename that a power cut undoes brings back just that. Whoever adopts such a layer meanwhile holds the
   * store lock shared from before the tar gets its name until its record is durable: it is never seen half-way here.
   */
  async retire(...diffIds: readonly DiffId[]): Promise<RetiredLayers> {
    if (diffIds.length === 0) return { retired: [], failures: [] };
    this.#step('retire: 1 records');
    // The point of no return, for all of them.
    const unrecorded = await this.#options.records.forget(diffIds);
    const going = diffIds.filter((diffId) => unrecorded.has(diffId));
    this.#step('retire: 2 rename the tars');
    const tars = going.map((diffId) => this.#garbage.takeNow(this.#layout.layer(diffId)));
    this.#step('retire: 3 rename derived files');
    const derived = going.map((diffId) => this.#garbage.takeNow(this.#layout.derivedLayer(diffId)));
    this.#step('retire: 4 done');
    return {
      retired: going.filter((_, i) => tars[i] === 'taken' || derived[i] === 'taken'),
      failures: [...tars, ...derived].filter((outcome) => typeof outcome !== 'string'),
    };
  }

  /** Deletes what is in `gc/`, without any lock. Failures are reported, not thrown; the rest goes all the same. */
  async sweep(): Promise<Swept> {
    const swept = await this.#garbage.sweep();
    for (const { name, bytes } of swept.removed) {
      const hex = /^([0-9a-f]{64})\./.exec(name)?.[1];
      if (hex !== undefined) this.#tell({ type: 'removed', what: 'layer', name: `sha256:${hex}`, bytes });
    }
    for (const failure of swept.failures) this.#tell({ type: 'warning', message: failure.message });
    return swept;
  }

  async #installDerived(layer: Pick<LayerResult, 'diffId' | 'index' | 'extra'>): Promise<void> {
    const directory = this.#layout.derivedLayer(layer.diffId);
    try {
      makeDirectories(directory);
      if (layer.extra !== undefined) await rename(layer.extra.path, this.#layout.layerExtra(layer.diffId));
      await rename(layer.index.path, this.#layout.layerIndex(layer.diffId));
    } catch (error) {
      throw systemError(`adopt derived files: ${layer.diffId}`, error);
    }
  }

  /**
   * What stands there already has no record, or not the recorded length: nobody has proven it, so the proven one takes
   * its place, in one instant: an image whose layer has no tar is forgotten by whoever recovers. Those who have the old one
   * mounted keep it. Another adopter may do the same at this moment: either one's tar is the layer. Answers whether there
   * was one.
   */
  async #installTar(layer: LayerResult): Promise<boolean> {
    const target = this.#layout.layer(layer.diffId);
    const staged = join(layer.outDir, 'layer');
    let wasThere = false;
    for (;;) {
      try {
        wasThere ||= lstatSync(target, { throwIfNoEntry: false }) !== undefined;
        // Onto an empty directory, too.
        await rename(staged, target);
        return wasThere;
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === 'ENOTDIR') await this.#garbage.take(target);
        else if (errno !== 'ENOTEMPTY' && errno !== 'EEXIST') throw systemError(`adopt: ${layer.diffId}`, error);
        else if (await this.#replaceTar(layer.diffId, join(staged, 'layer.tar'))) return true;
      }
    }
  }

  /** Durably. False when the directory is gone meanwhile, or a directory was in the way, and is not any more. */
  async #replaceTar(diffId: DiffId, tar: string): Promise<boolean> {
    const target = this.#layout.layer(diffId);
    try {
      await rename(tar, this.#layout.layerTar(diffId));
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'EISDIR') await this.#garbage.take(target);
      else if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw systemError(`adopt: ${diffId}`, error);
      return false;
    }
    await fsyncDirectory(target);
    return true;
  }

  async #readIndex(record: LayerRecord): Promise<Uint8Array | undefined> {
    if (record.derivedFormat !== DERIVED_FORMAT) return undefined;
    return readDerived(this.#layout.layerIndex(record.diffId), record.indexSize, record.indexSha256);
  }

  async #hasExtra(record: LayerRecord): Promise<boolean> {
    if (record.extraSize === 0) return true;
    return (await sizeOf(this.#layout.layerExtra(record.diffId))) === record.extraSize;
  }

  async #rebuild({ diffId, tarSize }: LayerRecord): Promise<LayerRecord> {
    this.#tell({ type: 'warning', message: `layer index: ${diffId}: missing or damaged, made again from its tar` });
    return this.#derive(diffId, tarSize, {});
  }

  async #derive(diffId: DiffId, tarSize: number, options: { readonly signal?: AbortSignal }): Promise<LayerRecord> {
    await using staging = await this.stage();
    const job: IndexJob = {
      diffId,
      tarPath: this.#layout.layerTar(diffId),
      tarSize,
      outDir: staging.outDir(diffId),
      limits: this.#options.limits ?? DEFAULT_LAYER_LIMITS,
    };
    const made = await this.#options.pool.run<IndexResult>('index', job, options);
    await this.#installDerived(made);
    const renewed = recordOf(made);
    await this.#options.records.put(renewed);
    return renewed;
  }

  #step(step: string): void {
    this.#options.onStep?.(step);
  }

  #tell(event: Parameters<OnEvent>[0]): void {
    this.#options.onEvent?.(event);
  }
}

function recordOf(layer: IndexResult): LayerRecord {
  return {
    diffId: layer.diffId,
    tarSize: layer.tarSize,
    entries: layer.entries,
    indexSha256: layer.index.sha256,
    indexSize: layer.index.size,
    extraSha256: layer.extra?.sha256,
    extraSize: layer.extra?.size ?? 0,
    derivedFormat: DERIVED_FORMAT,
  };
}

async function openDirectory(path: string): Promise<Dir> {
  try {
    return await opendir(path);
  } catch (error) {
    throw systemError(`list ${path}`, error);
  }
}
