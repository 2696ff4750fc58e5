/** Takes containers down, children before their parents. Called by who has the container's turn. */
import type { OperationOptions } from '../events.js';
import type { Layout } from '../layout.js';
import type { Claims } from '../metadata/claims.js';
import type { ClaimRecord } from '../metadata/records.js';
import { type ContainerId, deepestFirst, isBelow } from '../spec/container-id.js';
import { directoriesBelow, hasDirectory } from './directories.js';
import { Failures } from './failures.js';
import type { RootFilesystems } from './root-filesystems.js';

export interface DestructionParts {
  readonly layout: Layout;
  readonly claims: Claims;
  readonly roots: RootFilesystems;
}

interface Doomed {
  readonly container: ContainerId;
  /** Undefined where it was lost. */
  readonly claim: ClaimRecord | undefined;
}

export class Destruction {
  readonly #parts: DestructionParts;

  constructor(parts: DestructionParts) {
    this.#parts = parts;
  }

  /** Whether there is anything to destroy: the container, or one that is nested in it. */
  async isThere(container: ContainerId): Promise<boolean> {
    return (await this.#treeOf(container)).length > 0;
  }

  /**
   * The container and all that are nested in it. False when there was nothing. A container that fails keeps those that
   * it is nested in; the others go. Rejects then; the next call goes on.
   */
  async destroyTree(container: ContainerId, options: OperationOptions): Promise<boolean> {
    const doomed = await this.#treeOf(container);
    const failures = new Failures();
    for (const { container: each, claim } of doomed) {
      if (failures.containers.some((failed) => isBelow(failed, each))) continue;
      await failures.collect(each, async () => {
        await this.#parts.roots.unmake(each, claim);
        options.onEvent?.({ type: 'destroyed', container: each });
      });
    }
    failures.throwIfAny(`destroy ${container}`);
    return doomed.length > 0;
  }

  async #treeOf(container: ContainerId): Promise<Doomed[]> {
    const { claims, layout } = this.#parts;
    const own = claims.get(container);
    const claimed = [...claims.listBelow(container), ...(own === undefined ? [] : [own])];
    const doomed = new Map<ContainerId, Doomed>(
      claimed.map((claim) => [claim.container, { container: claim.container, claim }]),
    );
    // Where the container's own claim is lost, those of its children may be too.
    if (own === undefined) {
      const found = await directoriesBelow(layout, container);
      for (const each of hasDirectory(layout, container) ? [...found, container] : found) {
        if (!doomed.has(each)) doomed.set(each, { container: each, claim: undefined });
      }
    }
    return [...doomed.values()].sort((a, b) => deepestFirst(a.container, b.container));
  }
}
