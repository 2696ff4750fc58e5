/**
 * ▸ Takes away what nothing holds: the second half of every prune, for all image types together.
 *
 * The first half, the mark, forgets image records and nothing else ({@link Retention}). Here, in short turns under the
 * exclusive store lock (I8), what nothing holds at that moment (I5) loses its record and is renamed into `gc/`; between
 * the turns everybody else gets in, and after them `gc/` is deleted without any lock. A turn asks again by SQL, so what
 * was pulled, leased or claimed since the last one is kept, and nobody waits longer than for one turn.
 *
 * A crash anywhere leaves garbage, never a record without its bytes (I3): each turn forgets before it renames, and what
 * was forgotten but not renamed is found by the next prune, which goes by what is on disk.
 */
import type { ContentStore } from '../../content/content-store.js';
import { type LarderError, systemError, throwIfAborted } from '../../errors.js';
import type { OperationOptions } from '../../events.js';
import type { DerivedFiles } from '../../layers/derived-listing.js';
import type { LayerStore } from '../../layers/layer-store.js';
import type { StoreLock } from '../../linux/store-lock.js';
import type { Holds, Without } from '../../metadata/holds.js';
import type { Leases } from '../../metadata/leases.js';
import type { DiffId, Digest } from '../../spec/digest.js';

export interface SweeperParts {
  readonly lock: StoreLock;
  readonly holds: Holds;
  readonly leases: Leases;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  /** EROFS images, and overlay directories made from layers. */
  readonly derived: readonly DerivedFiles[];
}

export interface SweepOptions extends OperationOptions {
  /** Takes what is derived and used by no container, too, although an image has it: it can be made again. */
  readonly all?: boolean;
}

export interface Removable {
  readonly what: 'layer' | 'blob' | 'derived';
  readonly name: string;
  readonly bytes: number;
}

/** So many that a turn takes some milliseconds, most of it the renames. */
const LAYERS_IN_A_TURN = 64;
const BLOBS_IN_A_TURN = 128;
const DERIVED_IN_A_TURN = 32;

export class Sweeper {
  readonly #parts: SweeperParts;
  #due = false;
  /** Deletions that nobody waits for but {@link settled}: one after the other, so that they leave threads to others. */
  #deleting: Promise<void> = Promise.resolve();

  constructor(parts: SweeperParts) {
    this.#parts = parts;
  }

  /** Something was forgotten: the next {@link sweep} looks for what that set free. */
  due(): void {
    this.#due = true;
  }

  /**
   * After a mark: takes what nothing holds any more, and downloads that nobody goes on with. Always: deletes what waits in
   * `gc/`. What cannot be renamed or deleted is told by a warning and does not keep the rest. Call it without the store
   * lock.
   */
  async sweep(options: SweepOptions = {}): Promise<void> {
    if (this.#isDue() || options.all === true) await this.#collect(options);
    await this.#delete(options);
  }

  /**
   * The same for who need not wait for the disk: answers when all is renamed into `gc/`, out of everybody's sight. It is
   * deleted meanwhile and after; what cannot be is told by a warning then, and waits for the next sweep.
   */
  async retire(options: OperationOptions = {}): Promise<void> {
    // The tars are nearly all there is to delete: begun before the rest is looked for.
    if (this.#isDue()) await this.#collect(options, () => this.#deleteLater(options));
    this.#deleteLater(options);
  }

  /** What is forgotten from now on is due anew. */
  #isDue(): boolean {
    const due = this.#due;
    this.#due = false;
    return due;
  }

  /** When all that {@link retire} left is deleted. Never rejects: failures were told. */
  settled(): Promise<void> {
    return this.#deleting;
  }

  #deleteLater(options: OperationOptions): void {
    this.#deleting = this.#deleting
      .then(() => this.#delete(options))
      .catch((error: unknown) => tellFailures([systemError('delete what was removed', error)], options));
  }

  async #delete(options: OperationOptions): Promise<void> {
    const { failures } = await this.#parts.layers.sweep();
    tellFailures(failures, options);
  }

  /** What {@link sweep} would take if these images were forgotten. Takes no lock. */
  async plan(without: Without, { all = false }: SweepOptions = {}): Promise<readonly Removable[]> {
    const { holds, content, derived } = this.#parts;
    holds.refresh();
    const planned: Removable[] = [];
    for (const page of holds.unheldLayers(without)) {
      for (const { diffId, bytes } of page) planned.push({ what: 'layer', name: diffId, bytes });
    }
    for (const diffId of await unrecordedLayers(this.#parts)) planned.push({ what: 'layer', name: diffId, bytes: 0 });
    const held = holds.heldBlobs(without);
    for await (const { digest, size } of content.list()) {
      if (!held.has(digest)) planned.push({ what: 'blob', name: digest, bytes: size });
    }
    for (const { kind } of derived) {
      const unheld = holds.unheldDerived(kind, all, without);
      for (const { key, bytes } of unheld) planned.push({ what: 'derived', name: key, bytes });
    }
    for await (const { digest, size, busy } of content.listIngests()) {
      if (!busy) planned.push({ what: 'blob', name: digest, bytes: size });
    }
    return planned;
  }

  async #collect(options: SweepOptions, onLayers: () => void = () => {}): Promise<void> {
    const { holds, leases } = this.#parts;
    // What dead processes had in their hands.
    await leases.recover();
    holds.refresh();
    await this.#collectLayers(options);
    onLayers();
    await this.#collectBlobs(options);
    for (const files of this.#parts.derived) await this.#collectDerived(files, options);
    await this.#dropDownloads(options);
    await holds.sweepOrphans();
  }

  async #collectLayers(options: SweepOptions): Promise<void> {
    const { holds, layers } = this.#parts;
    const tried = new Set<DiffId>();
    const take = async (sizes: ReadonlyMap<DiffId, number>): Promise<void> => {
      for (const diffId of sizes.keys()) tried.add(diffId);
      await this.#inTurns([...sizes.keys()], LAYERS_IN_A_TURN, options, async (diffIds) => {
        const { retired, failures } = await layers.retire(...diffIds);
        return {
          failures,
          retired: retired.map((diffId) => ({ what: 'layer', name: diffId, bytes: sizes.get(diffId) ?? 0 })),
        };
      });
    };
    for (const page of holds.unheldLayers()) await take(new Map(page.map(({ diffId, bytes }) => [diffId, bytes])));
    // What a turn that was cut short left, here or in another process.
    const unrecorded = await unrecordedLayers(this.#parts);
    await take(new Map(unrecorded.filter((diffId) => !tried.has(diffId)).map((diffId) => [diffId, 0])));
  }

  async #collectBlobs(options: SweepOptions): Promise<void> {
    const { holds, content } = this.#parts;
    const lastImage = holds.lastImage();
    const held = holds.heldBlobs();
    const unheld = new Map<Digest, number>();
    for await (const { digest, size } of content.list()) if (!held.has(digest)) unheld.set(digest, size);
    await this.#inTurns([...unheld.keys()], BLOBS_IN_A_TURN, options, async (digests) => {
      const { retired, failures } = content.retire(holds.stillUnheld(digests, lastImage));
      return {
        failures,
        retired: retired.map((digest) => ({ what: 'blob', name: digest, bytes: unheld.get(digest) ?? 0 })),
      };
    });
  }

  async #collectDerived(files: DerivedFiles, options: SweepOptions): Promise<void> {
    const all = options.all === true;
    const recorded = this.#parts.holds.unheldDerived(files.kind, all);
    const sizes = new Map(recorded.map(({ key, bytes }) => [key, bytes]));
    const known = this.#parts.holds.recordedDerived(files.kind);
    for (const key of await files.keys()) if (!known.has(key)) sizes.set(key, await files.sizeOf(key));
    await this.#inTurns([...sizes.keys()], DERIVED_IN_A_TURN, options, async (keys) => {
      const { retired, failures } = await files.retire(keys, all);
      return { failures, retired: retired.map((key) => ({ what: 'derived', name: key, bytes: sizes.get(key) ?? 0 })) };
    });
  }

  async #dropDownloads({ onEvent }: SweepOptions): Promise<void> {
    const { content } = this.#parts;
    for await (const leftover of content.listIngests()) {
      if (leftover.busy || !(await content.removeIngest(leftover.digest))) continue;
      onEvent?.({ type: 'removed', what: 'blob', name: leftover.digest, bytes: leftover.size });
    }
  }

  async #inTurns<T>(
    names: readonly T[],
    size: number,
    options: OperationOptions,
    turn: (names: readonly T[]) => Promise<{ retired: readonly Removable[]; failures: readonly LarderError[] }>,
  ): Promise<void> {
    for (let i = 0; i < names.length; i += size) {
      throwIfAborted(options.signal, 'prune');
      const { retired, failures } = await this.#turn(options, () => turn(names.slice(i, i + size)));
      for (const removed of retired) options.onEvent?.({ type: 'removed', ...removed });
      tellFailures(failures, options);
    }
  }

  async #turn<T>({ signal }: OperationOptions, work: () => Promise<T>): Promise<T> {
    using _exclusive = await this.#parts.lock.exclusive(signal === undefined ? {} : { signal });
    return await work();
  }
}

/** Those on disk that no record names. */
async function unrecordedLayers({ layers, holds }: SweeperParts): Promise<DiffId[]> {
  const there = await layers.onDisk();
  const recorded = holds.recordedLayers();
  return [...there].filter((diffId) => !recorded.has(diffId));
}

function tellFailures(failures: readonly LarderError[], { onEvent }: OperationOptions): void {
  for (const { message } of failures) onEvent?.({ type: 'warning', message });
}
