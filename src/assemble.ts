/**
 * ▸ The composition root: from a configuration to stores, backends and the provisioner. The only file, with its twin
 * for worker threads, that names implementations. Everything is made when it is first needed: a command that only
 * lists images opens the database and nothing else.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { BackendReport, Backends } from './assemble-backends.js';
import { Logins } from './assemble-credentials.js';
import { type ClientOptions, makeClient, makeNetwork, makePuller } from './assemble-pullers.js';
import { makeAppc, makeDocker, type StoreParts } from './assemble-stores.js';
import { workerEntry } from './assemble-worker-entry.js';
import { startWorking, type Working, type WorkingParts } from './assemble-working.js';
import type { BackendName } from './backends/backend.js';
import type { CheckOptions, CheckParts, Finding } from './check.js';
import { Lazy } from './concurrency.js';
import { type Config, configOf, parseFlags, type RawFlags } from './config.js';
import { ContentStore } from './content/content-store.js';
import { isLarderError, LarderError } from './errors.js';
import type { OnEvent, OperationOptions } from './events.js';
import type { LayerStore } from './layers/layer-store.js';
import { Layout } from './layout.js';
import { ensureDirectory } from './linux/durable.js';
import { TimedStoreLock } from './linux/timed-store-lock.js';
import { Claims } from './metadata/claims.js';
import type { Database } from './metadata/database.js';
import { Derived } from './metadata/derived.js';
import { Grants } from './metadata/grants.js';
import { openHandle } from './metadata/handles.js';
import { History } from './metadata/history.js';
import { Holders } from './metadata/holders.js';
import { Holds } from './metadata/holds.js';
import { Layers } from './metadata/layers.js';
import { leaseHandles } from './metadata/leases.js';
import { MetadataManager } from './metadata/metadata-manager.js';
import { type ImageRecord, stackOf } from './metadata/records.js';
import { type ImageLine, Usage } from './metadata/usage.js';
import type { Provisioner } from './provisioner.js';
import type { PulledImage } from './pulled-image.js';
import type { RegistryClient } from './registry/registry-client.js';
import type { Repair, RepairOptions, RepairParts } from './repair.js';
import { imageOfKey } from './spec/any-image.js';
import type { DiffId } from './spec/digest.js';
import type { DockerImage, ImageType, SecretResolver } from './spec/image.js';
import { parseWhitelist, type ReadWhitelist } from './spec/stack.js';
import type { AppcStore } from './store/appc/appc-store.js';
import type { ExportParts } from './store/archives/export-image.js';
import type { DockerStore } from './store/docker/docker-store.js';
import type { TagHistory } from './store/docker/tag-history.js';
import { LazyStore } from './store/lazy-store.js';
import { type OpenMetadataOptions, openMetadata } from './store/metadata/open-metadata.js';
import type { HeldImage, Store } from './store/store.js';
import type { Retention } from './store/upkeep/retention.js';
import type { Upkeep } from './store/upkeep/upkeep.js';
import { prepareRoot } from './store-root.js';
import { DEFAULT_LAYER_LIMITS, type LayerLimits } from './tar/entry.js';
import type { ImageFs, TreeSource } from './tree/image-fs.js';
import { WorkerPool } from './workers/pool.js';

export type { BackendReport } from './assemble-backends.js';

export interface AssemblyOptions {
  /** Instead of the one that the setting `secret_resolver` names. */
  readonly secretResolver?: SecretResolver | undefined;
}

export type OpenOptions = AssemblyOptions & OpenMetadataOptions;

export class Assembly {
  readonly config: Config;
  readonly layout: Layout;
  readonly metadata: MetadataManager;
  readonly appcMetadata: MetadataManager;
  readonly claims: Claims;
  readonly holds: Holds;
  readonly derived: Derived;
  readonly layerRecords: Layers;
  readonly history: History;
  readonly grants: Grants;
  readonly content: ContentStore;
  readonly #readWhitelist: ReadWhitelist = async (document) => parseWhitelist(await this.content.read(document));
  readonly #database: Database;
  /** Who watches the store may set its `onWait`. */
  readonly lock: TimedStoreLock;
  readonly #logins: Logins;
  readonly #pool: WorkerPool;
  readonly #network = new Lazy(() => makeNetwork(this.config, this.layout));
  readonly #working = new Lazy(() => this.#start());
  readonly #docker = new Lazy(async () => makeDocker(this.#storeParts(), this.metadata, await this.working()));
  readonly #appc = new Lazy(async () => makeAppc(this.#storeParts(), this.appcMetadata, await this.working()));
  readonly #backends = new Lazy(() => this.#makeBackends());
  readonly #provisioner = new Lazy(() => this.#makeProvisioner());

  private constructor(
    config: Config,
    layout: Layout,
    database: Database,
    content: ContentStore,
    logins: Logins,
    pool: WorkerPool,
  ) {
    this.config = config;
    this.layout = layout;
    this.metadata = MetadataManager.create({ database, type: 'docker' });
    this.appcMetadata = MetadataManager.create({ database, type: 'appc' });
    this.claims = new Claims(database);
    this.holds = new Holds(database, layout);
    this.derived = new Derived(database);
    this.layerRecords = new Layers(database);
    this.history = new History(database);
    this.grants = new Grants(database, config.grantLifetimeMs);
    this.content = content;
    this.#database = database;
    this.lock = new TimedStoreLock(layout);
    this.#logins = logins;
    this.#pool = pool;
  }

  /** A database that is damaged is made again, with a warning. */
  static async open(config: Config, { secretResolver, ...options }: OpenOptions = {}): Promise<Assembly> {
    const layout = new Layout(await prepareRoot(config.root));
    const content = await ContentStore.create(layout);
    const logins = new Logins({ config, secretResolver });
    const pool = new WorkerPool({
      entry: workerEntry(),
      size: config.maxParallelLayers,
    });
    try {
      const database = await openMetadata({ layout, content, pool, limits: limitsOf(config) }, options);
      return new Assembly({ ...config, root: layout.root }, layout, database, content, logins, pool);
    } catch (error) {
      await pool.close();
      throw error;
    }
  }

  get limits(): LayerLimits {
    return limitsOf(this.config);
  }

  async *check(options: CheckOptions = {}): AsyncGenerator<Finding, void, undefined> {
    const [{ LayerStore }, { checkStore }] = await Promise.all([
      import('./layers/layer-store.js'),
      import('./check.js'),
    ]);
    // What this process is about to delete itself is nothing to tell of.
    await this.#deleted();
    // Without a handle and without recovery: it stages nothing, and what lies about is to be found, not cleared.
    const layers = this.#makeLayers(LayerStore, 'check');
    yield* checkStore({ ...this.#parts(), layers }, options);
  }

  /**
   * Makes whole what is broken. A damaged database is made again first: then this handle is of no use any more, and the
   * rest is done by one of its own.
   */
  async *repair(options: RepairOptions = {}): AsyncGenerator<Repair, void, undefined> {
    const { damageOf } = await import('./metadata/rebuild.js');
    const damage = await damageOf(this.layout.database, async () => true);
    if (damage === undefined) {
      yield* await this.#repair(options);
      return;
    }
    const fresh = await Assembly.open(this.config, { ...options, thorough: true });
    try {
      yield { what: 'database', subject: this.layout.database, outcome: 'repaired', message: `made again: ${damage}` };
      yield* await fresh.#repair(options);
    } finally {
      await fresh.close();
    }
  }

  async #repair(options: RepairOptions): Promise<AsyncGenerator<Repair, void, undefined>> {
    const [{ leases, layers, merged }, { repairStore }, { ImageRepair }] = await Promise.all([
      this.working(),
      import('./repair.js'),
      import('./store/docker/repair-image.js'),
    ]);
    const { layout, lock, content, layerRecords, derived, claims, limits } = this;
    const detach = (diffIds: readonly DiffId[]): Promise<void> => this.#detach(diffIds);
    const docker = new ImageRepair({
      ...{ lock, content, layers, leases, limits, onReplaced: detach },
      pool: this.#pool,
      puller: await makePuller(this.#storeParts(), layers),
      maxParallelLayers: this.config.maxParallelLayers,
      maxParallelRanges: this.config.maxParallelRanges,
    });
    const fetch: RepairParts['fetch'] = async (image, broken, told) => {
      if (image.type === 'docker') return docker.run(image, broken, told);
      // An Appc image is known by what it is, so that a pull of it cannot bring another one.
      await using _held = await (await this.storeOf(image.type)).acquire(imageOfKey(image), 'copy', told);
    };
    const parts = { layout, lock, leases, content, layers, merged, layerRecords, derived, claims, fetch, detach };
    const metadata = [this.metadata, this.appcMetadata];
    return repairStore({ ...parts, metadata, images: [...this.records()] }, options);
  }

  async retention(type: ImageType = 'docker'): Promise<Retention> {
    const { retention, appcRetention } = await this.working();
    return type === 'docker' ? retention : appcRetention;
  }

  /** Needs no handle on the store until garbage is collected. */
  async upkeep(): Promise<Upkeep> {
    const { layout, lock, content, holds, config } = this;
    const { Upkeep } = await import('./store/upkeep/upkeep.js');
    const usage = new Usage(this.#database, holds);
    return new Upkeep({
      ...{ layout, lock, usage, content, holders: new Holders(this.#database, holds), imageGc: config.imageGc },
      metadataOf: (type) => this.metadataOf(type),
      collector: async () => {
        const [{ sweeper }, { Collector }] = await Promise.all([
          this.working(),
          import('./store/upkeep/gc-collector.js'),
        ]);
        const storeBytes = async (): Promise<number> => (await (await this.upkeep()).df()).storeBytes;
        const sweepNames = (): Promise<number> => this.#sweepNames({});
        const sweepMounts = async (): Promise<void> => (await this.backends()).sweep();
        const work = { sweeper, storeBytes, sweepNames, sweepMounts };
        return new Collector({ ...work, lock: this.lock, holds, usage, root: layout.root });
      },
    });
  }

  #sweepNames({ signal }: OperationOptions): Promise<number> {
    return this.metadata.sweepNames(async (work) => {
      using _exclusive = await this.lock.exclusive(signal === undefined ? {} : { signal });
      work();
    });
  }

  metadataOf(type: ImageType): MetadataManager {
    return type === 'docker' ? this.metadata : this.appcMetadata;
  }

  /** The records of all image types. */
  *records(): IterableIterator<ImageRecord> {
    yield* this.metadata.list();
    yield* this.appcMetadata.list();
  }

  /** Of all image types. */
  imageLines(): ImageLine[] {
    return new Usage(this.#database, this.holds).lines();
  }

  /** Rejects with LARDER_IMAGE_TYPE_UNSUPPORTED when `image_providers` leaves Docker images out. */
  async docker(): Promise<DockerStore> {
    if (!this.config.imageProviders.includes('docker')) {
      throw new LarderError(
        'LARDER_IMAGE_TYPE_UNSUPPORTED',
        'Docker images: the setting image_providers leaves them out',
      );
    }
    return this.#docker.get();
  }

  /** A client of registries for who serves others: it logs in as `image` says, and shares no tokens. */
  async registryClient(
    image: Pick<DockerImage, 'config' | 'defaultLogin'>,
    onEvent: OnEvent,
    options: ClientOptions,
  ): Promise<RegistryClient> {
    const parts = { config: this.config, logins: this.#logins, network: this.#network };
    return makeClient(parts, onEvent, await this.#logins.of(image), options);
  }

  /** The backend that images are pulled for: the automatic choice, or `copy` where nothing works. */
  async pullBackend(): Promise<BackendName> {
    const backends = await this.backends();
    try {
      return (await backends.choose()).name;
    } catch (error) {
      if (isLarderError(error, 'LARDER_BACKEND_UNAVAILABLE', 'LARDER_PERMISSION')) return 'copy';
      throw error;
    }
  }

  async backends(): Promise<Backends> {
    return this.#backends.get();
  }

  async stores(): Promise<ReadonlyMap<ImageType, Store>> {
    const { imageProviders } = this.config;
    return new Map(imageProviders.map((type) => [type, new LazyStore(() => this.storeOf(type))] as const));
  }

  /** What references meant, and what is left of it; needs no handle on the store. */
  async tagHistory(): Promise<TagHistory> {
    const { history, layout, content, layerRecords } = this;
    const { TagHistory } = await import('./store/docker/tag-history.js');
    return new TagHistory({ history, layout, content, layerRecords, records: () => this.records() });
  }

  /** What an export reads from. */
  async exportParts(): Promise<ExportParts> {
    return { content: this.content, layers: (await this.working()).layers };
  }

  async appc(): Promise<AppcStore> {
    return this.#appc.get();
  }

  /** Rejects with LARDER_IMAGE_TYPE_UNSUPPORTED for a type that is not among the `image_providers`. */
  async storeOf(type: ImageType): Promise<Store> {
    if (this.config.imageProviders.includes(type)) return type === 'docker' ? this.docker() : this.appc();
    throw new LarderError('LARDER_IMAGE_TYPE_UNSUPPORTED', `images of type ${type}: this store has none`, {
      hint: `the setting image_providers has ${this.config.imageProviders.join(', ') || 'nothing'}`,
    });
  }

  /** One for all callers: a destroy ends what another caller of this process still fetches for the container. */
  async provisioner(): Promise<Provisioner> {
    return this.#provisioner.get();
  }

  async #makeProvisioner(): Promise<Provisioner> {
    const [backends, { retention }, { Provisioner }, { removeDeadPulls }] = await Promise.all([
      this.backends(),
      this.working(),
      import('./provisioner.js'),
      import('./store/pulls/running-pulls.js'),
    ]);
    return new Provisioner({
      layout: this.layout,
      lock: this.lock,
      claims: this.claims,
      stores: await this.stores(),
      owner: this.config.owner,
      chooseBackend: (name) => backends.choose(name),
      backendOf: (name) => backends.get(name),
      sweep: async (options: OperationOptions) => {
        await backends.sweep();
        await retention.sweep(options);
        await this.#sweepNames(options);
        await removeDeadPulls(this.layout);
      },
    });
  }

  async backendReports(): Promise<{ chosen: BackendName | undefined; reports: readonly BackendReport[] }> {
    return (await this.backends()).report();
  }

  /** Which decoder is used for each compression here. */
  async decoders(): Promise<Readonly<Record<string, string>>> {
    const { listDecoders } = await import('./tar/compression.js');
    const [gzip, zstd] = await Promise.all([listDecoders('gzip'), listDecoders('zstd')]);
    return { gzip: gzip[0] ?? 'none', zstd: zstd[0] ?? 'none' };
  }

  async pulledImage(held: HeldImage): Promise<PulledImage> {
    const [{ layers, merged }, { parseImageConfig }, { PulledImage }] = await Promise.all([
      this.working(),
      import('./spec/image-config.js'),
      import('./pulled-image.js'),
    ]);
    const { type, config: document, reference } = held.record;
    const config = type === 'docker' ? parseImageConfig(await this.content.read(document), reference) : undefined;
    const diffIds = held.record.layers.map((layer) => layer.diffId);
    const diffIdAt = (i: number): DiffId => {
      const diffId = diffIds[i];
      if (diffId === undefined)
        throw new LarderError('LARDER_INTERNAL', `layer ${i} of ${held.record.reference}: there is none`);
      return diffId;
    };
    const openData: TreeSource['openData'] = async (layer, source) => {
      const diffId = diffIdAt(layer);
      const file = source === 'tar' ? await layers.openTar(diffId) : await layers.openExtra(diffId);
      if (file === undefined) throw new LarderError('LARDER_INTERNAL', `layer ${diffId}: it has no layer.extra`);
      return file;
    };
    const openFs = async (): Promise<ImageFs> => {
      const { ImageFs } = await import('./tree/image-fs.js');
      return new ImageFs(await merged.tree(stackOf(held.record)), { openData });
    };
    return new PulledImage({ held, config, ignoreRuntime: this.config.dockerIgnoreRuntime, openFs });
  }

  /** A live handle, and what died with other handles cleared away: only what no live lock holds. */
  async working(): Promise<Working> {
    return this.#working.get();
  }

  async close(): Promise<void> {
    await this.#pool.close();
    const working = await this.#deleted();
    await working?.leases.end();
    working?.handle.close();
    this.#database.close();
  }

  /** What a removal left to be deleted is free when this resolves. */
  async #deleted(): Promise<Working | undefined> {
    // What could not start has been reported to who asked for it, and holds nothing.
    const working = await this.#working.made?.catch(() => undefined);
    await working?.sweeper.settled();
    return working;
  }

  #parts(): Omit<CheckParts, 'layers'> {
    const { layout, claims, derived, layerRecords, content } = this;
    return {
      ...{ layout, claims, derived, layerRecords, content },
      metadata: [this.metadata, this.appcMetadata],
      integrity: () => this.#database.integrity(),
      suspect: (diffId: DiffId) => this.layerRecords.setSuspect(diffId, true),
      leaseHandles: () => leaseHandles(this.#database),
    };
  }

  async #start(): Promise<Working> {
    const { layout, content } = this;
    for (const path of [layout.containers, layout.mounts]) await ensureDirectory(path, 0o700);
    await content.recover();
    const handle = await openHandle(layout);
    try {
      return await startWorking(this.#workingParts(), handle);
    } catch (error) {
      handle.close();
      throw error;
    }
  }

  #workingParts(): WorkingParts {
    const { layout, lock, metadata, appcMetadata, derived, holds, content } = this;
    return {
      ...{ layout, lock, metadata, appcMetadata, derived, holds, content },
      database: this.#database,
      pool: this.#pool,
      readWhitelist: this.#readWhitelist,
      makeLayers: (make, handle) => this.#makeLayers(make, handle),
    };
  }

  #storeParts(): StoreParts {
    const { config, layout, lock, content, history, layerRecords, limits } = this;
    return {
      ...{ config, layout, lock, content, history, layerRecords, limits },
      logins: this.#logins,
      pool: this.#pool,
      network: this.#network,
      onReplaced: (diffIds) => this.#detach(diffIds),
    };
  }

  #makeLayers(make: typeof LayerStore, handle: string): LayerStore {
    const { layout, layerRecords, limits } = this;
    return new make({
      layout,
      pool: this.#pool,
      handle,
      limits,
      records: {
        get: (id) => layerRecords.get(id),
        put: (record) => layerRecords.put(record),
        forget: (ids) => this.holds.forgetLayers(ids),
      },
    });
  }

  /** What shows layers that were replaced must not be shown to new containers. */
  async #detach(diffIds: readonly DiffId[]): Promise<void> {
    if (diffIds.length > 0) await (await this.backends()).detach(diffIds);
  }

  async #makeBackends(): Promise<Backends> {
    const [{ handle, layers, merged }, { Backends }] = await Promise.all([
      this.working(),
      import('./assemble-backends.js'),
    ]);
    const { layout, derived, claims } = this;
    // As staging of this handle, it is nobody else's to clear away.
    const scratch = join(layout.staging, `${handle.id}.${randomBytes(8).toString('hex')}`);
    return new Backends({
      layout,
      layers,
      merged,
      derived,
      claims,
      pool: this.#pool,
      readWhitelist: this.#readWhitelist,
      scratch,
      wanted: this.config.backend,
    });
  }
}

function limitsOf({ maxLayerBytes, maxLayerRatio, maxLayerEntries }: Config): LayerLimits {
  return {
    ...DEFAULT_LAYER_LIMITS,
    ...{ maxTarBytes: maxLayerBytes, maxRatio: maxLayerRatio, maxEntries: maxLayerEntries },
  };
}

/** `Store.create` of the seed: one store for each image type that larder knows. */
export async function createStores(flags: RawFlags, secretResolver?: SecretResolver): Promise<Map<ImageType, Store>> {
  const assembly = await Assembly.open(configOf(parseFlags(flags, 'Store.create')), { secretResolver });
  return new Map(await assembly.stores());
}
