/**
 * ▸ What stays and what goes: the one place that removes images, layers, documents and derived files.
 *
 * prune -> retire -> sweep: records are forgotten first, then what nothing holds is renamed into `gc/`, both under the
 * exclusive store lock, which is why nothing can be claimed, leased-and-found or committed in between (I5, I8); deleting
 * comes after the lock. A crash anywhere leaves garbage, never a record without its bytes (I3): what was forgotten but
 * not yet renamed is found by the next prune, because it looks at what is on disk, not at what it forgot.
 */
import type { ContentStore } from '../content/content-store.js';
import { LarderError } from '../errors.js';
import type { OnEvent, OperationOptions } from '../events.js';
import type { LayerStore, StoredLayer } from '../layers/layer-store.js';
import { parseLayerPath } from '../layout.js';
import type { StoreLock } from '../linux/store-lock.js';
import type { Claims } from '../metadata/claims.js';
import type { Leases } from '../metadata/leases.js';
import type { MetadataManager } from '../metadata/metadata-manager.js';
import { blobsOf, claimNames, type ImageRecord, type LeaseRecord, stackOf } from '../metadata/records.js';
import { type DiffId, type Digest, hexOf } from '../spec/digest.js';
import { chainIdsOf } from '../spec/stack.js';
import { mergedKeyOf } from '../tree/merged-key.js';
import type { PruneOptions } from './store.js';

export interface RetentionParts {
  readonly lock: StoreLock;
  readonly metadata: MetadataManager;
  readonly claims: Claims;
  readonly leases: Leases;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  /** EROFS images, by merged key. */
  readonly merged: DerivedFiles;
  /** Overlay directories made from layers, by ChainID. */
  readonly chains: DerivedFiles;
  /** The records of all image types: layers are shared between them. */
  readonly allImages: () => Iterable<ImageRecord>;
}

/** Something derived, by key. */
export interface DerivedFiles {
  /** What is on disk, recorded or not; sizes in bytes. */
  list(): Promise<readonly { readonly key: string; readonly size: number }[]>;
  /**
   * Under the exclusive store lock: the records go in one transaction, then the files are renamed into gc/. False when
   * there was nothing of any.
   */
  retire(...keys: readonly string[]): Promise<boolean>;
}

const MAX_BATCH = 20_000;

export interface Excluded {
  readonly reference: string;
  readonly platform?: string;
}

export class Retention {
  readonly #parts: RetentionParts;

  constructor(parts: RetentionParts) {
    this.#parts = parts;
  }

  /** Drops and reports image records whose layers, manifest or config are gone. */
  async recover({ onEvent }: OperationOptions = {}): Promise<void> {
    const { metadata, layers, content, leases } = this.#parts;
    await leases.recover();
    const dropped = await metadata.recover({
      layers: () => layers.names(),
      blobs: () => content.names(),
    });
    for (const { reference, platform, missing } of dropped) {
      onEvent?.({
        type: 'warning',
        message: `${reference} (${platform}) is forgotten: ${missing.join(', ')} is not on disk`,
      });
    }
  }

  /** The caller holds the store lock exclusively. */
  async prune(
    excluded: readonly Excluded[],
    activeLayerPaths: ReadonlySet<string>,
    options: PruneOptions,
  ): Promise<void> {
    const { metadata, leases } = this.#parts;
    // Once for all: who takes a lease from here on waits for this lock before looking for what the lease names.
    const live = leases.listLive();
    const isKept = keptBy(excluded, live);
    const records = [...metadata.list()];
    const doomed = records.filter((record) => !isKept(record));
    if (options.dryRun !== true && doomed.length > 0) await metadata.prune(records.filter(isKept));
    tellForgotten(doomed, options);
    await this.#retireUnheld(doomed, live, activeLayerPaths, options);
  }

  /**
   * Forgets the images of one reference (all platforms unless one is given) and what only they used. Takes the lock
   * itself. Rejects with LARDER_IMAGE_NOT_FOUND, or LARDER_IMAGE_IN_USE naming who uses it.
   */
  async remove(reference: string, platform: string | undefined, options: PruneOptions = {}): Promise<void> {
    const { lock, metadata } = this.#parts;
    using _exclusive = await lock.exclusive(options.signal === undefined ? {} : { signal: options.signal });
    const doomed = [...metadata.list()].filter(
      (record) => record.reference === reference && (platform === undefined || record.platform === platform),
    );
    if (doomed.length === 0) {
      throw new LarderError('LARDER_IMAGE_NOT_FOUND', `remove ${reference}: there is no such image in the store`, {
        hint: '`larder images` lists what there is',
      });
    }
    const live = this.#parts.leases.listLive();
    for (const record of doomed) this.#refuseUsed(record, live);
    if (options.dryRun !== true) await metadata.remove(reference, platform);
    tellForgotten(doomed, options);
    await this.#retireUnheld(doomed, live, new Set(), options);
  }

  /** Deletes what was renamed away and downloads that nobody goes on with. Holds no lock. */
  async sweep({ onEvent }: OperationOptions = {}): Promise<void> {
    const { layers, content } = this.#parts;
    for await (const leftover of content.listIngests()) {
      if (leftover.busy || !(await content.removeIngest(leftover.digest))) continue;
      onEvent?.({ type: 'removed', what: 'blob', name: leftover.digest, bytes: leftover.size });
    }
    const { failures } = await layers.sweep();
    for (const failure of failures) onEvent?.({ type: 'warning', message: failure.message });
  }

  #refuseUsed(record: ImageRecord, live: readonly LeaseRecord[]): void {
    const users = this.#parts.claims
      .list()
      .filter((claim) => claimNames(claim, record))
      .map((claim) => `container ${claim.container}`);
    const pulls = live.filter((lease) => lease.blobs.includes(record.config)).map(() => 'a running pull');
    const [user] = [...users, ...pulls];
    if (user === undefined) return;
    throw new LarderError('LARDER_IMAGE_IN_USE', `remove ${record.reference}: ${user} uses it`, {
      hint: users.length > 0 ? `destroy ${users.join(', ')} first` : 'wait until it is done',
    });
  }

  async #retireUnheld(
    doomed: readonly ImageRecord[],
    live: readonly LeaseRecord[],
    activeLayerPaths: ReadonlySet<string>,
    options: PruneOptions,
  ): Promise<void> {
    const { dryRun = false, onEvent } = options;
    const keep = this.#keep(doomed, live);
    const active = new Set([...activeLayerPaths].map((path) => parseLayerPath(path).diffId));
    const unheld: StoredLayer[] = [];
    for await (const layer of this.#parts.layers.list()) {
      if (keep.layers.has(layer.diffId) || active.has(layer.diffId)) continue;
      unheld.push(layer);
    }
    for (const batch of dryRun ? [] : inBatches(unheld)) {
      await this.#parts.layers.retire(...batch.map(({ diffId }) => diffId));
    }
    for (const { diffId, record } of unheld) {
      onEvent?.({ type: 'removed', what: 'layer', name: diffId, bytes: record?.tarSize ?? 0 });
    }
    for await (const { digest, size } of this.#parts.content.list()) {
      if (keep.blobs.has(digest)) continue;
      if (!dryRun) await this.#parts.content.remove(digest);
      onEvent?.({ type: 'removed', what: 'blob', name: digest, bytes: size });
    }
    await retireAll(this.#parts.merged, keep.mergedKeys, dryRun, onEvent);
    await retireAll(this.#parts.chains, keep.chains, dryRun, onEvent);
  }

  /** What records, claims and live leases name (I5), and the keys of what is derived from those stacks of layers. */
  #keep(forgotten: readonly ImageRecord[], leases: readonly LeaseRecord[]): Keep {
    const gone = new Set(forgotten.map(nameOf));
    const records = [...this.#parts.allImages()].filter((record) => !gone.has(nameOf(record)));
    const claims = this.#parts.claims.list();
    const stacks = [...records.map(stackOf), ...claims.flatMap((claim) => claim.images.map((image) => image.layers))];
    return {
      layers: new Set([...stacks.flat().map(({ diffId }) => diffId), ...leases.flatMap((lease) => lease.layers)]),
      blobs: new Set([...records.flatMap(blobsOf), ...[...claims, ...leases].flatMap((holder) => holder.blobs)]),
      mergedKeys: new Set(stacks.map(mergedKeyOf)),
      chains: new Set(stacks.flatMap((stack) => chainIdsOf(stack).map(hexOf))),
    };
  }
}

interface Keep {
  readonly layers: ReadonlySet<DiffId>;
  readonly blobs: ReadonlySet<Digest>;
  readonly mergedKeys: ReadonlySet<string>;
  readonly chains: ReadonlySet<string>;
}

/** Excluded by name, or in the hands of a pull that has not been disposed. */
function keptBy(excluded: readonly Excluded[], live: readonly LeaseRecord[]): (record: ImageRecord) => boolean {
  const names = new Set(
    excluded.map(({ reference, platform }) => (platform === undefined ? reference : `${reference} ${platform}`)),
  );
  const leased = new Set(live.flatMap((lease) => lease.blobs));
  return ({ reference, platform, config }) =>
    names.has(reference) || names.has(`${reference} ${platform}`) || leased.has(config);
}

function tellForgotten(doomed: readonly ImageRecord[], { onEvent }: PruneOptions): void {
  for (const { reference, platform } of doomed) {
    onEvent?.({ type: 'removed', what: 'image', name: `${reference} ${platform}`, bytes: 0 });
  }
}

/** Neither a type nor a reference nor a platform has a space in it. */
function nameOf({ type, reference, platform }: ImageRecord): string {
  return `${type} ${reference} ${platform}`;
}

/** Arguments of a call are on the stack, which takes some hundred thousand. */
function* inBatches<T>(values: readonly T[]): Generator<readonly T[]> {
  for (let i = 0; i < values.length; i += MAX_BATCH) yield values.slice(i, i + MAX_BATCH);
}

async function retireAll(
  files: DerivedFiles,
  keep: ReadonlySet<string>,
  dryRun: boolean,
  onEvent: OnEvent | undefined,
): Promise<void> {
  const unheld = (await files.list()).filter(({ key }) => !keep.has(key));
  for (const batch of dryRun ? [] : inBatches(unheld)) await files.retire(...batch.map(({ key }) => key));
  for (const { key, size } of unheld) onEvent?.({ type: 'removed', what: 'derived', name: key, bytes: size });
}
