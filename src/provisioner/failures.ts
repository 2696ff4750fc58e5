import { isLarderError, LarderError, systemError } from '../errors.js';
import type { ContainerId } from '../spec/container-id.js';

/** What went wrong with which container, while the others are seen to. Cancelling ends everything at once. */
export class Failures {
  readonly #failures = new Map<ContainerId, LarderError>();

  get containers(): readonly ContainerId[] {
    return [...this.#failures.keys()];
  }

  async collect(container: ContainerId, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (isLarderError(error, 'LARDER_ABORTED')) throw error;
      this.#failures.set(container, systemError(`container ${container}`, error));
    }
  }

  /** One failure is thrown as it is; several as one with the first one's code, which names all. */
  throwIfAny(doing: string): void {
    const [first, ...others] = this.#failures.values();
    if (first === undefined) return;
    if (others.length === 0) throw first;
    const all = [...this.#failures].map(([container, { message }]) => `${container}: ${message}`);
    throw new LarderError(first.code, `${doing}: ${all.length} containers failed: ${all.join('; ')}`, {
      ...(first.hint === undefined ? {} : { hint: first.hint }),
      details: { containers: this.containers.join(' ') },
      cause: first,
    });
  }
}
