/**
 * ▸ Garbage collection: measures, asks the policy, and takes what it names, in rounds until the low mark is reached or
 * nothing is left that may go. It is never told by a clock that something is unused: what it forgets is checked again in
 * the transaction that forgets it.
 */
import { statfs } from 'node:fs/promises';
import { systemError, throwIfAborted } from '../../errors.js';
import type { OnEvent, OperationOptions } from '../../events.js';
import type { StoreLock } from '../../linux/store-lock.js';
import type { Holds } from '../../metadata/holds.js';
import type { Usage } from '../../metadata/usage.js';
import { type GcDue, type GcImage, type GcLimits, type GcPlan, type GcState, planGc } from './gc-policy.js';
import type { Removable, Sweeper } from './gc-sweeper.js';

export interface GcReport {
  /** Why it was due; undefined: it was not, and nothing was done. */
  readonly due: string | undefined;
  readonly dryRun: boolean;
  readonly images: readonly { readonly name: string; readonly bytes: number; readonly why: string }[];
  /** Everything that went, or would go: layers, documents, what was derived, downloads. */
  readonly removed: readonly Removable[];
  /** Sum of `removed`. */
  readonly freedBytes: number;
  readonly disk: { readonly sizeBytes: number; readonly usedBefore: number; readonly usedAfter: number };
  readonly store: { readonly before: number; readonly after: number };
  /** The low mark was not reached: what is left is excluded, pinned, in use, leased or too young. */
  readonly short: boolean;
}

export interface CollectOptions extends OperationOptions {
  /** Only says what would go and why. */
  readonly dryRun?: boolean;
  /** Of each image, by type, reference and platform: whether it stays whatever happens. */
  readonly isExcluded?: (image: { type: string; reference: string; platform: string }) => boolean;
}

export interface CollectorParts {
  readonly lock: StoreLock;
  readonly holds: Holds;
  readonly usage: Usage;
  readonly sweeper: Sweeper;
  /** Bytes that the store has on disk. */
  readonly storeBytes: () => Promise<number>;
  /** Unmounts images that no container uses: as long as they are mounted, what is deleted keeps its blocks. */
  readonly sweepMounts: () => Promise<void>;
  /** Drops what says once more what forgotten records said. */
  readonly sweepNames: () => Promise<unknown>;
  readonly root: string;
}

/** A file that is open somewhere keeps its blocks: what was taken need not be free yet. */
const MAX_ROUNDS = 5;

export class Collector {
  readonly #parts: CollectorParts;

  constructor(parts: CollectorParts) {
    this.#parts = parts;
  }

  async collect(limits: GcLimits, options: CollectOptions = {}): Promise<GcReport> {
    const first = await this.#state(options);
    const plan = planGc(first, limits);
    const { disk, storeBytes } = first;
    const nothing = {
      due: plan.due?.why,
      dryRun: options.dryRun === true,
      images: [],
      removed: [],
      freedBytes: 0,
      disk: { sizeBytes: disk.sizeBytes, usedBefore: disk.usedBytes, usedAfter: disk.usedBytes },
      store: { before: storeBytes, after: storeBytes },
      short: false,
    };
    if (plan.due === undefined) return nothing;
    if (options.dryRun === true) {
      const removed = await this.#removable(plan);
      const images = plan.images.map(({ image, bytes, why }) => ({ name: image.name, bytes, why }));
      return { ...nothing, images, removed, freedBytes: sum(removed), short: plan.expectedBytes < plan.neededBytes };
    }
    await this.#parts.sweepMounts();
    const { images, removed, last, short } = await this.#rounds(first, limits, plan.due, options);
    await this.#parts.sweepNames();
    // Ages are told by a clock that may have been ahead: what was used then begins to grow old now, not in ten years.
    await this.#parts.usage.endFuture(Date.now());
    return {
      ...nothing,
      images,
      removed,
      freedBytes: sum(removed),
      disk: { ...nothing.disk, usedAfter: last.disk.usedBytes },
      store: { before: storeBytes, after: last.storeBytes },
      short,
    };
  }

  async #rounds(first: GcState, limits: GcLimits, due: GcDue, options: CollectOptions) {
    const images: { name: string; bytes: number; why: string }[] = [];
    const removed: Removable[] = [];
    const onEvent: OnEvent = (event) => {
      options.onEvent?.(event);
      if (event.type === 'removed' && event.what !== 'image')
        removed.push({ what: event.what, name: event.name, bytes: event.bytes });
    };
    const watched = { onEvent, ...(options.signal === undefined ? {} : { signal: options.signal }) };
    let state = first;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      throwIfAborted(options.signal, 'collect garbage');
      const plan = planGc(state, limits, due);
      if (plan.due === undefined) return { images, removed, last: state, short: false };
      const before = removed.length;
      const gone = await this.#forget(plan);
      for (const { image } of gone) {
        options.onEvent?.({ type: 'removed', what: 'image', name: image.name, bytes: 0 });
      }
      images.push(...gone.map(({ image, bytes, why }) => ({ name: image.name, bytes, why })));
      this.#parts.sweeper.due();
      await this.#parts.sweeper.sweep({ ...watched, all: plan.derived });
      state = await this.#state(options);
      if (gone.length === 0 && removed.length === before) break;
    }
    return { images, removed, last: state, short: planGc(state, limits, due).due !== undefined };
  }

  /** Under the exclusive lock for one transaction; what was used, pinned or leased meanwhile stays. */
  async #forget(plan: GcPlan): Promise<GcPlan['images']> {
    if (plan.images.length === 0) return [];
    const { lock, holds } = this.#parts;
    using _exclusive = await lock.exclusive();
    holds.refresh();
    const gone = await holds.forgetUnused(plan.images.map(({ image }) => image));
    const ids = new Set(gone.map(({ id }) => id));
    return plan.images.filter(({ image }) => ids.has(image.id));
  }

  #removable(plan: GcPlan): Promise<readonly Removable[]> {
    return this.#parts.sweeper.plan({ images: plan.images.map(({ image }) => image.id) }, { all: plan.derived });
  }

  async #state({ isExcluded = () => false }: CollectOptions): Promise<GcState> {
    const { holds, usage, sweeper, storeBytes, root } = this.#parts;
    holds.refresh();
    const { images, sizes, heldElsewhere } = usage.forGc();
    const garbage = await sweeper.plan({});
    const known = new Set(garbage.map(({ name }) => name));
    const withCaches = await sweeper.plan({}, { all: true });
    return {
      nowMs: Date.now(),
      disk: await diskOf(root),
      storeBytes: await storeBytes(),
      garbageBytes: sum(garbage),
      derived: withCaches.filter(({ name }) => !known.has(name)).map(({ name, bytes }) => ({ name, bytes })),
      images: images.map(
        (image): GcImage => ({ ...image, name: `${image.reference} ${image.platform}`, excluded: isExcluded(image) }),
      ),
      sizes,
      heldElsewhere,
    };
  }
}

/** As Mesos counts: what is reserved for root is not in use. */
async function diskOf(path: string): Promise<GcState['disk']> {
  try {
    const { blocks, bfree, bsize } = await statfs(path);
    return { sizeBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize };
  } catch (error) {
    throw systemError(`find how full the file system of ${path} is`, error);
  }
}

function sum(removed: readonly { readonly bytes: number }[]): number {
  return removed.reduce((total, { bytes }) => total + bytes, 0);
}
