/** What one start of a containerizer does with the containers of the one before: keeps, mounts again, destroys, clears. */
import { join } from 'node:path';
import { LarderError, throwIfAborted } from '../errors.js';
import type { OperationOptions } from '../events.js';
import type { Layout } from '../layout.js';
import { mountsUnder } from '../linux/mountinfo.js';
import { namesIn } from '../linux/names-in.js';
import { removeTree } from '../linux/remove-tree.js';
import type { Claims } from '../metadata/claims.js';
import type { ClaimRecord } from '../metadata/records.js';
import { type ContainerId, containerOfDirectory, deepestFirst } from '../spec/container-id.js';
import { Failures } from './failures.js';
import type { RootFilesystems } from './root-filesystems.js';
import { clearLock, type Turns } from './turns.js';

export interface RecoveryParts {
  readonly layout: Layout;
  readonly claims: Claims;
  readonly owner: string;
  readonly turns: Turns;
  readonly roots: RootFilesystems;
}

const LOCK = '.lock';

export class Recovery {
  readonly #parts: RecoveryParts;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  async run(known: ReadonlySet<string>, options: OperationOptions): Promise<void> {
    const { claims, owner } = this.#parts;
    const own = claims.list(owner);
    const failures = new Failures();
    const unknown = own.map(({ container }) => container).filter((container) => !known.has(container));
    for (const container of unknown.sort(deepestFirst)) {
      throwIfAborted(options.signal, 'recover');
      await failures.collect(container, () => this.#destroy(container, options));
    }
    for (const claim of own.filter(({ container }) => known.has(container))) await this.#keep(claim, options);
    await this.#clear(options);
    failures.throwIfAny('recover');
  }

  /** This one only: a known container that is nested in it stays. */
  async #destroy(container: ContainerId, { signal, onEvent }: OperationOptions): Promise<void> {
    const { turns, claims, roots } = this.#parts;
    const turn = await turns.take(container, signal);
    try {
      const claim = claims.get(container);
      if (claim === undefined) return;
      await roots.unmake(container, claim);
      onEvent?.({ type: 'destroyed', container });
    } finally {
      turn.release();
    }
  }

  /** Whatever is wrong with it, it is not ours to destroy: its keeper hears of it. */
  async #keep({ container }: ClaimRecord, options: OperationOptions): Promise<void> {
    const { turns, claims, roots } = this.#parts;
    const turn = await turns.take(container, options.signal);
    try {
      const claim = claims.get(container);
      if (claim === undefined) return;
      const restored = await roots.restore(claim, options);
      for (const { rootfs, backend } of claim.images) {
        if (restored.includes(rootfs)) options.onEvent?.({ type: 'mounted', container, rootfs, backend });
      }
    } catch (error) {
      throwIfAborted(options.signal, 'recover');
      warn(options, `container ${container} is kept, and its root filesystem is not whole: ${messageOf(error)}`);
    } finally {
      turn.release();
    }
  }

  /** What lies in `containers/` and belongs to no claim. */
  async #clear(options: OperationOptions): Promise<void> {
    const { layout, turns, claims } = this.#parts;
    for (const name of await namesIn(layout.containers)) {
      throwIfAborted(options.signal, 'recover');
      const container = containerOfDirectory(name.endsWith(LOCK) ? name.slice(0, -LOCK.length) : name);
      if (name.endsWith(LOCK) && container !== undefined) {
        clearLock(join(layout.containers, name));
        continue;
      }
      if (container !== undefined && claims.get(container) !== undefined) continue;
      // Without a turn it is somebody's who is at work.
      const turn = container === undefined ? undefined : turns.tryTake(container);
      if (turn === undefined && container !== undefined) continue;
      try {
        if (container === undefined || claims.get(container) === undefined) {
          await this.#clearOrphan(join(layout.containers, name), name, options);
        }
      } finally {
        turn?.release();
      }
    }
  }

  /** Directories come after their claim and go before it: one without a claim has lost it, and may be somebody's. */
  async #clearOrphan(path: string, name: string, options: OperationOptions): Promise<void> {
    const mounted = process.platform === 'linux' && mountsUnder(path).length > 0;
    if (!mounted && (await isHollow(path))) {
      removeTree(path);
      return;
    }
    warn(
      options,
      `container ${name}: a directory without a claim, which is not empty: it is left; \`larder destroy\` removes it`,
    );
  }
}

/** Nothing but directories that larder makes before it puts something in. */
async function isHollow(path: string): Promise<boolean> {
  for (const name of await namesIn(path)) {
    if (!['rootfs', 'upper', 'work', 'volumes'].includes(name)) return false;
    if ((await namesIn(join(path, name))).length > 0) return false;
  }
  return true;
}

function warn({ onEvent }: OperationOptions, message: string): void {
  onEvent?.({ type: 'warning', message });
}

function messageOf(error: unknown): string {
  return error instanceof LarderError ? error.message : String(error);
}
