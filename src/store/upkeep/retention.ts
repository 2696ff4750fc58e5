/**
 * ▸ Which images of one type stay: `recover`, the mark of a prune, and removing by name.
 *
 * prune -> retire -> sweep. The mark forgets image records in one transaction under the exclusive store lock, and that is
 * all that happens while it is held (I8). What nothing holds any more goes afterwards, by {@link Sweeper}. After a crash
 * in between, a layer or document that no image names lies about: garbage, which the next prune finds.
 */
import type { ContentStore } from '../../content/content-store.js';
import { LarderError } from '../../errors.js';
import type { OperationOptions } from '../../events.js';
import type { LayerStore } from '../../layers/layer-store.js';
import { parseLayerPath } from '../../layout.js';
import type { StoreLock } from '../../linux/store-lock.js';
import type { Forget, Holds, NamedImage } from '../../metadata/holds.js';
import type { Leases } from '../../metadata/leases.js';
import type { MetadataManager } from '../../metadata/metadata-manager.js';
import type { ImageRecord } from '../../metadata/records.js';
import type { PruneOptions } from '../store.js';
import type { Sweeper, SweepOptions } from './gc-sweeper.js';

export interface RetentionParts {
  readonly lock: StoreLock;
  /** Of the one type whose images this forgets. */
  readonly metadata: MetadataManager;
  readonly holds: Holds;
  readonly leases: Leases;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  /** One for all types: they share layers. */
  readonly sweeper: Sweeper;
}

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

  /** The caller holds the store lock exclusively, unless it is a dry run. */
  async prune(
    excluded: readonly Excluded[],
    activeLayerPaths: ReadonlySet<string>,
    options: PruneOptions,
  ): Promise<void> {
    const { holds, sweeper, metadata } = this.#parts;
    // Who takes a lease from here on waits for this lock before looking for what the lease names.
    holds.refresh();
    const forget: Forget = {
      type: metadata.type,
      references: excluded.flatMap(({ reference, platform }) => (platform === undefined ? [reference] : [])),
      exact: excluded.flatMap(({ reference, platform }) => (platform === undefined ? [] : `${reference} ${platform}`)),
      pinned: options.all === true,
      active: [...activeLayerPaths].map((path) => parseLayerPath(path).diffId),
    };
    if (options.dryRun === true) return this.#tellPlan(forget, options);
    // The point of no return.
    const forgotten = await holds.forgetImages(forget);
    sweeper.due();
    tellForgotten(forgotten, options);
  }

  /**
   * Forgets the images of one reference (all platforms unless one is given), pinned or not. Takes the lock itself; what
   * only they used goes in the next {@link sweep}. Rejects with LARDER_IMAGE_NOT_FOUND, or LARDER_IMAGE_IN_USE naming
   * who uses it.
   */
  async remove(reference: string, platform: string | undefined, options: OperationOptions = {}): Promise<void> {
    const { lock, metadata, holds, sweeper } = this.#parts;
    using _exclusive = await lock.exclusive(options.signal === undefined ? {} : { signal: options.signal });
    const doomed = metadata.find(reference, platform);
    if (doomed.length === 0) {
      throw new LarderError('LARDER_IMAGE_NOT_FOUND', `remove ${reference}: there is no such image in the store`, {
        hint: '`larder images` lists what there is',
      });
    }
    holds.refresh();
    for (const record of doomed) this.#refuseUsed(record);
    await metadata.remove(reference, platform);
    sweeper.due();
    tellForgotten(doomed, options);
  }

  /** After a prune or remove, without the lock: see {@link Sweeper.sweep}. */
  async sweep(options: SweepOptions = {}): Promise<void> {
    await this.#parts.sweeper.sweep(options);
  }

  /** The same for who need not wait until it is deleted: see {@link Sweeper.retire}. */
  async retire(options: OperationOptions = {}): Promise<void> {
    await this.#parts.sweeper.retire(options);
  }

  #refuseUsed(record: ImageRecord): void {
    const { containers, pulls } = this.#parts.holds.usersOf(record);
    const users = containers.map((container) => `container ${container}`);
    const [user] = [...users, ...(pulls > 0 ? ['a running pull'] : [])];
    if (user === undefined) return;
    throw new LarderError('LARDER_IMAGE_IN_USE', `remove ${record.reference}: ${user} uses it`, {
      hint: users.length > 0 ? `destroy ${users.join(', ')} first` : 'wait until it is done',
    });
  }

  async #tellPlan(forget: Forget, options: PruneOptions): Promise<void> {
    const { holds, sweeper } = this.#parts;
    const images = holds.findImages(forget);
    tellForgotten(images, options);
    // Garbage belongs to no type: only the first one that is asked about tells it.
    const others = forget.type === 'docker' ? [] : await sweeper.plan({}, options);
    const told = new Set(others.map(({ name }) => name));
    const active = new Set<string>(forget.active);
    for (const removable of await sweeper.plan({ images: images.map(({ id }) => id) }, options)) {
      if (!told.has(removable.name) && !active.has(removable.name))
        options.onEvent?.({ type: 'removed', ...removable });
    }
  }
}

function tellForgotten(
  forgotten: readonly Pick<NamedImage, 'reference' | 'platform'>[],
  { onEvent }: OperationOptions,
): void {
  for (const { reference, platform } of forgotten) {
    onEvent?.({ type: 'removed', what: 'image', name: `${reference} ${platform}`, bytes: 0 });
  }
}
