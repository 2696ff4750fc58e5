import type { IncomingMessage } from 'node:http';
import type { LowSpeed } from './blob.js';

/** How long a body is put up with. */
export interface StallLimits {
  readonly stallTimeoutMs: number;
  readonly lowSpeed?: LowSpeed | undefined;
}

/**
 * Ends a body that does not come, or comes too slowly. Counts only while the network is waited for, never while the
 * consumer is busy: what came in that time is in the buffer and costs no waiting. One timer for all pieces of a body.
 */
export class StallGuard {
  readonly #lowSpeed: LowSpeed | undefined;
  readonly #timer: NodeJS.Timeout;
  #waiting = false;
  #sinceMs = 0;
  /** Of the current window. */
  #waitedMs = 0;
  #bytes = 0;

  constructor(message: IncomingMessage, { stallTimeoutMs, lowSpeed }: StallLimits) {
    this.#lowSpeed = lowSpeed;
    this.#timer = setTimeout(() => {
      if (this.#waiting) message.destroy(timeoutError(`no byte for ${stallTimeoutMs} ms`));
    }, stallTimeoutMs);
  }

  /** Throws where what has come in the time that was waited for it is too little. */
  wait(): void {
    this.#refuseTooSlow();
    this.#waiting = true;
    this.#sinceMs = performance.now();
    this.#timer.refresh();
  }

  received(bytes: number): void {
    this.#waiting = false;
    this.#waitedMs += performance.now() - this.#sinceMs;
    this.#bytes += bytes;
  }

  #refuseTooSlow(): void {
    if (this.#lowSpeed === undefined || this.#waitedMs < this.#lowSpeed.overMs) return;
    const { bytesPerSecond } = this.#lowSpeed;
    const seconds = this.#waitedMs / 1000;
    if (this.#bytes < bytesPerSecond * seconds) {
      throw timeoutError(`only ${this.#bytes} bytes in ${seconds.toFixed(1)} s`);
    }
    this.#waitedMs = 0;
    this.#bytes = 0;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

export function timeoutError(message: string): Error {
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' });
}
