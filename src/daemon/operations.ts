/** What the daemon is doing for its clients: who may cancel it, and how it all ends when the daemon does. */
import { LarderError } from '../errors.js';

interface Running {
  readonly controller: AbortController;
  readonly ended: Promise<unknown>;
}

export class Operations {
  readonly #running = new Map<string, Running>();
  #stopping = false;
  #unnamed = 0;

  get size(): number {
    return this.#running.size;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /**
   * Runs `work` with a signal that fires when it is cancelled by its id, when `gone` does, or when the daemon ends.
   * Rejects with what the work rejects with, and with LARDER_DAEMON_UNREACHABLE when the daemon is about to end.
   */
  async run<T>(id: string | undefined, gone: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#stopping) {
      throw new LarderError('LARDER_DAEMON_UNREACHABLE', 'serve a request: the daemon is about to end', {
        hint: 'try again when it has been started again',
      });
    }
    const key = id ?? `.${this.#unnamed++}`;
    if (this.#running.has(key)) {
      throw new LarderError('LARDER_REQUEST_INVALID', `serve a request: operation ${key}: there is one of this id`);
    }
    const controller = new AbortController();
    const ended = work(AbortSignal.any([controller.signal, gone]));
    this.#running.set(key, { controller, ended });
    try {
      return await ended;
    } finally {
      this.#running.delete(key);
    }
  }

  /** False when there is no such operation (any more). */
  cancel(id: string): boolean {
    const running = this.#running.get(id);
    running?.controller.abort(new Error('its client cancelled it'));
    return running !== undefined;
  }

  /** From now on nothing new is begun. */
  refuseNew(): void {
    this.#stopping = true;
  }

  /** Cancels everything; what was cancelled undoes what it had begun before {@link idle} resolves. */
  abortAll(): void {
    for (const { controller } of this.#running.values()) controller.abort(new Error('the daemon ends'));
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled([...this.#running.values()].map(({ ended }) => ended));
  }
}
