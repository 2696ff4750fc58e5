/**
 * ▸ The library's face: one open store. Everything that the command does goes through here, so that a program can do
 * it too.
 *
 *     await using larder = await openLarder({ root: '/var/lib/larder' });
 *     await using image = await larder.pull('alpine:3.20');
 *     const text = await image.fs.readFile('/etc/os-release');
 *     const { rootfs } = await larder.provision('alpine:3.20', { id: 'c1' });
 *     await larder.destroy('c1');
 */
import { Assembly, type BackendReport, type OpenOptions } from './assemble.js';
import type { BackendName } from './backends/backend.js';
import type { Diagnosis } from './backends/doctor.js';
import type { Finding } from './check.js';
import { configOf, type Flags, parseFlags, type RawFlags } from './config.js';
import { LarderError } from './errors.js';
import { type EventStream, eventsOf } from './event-stream.js';
import type { LarderEvent, OperationOptions } from './events.js';
import { type ClaimRecord, claimNames, type ImageRecord } from './metadata/records.js';
import type { ImageLine } from './metadata/usage.js';
import type { ProvisionInfo, ProvisionRequest } from './provisioner.js';
import type { PulledImage } from './pulled-image.js';
import type { Repair } from './repair.js';
import { imageKeyOf, imageNamed, imageOfKey } from './spec/any-image.js';
import { type Digest, isDigest } from './spec/digest.js';
import type { Image, Secret } from './spec/image.js';
import { formatPlatform, hostPlatform, parsePlatform } from './spec/platform.js';
import type { ExportReport } from './store/archives/export.js';
import { parseExportTarget } from './store/archives/export-target.js';
import type { PullPlan } from './store/docker/pull-plan.js';
import type { TagEntry } from './store/docker/tag-history.js';
import type { RunningPull } from './store/pulls/running-pulls.js';
import type { GcReport } from './store/upkeep/gc-collector.js';
import type { GarbageRequest, StoreUsage } from './store/upkeep/upkeep.js';
import type { WhyReport } from './store/upkeep/why.js';

export interface PullRequest extends OperationOptions {
  /** `os/arch[/variant]`; default: the setting, then this machine's. */
  readonly platform?: string;
  /** False asks the registry even when the image is here. Default true. */
  readonly cached?: boolean;
  /** A Docker `config.json` for this image alone, before the default one. Asked for only when something is fetched. */
  readonly config?: Secret;
  /** False: only `config` logs in, and nobody where there is none. Default true. */
  readonly defaultLogin?: boolean;
  /**
   * What the reference meant once is what it means here from now on: a digest or the beginning of one that
   * {@link Larder.history} lists, a time (ISO 8601), or how long ago that was (`7days`). Docker images only.
   */
  readonly asOf?: string;
}

export interface RollbackRequest extends OperationOptions {
  readonly platform?: string;
  /** As {@link PullRequest.asOf}; default: what it meant before what it means now. */
  readonly to?: string;
  readonly config?: Secret;
  /** As {@link PullRequest.defaultLogin}. */
  readonly defaultLogin?: boolean;
}

/** What a reference means, as a plan or a container takes it. */
export type PlanRequest = Omit<PullRequest, 'asOf'>;

/** An image in the store, for listings. */
export interface ImageSummary extends ImageRecord {
  /** Bytes of its layers' tars; layers that it shares with other images count here, too. */
  readonly bytes: number;
  readonly containers: readonly string[];
}

/** The same in short. */
export interface ImageOverview extends ImageLine {
  readonly containers: readonly string[];
}

export interface PruneReport {
  readonly images: readonly string[];
  readonly layers: readonly string[];
  readonly bytes: number;
}

export interface StoreInfo {
  readonly root: string;
  readonly images: number;
  readonly layers: number;
  readonly containers: number;
  /** Bytes of all layers' tars. */
  readonly layerBytes: number;
  readonly backend: BackendName | undefined;
  readonly backends: readonly BackendReport[];
  readonly platform: string;
  readonly decoders: Readonly<Record<string, string>>;
}

export interface RemoveRequest extends OperationOptions {
  readonly platform?: string;
}

export interface PruneImagesRequest extends OperationOptions {
  /** References of images that stay. */
  readonly exclude?: readonly string[];
  readonly dryRun?: boolean;
  /** Pinned images go, too, and what is derived and in use by no container. */
  readonly all?: boolean;
}

/**
 * Opens the store, which is made when it is missing. Settings are those of `config.ts`; the library reads no
 * configuration file and no variable of larder's. Rejects with LARDER_FLAGS_INVALID, LARDER_STORE_UNSAFE, LARDER_FORMAT_VERSION,
 * LARDER_PERMISSION, LARDER_NO_SPACE. A database that is damaged is moved aside and made again, of which `onEvent` hears.
 */
export async function openLarder(
  flags: RawFlags & { readonly root: string },
  options: OpenOptions = {},
): Promise<Larder> {
  return new Larder(await Assembly.open(configOf(parseFlags(flags, 'openLarder')), options));
}

/** The same with the settings of configuration files and variables, as the command has them. */
export async function openConfigured(flags: Flags, options: OpenOptions = {}): Promise<Larder> {
  return new Larder(await Assembly.open(configOf(flags), options));
}

export class Larder implements AsyncDisposable {
  readonly #assembly: Assembly;

  constructor(assembly: Assembly) {
    this.#assembly = assembly;
  }

  get root(): string {
    return this.#assembly.config.root;
  }

  /** The image, fetched when it is not here; nothing of it is pruned before the handle is disposed. */
  async pull(reference: string, request: PullRequest = {}): Promise<PulledImage> {
    const { platform, cached, config, defaultLogin } = request;
    const image = imageNamed(reference, process.cwd(), { platform, cached, config, defaultLogin });
    const store = await this.#assembly.storeOf(image.type);
    const asOf = request.asOf === undefined ? undefined : await this.#digestAsOf(reference, platform, request.asOf);
    const { signal, onEvent } = request;
    const how = {
      ...(signal === undefined ? {} : { signal }),
      ...(onEvent === undefined ? {} : { onEvent }),
      ...(asOf === undefined ? {} : { asOf }),
    };
    return this.#assembly.pulledImage(await store.acquire(image, () => this.#assembly.pullBackend(), how));
  }

  /**
   * The same, told as it goes: `for await (const event of larder.events('alpine')) …`. The loop ends when the image is
   * here, which `result` describes, and throws what went wrong; who leaves it early cancels the pull. Nothing holds the
   * image afterwards: for that, iterate `eventsOf((onEvent, signal) => larder.pull(…))`, whose `result` is the handle.
   */
  events(reference: string, request: Omit<PullRequest, 'onEvent'> = {}): EventStream<ImageRecord> {
    return eventsOf(async (onEvent, stop) => {
      const signal = request.signal === undefined ? stop : AbortSignal.any([request.signal, stop]);
      await using image = await this.pull(reference, { ...request, onEvent, signal });
      return image.record;
    });
  }

  /** The pulls that are under way, in whichever process, with how far they are; not those that fetch no layer (yet). */
  async pulls(): Promise<readonly RunningPull[]> {
    const { listPulls } = await import('./store/pulls/running-pulls.js');
    return listPulls(this.#assembly.layout);
  }

  /**
   * What a pull that is under way tells, in whichever process, by its id or the image's name: a `snapshot` first, then
   * events as they come, with `ended` the last. Who reads slowly or goes away has no effect on it. Rejects with
   * LARDER_IMAGE_NOT_FOUND when there is no such pull, and with LARDER_ABORTED.
   */
  async *attach(
    pull: string,
    options: Pick<OperationOptions, 'signal'> = {},
  ): AsyncGenerator<LarderEvent, void, undefined> {
    const { followPull, notRunning } = await import('./store/pulls/running-pulls.js');
    const running = await this.pulls();
    const named = (): readonly RunningPull[] => {
      const { reference } = imageKeyOf(pull, process.cwd(), undefined);
      return running.filter((one) => one.reference === reference);
    };
    const byId = running.filter(({ id }) => id === pull);
    // Several processes may want it: one of them does the work.
    const [found] = [...(byId.length > 0 ? byId : named())].sort(byWork);
    if (found === undefined) throw notRunning(pull);
    yield* followPull(this.#assembly.layout, found.id, options);
  }

  /**
   * What a pull would fetch, from where, and what it would take of the disk, without fetching more than documents.
   * Rejects as {@link pull}, and with LARDER_IMAGE_TYPE_UNSUPPORTED for Appc images.
   */
  async plan(reference: string, request: PlanRequest = {}): Promise<PullPlan> {
    const { platform, cached, config, defaultLogin } = request;
    const image = imageNamed(reference, process.cwd(), { platform, cached, config, defaultLogin });
    return (await this.#assembly.storeOf(image.type)).plan(image, request);
  }

  /** What the reference meant here and when, newest first, and what of it is left; of all platforms when none is given. */
  async history(reference: string, request: { readonly platform?: string } = {}): Promise<readonly TagEntry[]> {
    const key = imageKeyOf(reference, process.cwd(), request.platform);
    return (await this.#assembly.tagHistory()).list(key, request.platform === undefined ? undefined : key.platform);
  }

  /**
   * Takes the reference back to what it meant before, out of the store while that is still there, else from its registry
   * by digest. A later pull with `cached: false` moves it on again. Rejects with LARDER_IMAGE_NOT_FOUND when it is too late.
   */
  async rollback(reference: string, request: RollbackRequest = {}): Promise<PulledImage> {
    const { to, ...rest } = request;
    const wanted = imageKeyOf(reference, process.cwd(), request.platform ?? this.#assembly.config.platform);
    const asOf = to ?? (await this.#assembly.tagHistory()).digestBefore(wanted);
    return this.pull(reference, { ...rest, asOf });
  }

  /** An image that is here, without asking anybody. Rejects with LARDER_IMAGE_NOT_FOUND. */
  async open(reference: string, request: Omit<PullRequest, 'cached' | 'asOf'> = {}): Promise<PulledImage> {
    const record = await this.find(reference, request.platform);
    const store = await this.#assembly.storeOf(record.type);
    return this.#assembly.pulledImage(await store.acquire(imageOfKey(record), 'copy', { ...request, asIs: true }));
  }

  /** The record of an image that is here. Rejects with LARDER_IMAGE_NOT_FOUND. */
  async find(reference: string, platform?: string): Promise<ImageRecord> {
    const wanted = imageKeyOf(reference, process.cwd(), platform ?? this.#assembly.config.platform);
    const metadata = this.#assembly.metadataOf(wanted.type);
    const record = metadata.get(wanted.reference, true, wanted.platform);
    if (record !== undefined) return record;
    const others = [...metadata.list()].filter((other) => other.reference === wanted.reference);
    throw new LarderError(
      'LARDER_IMAGE_NOT_FOUND',
      `find ${wanted.reference}: not in the store for ${wanted.platform}`,
      {
        hint:
          others.length === 0
            ? `fetch it with \`larder pull ${reference}\``
            : `it is here for ${others.map((other) => other.platform).join(', ')}: choose with --platform`,
      },
    );
  }

  /**
   * Writes the image, fetched when it is not here, to `docker-archive:FILE[:NAME:TAG]` or `oci-archive:FILE[:NAME]`,
   * durably; a file that is there is replaced. Its image ID stays what it is. Rejects with LARDER_REFERENCE_INVALID,
   * LARDER_IMAGE_TYPE_UNSUPPORTED (Appc), LARDER_NO_SPACE, LARDER_PERMISSION, and as {@link pull}.
   */
  async export(reference: string, target: string, request: PullRequest = {}): Promise<ExportReport> {
    const to = parseExportTarget(target, process.cwd());
    const { path } = to;
    if (path === undefined) {
      throw new LarderError('LARDER_REQUEST_INVALID', `export to ${target}: a stream has no file`, {
        hint: 'exportStream() answers its bytes',
      });
    }
    await using image = await this.pull(reference, request);
    const { exportImage } = await import('./store/archives/export.js');
    return exportImage(image.record, { ...to, path }, await this.#assembly.exportParts(), request);
  }

  /** The bytes of the same archive; nothing of the image is pruned before they are read or given up. `target`: `docker-archive:-`, `oci-archive:-`. */
  async *exportStream(
    reference: string,
    target: string,
    request: PullRequest = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const to = parseExportTarget(target, process.cwd());
    await using image = await this.pull(reference, request);
    const { exportStream } = await import('./store/archives/export.js');
    yield* exportStream(image.record, to, await this.#assembly.exportParts(), request);
  }

  images(): ImageSummary[] {
    const claims = this.#assembly.claims.list();
    const sizes = new Map(this.#assembly.layerRecords.list().map((layer) => [layer.diffId, layer.tarSize]));
    return [...this.#assembly.records()].map((record) => ({
      ...record,
      bytes: record.layers.reduce((sum, layer) => sum + (sizes.get(layer.diffId) ?? 0), 0),
      containers: claims.filter((claim) => claimNames(claim, record)).map((claim) => claim.container),
    }));
  }

  /** What people want to see of {@link images}, many times faster where there are thousands of them. */
  overview(): ImageOverview[] {
    const claims = this.#assembly.claims.list();
    return this.#assembly.imageLines().map((image) => ({
      ...image,
      containers: claims.filter((claim) => claimNames(claim, image)).map((claim) => claim.container),
    }));
  }

  /** The image as the root filesystem of a new container, fetched when it is not here. */
  async provision(
    reference: string | Image,
    request: ProvisionRequest & PlanRequest & { readonly id: string },
  ): Promise<ProvisionInfo> {
    const { id, platform, cached, config, defaultLogin, ...rest } = request;
    const choice = { platform, cached, config, defaultLogin };
    const image = typeof reference === 'string' ? imageNamed(reference, process.cwd(), choice) : reference;
    return (await this.#assembly.provisioner()).provision(id, image, rest);
  }

  /** Idempotent: false when there is no such container. */
  async destroy(id: string, options: OperationOptions = {}): Promise<boolean> {
    return (await this.#assembly.provisioner()).destroy(id, options);
  }

  containers(): readonly ClaimRecord[] {
    return this.#assembly.claims.list();
  }

  /** Destroys this owner's containers that are not in `known`, and clears what died with its process. */
  async recover(known: readonly string[], options: OperationOptions = {}): Promise<void> {
    await (await this.#assembly.provisioner()).recover(known, options);
  }

  /**
   * Forgets one image, and takes what only it needed out of the store. The space is free a moment later: {@link close}
   * waits for that, and `onEvent` hears by then of what could not be deleted. Rejects with LARDER_IMAGE_NOT_FOUND,
   * LARDER_IMAGE_IN_USE.
   */
  async remove(reference: string, request: RemoveRequest = {}): Promise<PruneReport> {
    const key = imageKeyOf(reference, process.cwd(), request.platform);
    const retention = await this.#assembly.retention(key.type);
    const platform = request.platform === undefined ? undefined : key.platform;
    return collect(request, async (options) => {
      await retention.remove(key.reference, platform, options);
      await retention.retire(options);
    });
  }

  /** Forgets every image that no container uses and that is not excluded. */
  async prune(request: PruneImagesRequest = {}): Promise<PruneReport> {
    const provisioner = await this.#assembly.provisioner();
    const excluded = (request.exclude ?? []).map((name) => imageNamed(name, process.cwd()));
    return collect(request, (options) =>
      provisioner.pruneImages(excluded, { ...options, dryRun: request.dryRun ?? false, all: request.all ?? false }),
    );
  }

  /** What weighs how much; from what is recorded, unless `containers` asks to measure what they wrote. */
  async df(options: { readonly containers?: boolean } = {}): Promise<StoreUsage> {
    return (await this.#assembly.upkeep()).df(options);
  }

  /** Who holds what a digest, DiffID, image ID, key, beginning of one, or path names. Rejects with LARDER_REQUEST_INVALID. */
  async why(name: string): Promise<readonly WhyReport[]> {
    return (await this.#assembly.upkeep()).why(name);
  }

  /** Only {@link unpin} and {@link remove} let the image go from here on. Whether it was not pinned. Rejects with LARDER_IMAGE_NOT_FOUND. */
  async pin(reference: string, request: { readonly platform?: string } = {}): Promise<boolean> {
    const key = imageKeyOf(reference, process.cwd(), request.platform);
    return (await this.#assembly.upkeep()).setPinned(
      key,
      request.platform === undefined ? undefined : key.platform,
      true,
    );
  }

  async unpin(reference: string, request: { readonly platform?: string } = {}): Promise<boolean> {
    const key = imageKeyOf(reference, process.cwd(), request.platform);
    return (await this.#assembly.upkeep()).setPinned(
      key,
      request.platform === undefined ? undefined : key.platform,
      false,
    );
  }

  /** Gives space back where `image_gc_config` asks for it, or `config` in its place, and tells why each thing went. */
  async collectGarbage(request: GarbageRequest = {}): Promise<GcReport> {
    return (await this.#assembly.upkeep()).collectGarbage(request);
  }

  /** Every numbered invariant, read-only; `deep` reads every byte. */
  check(options: { readonly deep?: boolean } & OperationOptions = {}): AsyncIterable<Finding> {
    return this.#assembly.check(options);
  }

  /**
   * Fetches again what is broken, at the digests that are recorded, and makes again what is derived; of these images, or
   * of all that is in the store. Images in use keep working. What cannot be repaired is reported, and nothing is deleted.
   * After a `database` was repaired this object is of no use any more: open the store again.
   */
  repair(references: readonly string[] = [], options: OperationOptions = {}): AsyncIterable<Repair> {
    const names = new Set(references.map((text) => imageKeyOf(text, process.cwd(), undefined)).map(nameOfKey));
    if (names.size === 0) return this.#assembly.repair(options);
    return this.#assembly.repair({ ...options, only: (image) => names.has(nameOfKey(image)) });
  }

  async info(): Promise<StoreInfo> {
    const layers = this.#assembly.layerRecords.list();
    const { chosen, reports } = await this.#assembly.backendReports();
    return {
      root: this.root,
      images: [...this.#assembly.records()].length,
      layers: layers.length,
      containers: this.#assembly.claims.list().length,
      layerBytes: layers.reduce((sum, layer) => sum + layer.tarSize, 0),
      backend: chosen,
      backends: reports,
      platform: this.#platform(undefined),
      decoders: await this.#assembly.decoders(),
    };
  }

  /**
   * What the kernel makes of the ways in which larder uses EROFS, tried out on a small image in the store. Rejects with
   * LARDER_PERMISSION, LARDER_ABORTED.
   */
  async *doctor(options: Pick<OperationOptions, 'signal'> = {}): AsyncGenerator<Diagnosis, void, undefined> {
    yield* (await this.#assembly.backends()).examine(options);
  }

  /** A document of an image as received. Rejects with LARDER_BLOB_NOT_FOUND, LARDER_DIGEST_MISMATCH. */
  async document(digest: Digest): Promise<Uint8Array> {
    return this.#assembly.content.read(digest);
  }

  async close(): Promise<void> {
    await this.#assembly.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #digestAsOf(reference: string, platform: string | undefined, text: string): Promise<Digest> {
    const key = imageKeyOf(reference, process.cwd(), platform ?? this.#assembly.config.platform);
    if (key.type === 'appc' || /@sha(?:256|512):/.test(key.reference)) {
      const type = key.type === 'appc' ? 'LARDER_IMAGE_TYPE_UNSUPPORTED' : 'LARDER_REQUEST_INVALID';
      const hint = key.type === 'appc' ? 'name it by its id: NAME@sha512-…' : 'leave the digest out of the name';
      throw new LarderError(type, `go back to ${text} of ${reference}: only what a tag meant is remembered`, { hint });
    }
    const { parseMoment } = await import('./store/docker/moment.js');
    const moment = parseMoment(text, Date.now());
    if (moment.kind === 'digest' && isDigest(moment.digest)) return moment.digest;
    return (await this.#assembly.tagHistory()).digestAt(key, moment);
  }

  #platform(given: string | undefined): string {
    const text = given ?? this.#assembly.config.platform;
    return formatPlatform(text === undefined ? hostPlatform() : parsePlatform(text));
  }
}

/** Who fetches before who waits for another process; who has come further first. */
function byWork(a: RunningPull, b: RunningPull): number {
  const waits = ({ bottleneck }: RunningPull): number => (bottleneck === 'another-process' ? 1 : 0);
  return waits(a) - waits(b) || b.received - a.received;
}

/** Runs a removal and sums up its events, which still reach the caller's listener. */
async function collect(
  request: OperationOptions,
  work: (options: OperationOptions) => Promise<void>,
): Promise<PruneReport> {
  const images: string[] = [];
  const layers: string[] = [];
  let bytes = 0;
  await work({
    ...(request.signal === undefined ? {} : { signal: request.signal }),
    onEvent: (event) => {
      request.onEvent?.(event);
      if (event.type !== 'removed') return;
      bytes += event.bytes;
      if (event.what === 'image') images.push(event.name);
      if (event.what === 'layer') layers.push(event.name);
    },
  });
  return { images, layers, bytes };
}

/** Without its platform: all of them. */
function nameOfKey({ type, reference }: Pick<ImageRecord, 'type' | 'reference'>): string {
  return `${type} ${reference}`;
}
