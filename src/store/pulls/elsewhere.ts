import { setTimeout as sleep } from 'node:timers/promises';
import { isAbort, isLarderError } from '../../errors.js';
import type { LarderEvent, OnEvent } from '../../events.js';

export interface ElsewhereParts {
  /** Who fetches the layer, and what he tells of his pull, a snapshot first. */
  readonly find: (layer: string) => Promise<
    | {
        readonly pid: number;
        readonly events: (signal: AbortSignal) => AsyncIterable<LarderEvent>;
      }
    | undefined
  >;
  readonly onEvent: OnEvent;
}

const LOOK_AGAIN_MS = 250;

/** While a pull waits for layers that other processes fetch, their progress is told as its own. */
export class Elsewhere {
  readonly #parts: ElsewhereParts;
  readonly #waiting = new Map<string, AbortController>();

  constructor(parts: ElsewhereParts) {
    this.#parts = parts;
  }

  /** To hear all that the pull tells of itself. */
  note(event: LarderEvent): void {
    if (event.type === 'layer-wait' && event.reason === 'another-process') this.#follow(event.layer);
    if (event.type === 'layer-start' || event.type === 'layer-done') this.#leave(event.layer);
  }

  stop(): void {
    for (const layer of [...this.#waiting.keys()]) this.#leave(layer);
  }

  #leave(layer: string): void {
    this.#waiting.get(layer)?.abort();
    this.#waiting.delete(layer);
  }

  #follow(layer: string): void {
    this.#leave(layer);
    const stop = new AbortController();
    this.#waiting.set(layer, stop);
    this.#tellOf(layer, stop.signal).catch((error: unknown) => {
      if (stop.signal.aborted && isAbort(error)) return;
      const message = error instanceof Error ? error.message : String(error);
      this.#parts.onEvent({ type: 'debug', scope: 'attach', message });
    });
  }

  /** Whoever fetches it may be found late, and may be another one tomorrow. */
  async #tellOf(layer: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      const found = await this.#parts.find(layer);
      if (found !== undefined && !signal.aborted) {
        this.#parts.onEvent({ type: 'layer-wait', layer, reason: 'another-process', pid: found.pid });
        await this.#forward(layer, found.pid, found.events(signal), signal);
      }
      await sleep(LOOK_AGAIN_MS, undefined, { signal, ref: false });
    }
  }

  async #forward(layer: string, pid: number, events: AsyncIterable<LarderEvent>, signal: AbortSignal): Promise<void> {
    try {
      for await (const event of events) {
        if (signal.aborted) return;
        for (const step of stepsOf(layer, event)) this.#parts.onEvent({ ...step, pid });
        if (event.type === 'layer-done' && event.layer === layer) return;
      }
    } catch (error) {
      // It has ended between two looks.
      if (!isLarderError(error, 'LARDER_IMAGE_NOT_FOUND')) throw error;
    }
  }
}

function stepsOf(layer: string, event: LarderEvent): Extract<LarderEvent, { type: 'layer-progress' }>[] {
  if (event.type === 'layer-progress' && event.layer === layer) return [event];
  if (event.type !== 'snapshot') return [];
  return event.layers
    .filter((one) => one.layer === layer)
    .map(({ received, written }) => ({ type: 'layer-progress', layer, received, written }));
}
