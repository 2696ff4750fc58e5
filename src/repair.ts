/**
 * ▸ `repair`: finds what `check --deep` finds, and makes it whole: layers and documents are fetched again at the digests
 * that are recorded, what is derived is made again. It deletes nothing that cannot be had again, moves no tag, and leaves
 * running containers what they have mounted; new ones get what was repaired.
 *
 * A layer whose tar is not what its name says is believed no longer from the instant that this is known: it loses its
 * record (I2), so that nobody is given wrong bytes, and any pull of an image that has it fetches it, too. It writes
 * nothing itself: the owners of each path do.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { cpus } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { Semaphore } from './concurrency.js';
import type { ContentStore } from './content/content-store.js';
import { errnoOf, isLarderError, systemError, throwIfAborted } from './errors.js';
import type { OperationOptions } from './events.js';
import type { LayerStore } from './layers/layer-store.js';
import type { MergedImages } from './layers/merged-images.js';
import type { Layout } from './layout.js';
import type { StoreLock } from './linux/store-lock.js';
import type { Claims } from './metadata/claims.js';
import type { Derived } from './metadata/derived.js';
import type { Layers } from './metadata/layers.js';
import type { Leases } from './metadata/leases.js';
import type { MetadataManager } from './metadata/metadata-manager.js';
import { blobsOf, type DerivedRecord, type ImageRecord, stackOf } from './metadata/records.js';
import type { DiffId, Digest } from './spec/digest.js';
import type { StackLayer } from './spec/stack.js';
import type { BrokenParts } from './store/docker/repair-image.js';
import { proveLayer } from './store/suspect-layers.js';
import { mergedKeyOf } from './tree/merged-key.js';

export interface RepairParts {
  readonly layout: Layout;
  readonly lock: StoreLock;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly merged: MergedImages;
  readonly leases: Pick<Leases, 'create'>;
  readonly layerRecords: Layers;
  readonly derived: Derived;
  readonly claims: Claims;
  /** One for each image type. */
  readonly metadata: readonly MetadataManager[];
  /** Of all image types. */
  readonly images: readonly ImageRecord[];
  /** Fetches what is broken of an image from where it came from. */
  readonly fetch: (image: ImageRecord, broken: BrokenParts, options: OperationOptions) => Promise<void>;
  /** New containers must not be shown a mount of these stacks that is there. */
  readonly detach: (diffIds: readonly DiffId[]) => Promise<void>;
}

export interface Repair {
  readonly what: 'layer' | 'document' | 'derived' | 'name' | 'database';
  readonly subject: string;
  readonly outcome: 'repaired' | 'failed';
  /** What was done, or why it could not be. */
  readonly message: string;
}

export interface RepairOptions extends OperationOptions {
  /** Only what this image needs. Default: everything. */
  readonly only?: (image: ImageRecord) => boolean;
}

export async function* repairStore(
  parts: RepairParts,
  options: RepairOptions = {},
): AsyncGenerator<Repair, void, void> {
  const chosen = parts.images.filter(options.only ?? (() => true));
  const broken: BrokenParts = {
    layers: await brokenLayers(parts, layersToLookAt(parts, chosen, options), options),
    documents: await brokenDocuments(parts, [...new Set(chosen.flatMap(blobsOf))], options),
  };
  yield* fetchAgain(parts, broken, options);
  yield* deriveAgain(parts, layersToLookAt(parts, chosen, options), options);
  yield* nameAgain(parts, options);
  // What was replaced; who has it mounted keeps it.
  await parts.layers.sweep();
}

function layersToLookAt(
  { layerRecords }: RepairParts,
  images: readonly ImageRecord[],
  options: RepairOptions,
): DiffId[] {
  const named = images.flatMap(({ layers }) => layers.map(({ diffId }) => diffId));
  const recorded = options.only === undefined ? layerRecords.list().map(({ diffId }) => diffId) : [];
  return [...new Set([...named, ...recorded])];
}

/** Reads every byte, several layers at once. What is broken has no record any more when it resolves. */
async function brokenLayers(
  parts: RepairParts,
  diffIds: readonly DiffId[],
  { signal, onEvent }: RepairOptions,
): Promise<ReadonlySet<DiffId>> {
  const broken = new Set<DiffId>();
  const slots = new Semaphore(Math.max(2, cpus().length));
  let done = 0;
  const isNamed = (diffId: DiffId): boolean =>
    parts.images.some((image) => image.layers.some((layer) => layer.diffId === diffId)) ||
    parts.claims.holdersOfLayer(diffId).length > 0;
  const look = async (diffId: DiffId): Promise<void> => {
    if ((await proveLayer(diffId, isNamed, parts, { signal })) === 'broken') broken.add(diffId);
    onEvent?.({ type: 'progress', what: 'repair', done: ++done, total: diffIds.length });
  };
  await Promise.all(diffIds.map((diffId) => slots.run(() => look(diffId), signal)));
  return broken;
}

async function brokenDocuments(
  { content }: RepairParts,
  digests: readonly Digest[],
  { signal }: RepairOptions,
): Promise<ReadonlySet<Digest>> {
  const broken = new Set<Digest>();
  for (const digest of digests) {
    throwIfAborted(signal, 'repair');
    if (!(await isSoundDocument(content, digest))) broken.add(digest);
  }
  return broken;
}

async function isSoundDocument(content: ContentStore, digest: Digest): Promise<boolean> {
  try {
    return (await content.find(digest)) !== undefined;
  } catch (error) {
    if (isLarderError(error, 'LARDER_DIGEST_MISMATCH', 'LARDER_SIZE_MISMATCH')) return false;
    throw error;
  }
}

/** Asks the images that have it, one after the other, until it is whole. */
async function* fetchAgain(parts: RepairParts, broken: BrokenParts, options: RepairOptions): AsyncGenerator<Repair> {
  const open = { layers: new Set(broken.layers), documents: new Set(broken.documents) };
  const reasons = new Map<DiffId | Digest, string>();
  for (const image of parts.images) {
    const layers = image.layers.map(({ diffId }) => diffId).filter((diffId) => open.layers.has(diffId));
    const documents = blobsOf(image).filter((digest) => open.documents.has(digest));
    if (layers.length + documents.length === 0) continue;
    const failure = await attempt(parts, image, { layers: new Set(layers), documents: new Set(documents) }, options);
    if (failure !== undefined) {
      // One that cannot be had has stopped the others.
      for (const diffId of layers) {
        const own = await attempt(parts, image, { layers: new Set([diffId]), documents: new Set() }, options);
        if (own !== undefined) reasons.set(diffId, own);
      }
      for (const digest of documents) reasons.set(digest, failure);
    }
    for (const diffId of layers) if (await parts.layers.has(diffId)) open.layers.delete(diffId);
    for (const digest of documents) if (await isSoundDocument(parts.content, digest)) open.documents.delete(digest);
  }
  const none = 'no image that is in the store has it; prune removes it';
  const outcome = (what: Repair['what'], subject: DiffId | Digest, failed: boolean): Repair => ({
    ...{ what, subject },
    outcome: failed ? 'failed' : 'repaired',
    message: failed ? (reasons.get(subject) ?? none) : 'fetched again',
  });
  for (const diffId of broken.layers) yield outcome('layer', diffId, open.layers.has(diffId));
  for (const digest of broken.documents) yield outcome('document', digest, open.documents.has(digest));
}

/** Why it failed. */
async function attempt(
  { fetch }: RepairParts,
  image: ImageRecord,
  broken: BrokenParts,
  options: RepairOptions,
): Promise<string | undefined> {
  try {
    await fetch(image, broken, options);
    return undefined;
  } catch (error) {
    throwIfAborted(options.signal, 'repair');
    if (!isLarderError(error)) throw error;
    return `${image.reference}: ${error.message}`;
  }
}

/** Under a lease: what a prune takes meanwhile would look damaged. */
async function* deriveAgain(
  parts: RepairParts,
  diffIds: readonly DiffId[],
  options: RepairOptions,
): AsyncGenerator<Repair> {
  await using _lease = await parts.leases.create({ layers: diffIds });
  // A prune that is under way may not have seen the lease: what it takes must be gone before anything is looked for.
  (await parts.lock.shared(options.signal === undefined ? {} : { signal: options.signal })).release();
  for (const diffId of diffIds) {
    throwIfAborted(options.signal, 'repair');
    if ((await parts.layers.record(diffId)) === undefined || (await isDerivedSound(parts, diffId))) continue;
    await parts.layers.prove(diffId, options.signal === undefined ? {} : { signal: options.signal });
    await parts.detach([diffId]);
    yield made(`index of ${diffId}`);
  }
  const stacks = stacksByKey(parts);
  for (const record of parts.derived.list('merged')) {
    throwIfAborted(options.signal, 'repair');
    const stack = stacks.get(record.key);
    if (stack === undefined || !stack.some(({ diffId }) => diffIds.includes(diffId))) continue;
    if (await isMergedSound(parts, record)) continue;
    // A layer that could not be repaired was told of before.
    if (!(await allHere(parts.layers, stack))) continue;
    await parts.merged.ensure(stack, { ...options, rebuild: true });
    await parts.detach(record.layers);
    yield made(`merged image ${record.key}`);
  }
}

async function* nameAgain({ metadata, lock }: RepairParts, { only, signal }: RepairOptions): AsyncGenerator<Repair> {
  for (const one of metadata) {
    for await (const image of one.damagedNames()) {
      throwIfAborted(signal, 'repair');
      if (only?.(image) === false) continue;
      using _shared = await lock.shared(signal === undefined ? {} : { signal });
      if (!(await one.nameAgain(image))) continue;
      const subject = `name of ${image.reference} ${image.platform}`;
      yield { what: 'name', subject, outcome: 'repaired', message: 'written again' };
    }
  }
}

function made(subject: string): Repair {
  return { what: 'derived', subject, outcome: 'repaired', message: 'made again' };
}

async function isDerivedSound({ layout, layers }: RepairParts, diffId: DiffId): Promise<boolean> {
  const record = await layers.mustHave(diffId);
  if ((await sha256Of(layout.layerIndex(diffId))) !== record.indexSha256) return false;
  return record.extraSha256 === undefined || (await sha256Of(layout.layerExtra(diffId))) === record.extraSha256;
}

async function isMergedSound({ layout }: RepairParts, { key, sha256 }: DerivedRecord): Promise<boolean> {
  return (await sha256Of(layout.merged(key))) === sha256;
}

async function allHere(layers: LayerStore, stack: readonly StackLayer[]): Promise<boolean> {
  for (const { diffId } of stack) if (!(await layers.has(diffId))) return false;
  return true;
}

function stacksByKey({ images, claims }: RepairParts): ReadonlyMap<string, readonly StackLayer[]> {
  const claimed = claims.list().flatMap((claim) => claim.images.map((image) => image.layers));
  return new Map([...images.map(stackOf), ...claimed].map((stack) => [mergedKeyOf(stack), stack]));
}

/** Undefined when there is none. */
async function sha256Of(path: string): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`repair: ${path}`, error);
  }
  return hash.digest('hex');
}
