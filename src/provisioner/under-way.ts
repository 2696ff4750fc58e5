import { type ContainerId, isBelow } from '../spec/container-id.js';

interface Provision {
  readonly container: ContainerId;
  readonly controller: AbortController;
}

/** The provisions of this process that have not ended, so that a destroy need not wait for what they still fetch. */
export class UnderWay {
  readonly #provisions = new Set<Provision>();

  /** Runs `work` with a signal that fires when the caller's does, and when the container is to be destroyed. */
  async run<T>(
    container: ContainerId,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const controller = new AbortController();
    const onAbort = (): void => controller.abort(signal?.reason);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
    const provision = { container, controller };
    this.#provisions.add(provision);
    try {
      return await work(controller.signal);
    } finally {
      this.#provisions.delete(provision);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Cuts the provisions of this container and of those nested in it off; false when there are none. */
  cutOff(container: ContainerId): boolean {
    let found = false;
    for (const provision of this.#provisions) {
      if (provision.container !== container && !isBelow(provision.container, container)) continue;
      // Whoever cut it off before answers for it.
      if (!provision.controller.signal.aborted) found = true;
      provision.controller.abort(new Error(`container ${container} is being destroyed`));
    }
    return found;
  }
}
