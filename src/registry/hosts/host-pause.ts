import { LarderError } from '../../errors.js';
import type { OnEvent } from '../../events.js';
import { pause } from '../get-whole.js';
import type { HostHealth } from './host-health.js';

export interface HostPauseOptions {
  /** *what we were doing*: *to which thing*. */
  readonly doing: string;
  /** Who is asked to wait for longer does not wait at all. */
  readonly maxWaitMs: number;
  /** When the waiting began; default: now. */
  readonly sinceMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: OnEvent | undefined;
}

/** Of `maxWaitMs`: whoever has waited for so long, for one pause after the other, is told. */
const MOST_PAUSES = 5;

/**
 * Resolves when the host has asked nobody to be left alone, or that time is over. Whoever asks for more in the meantime
 * goes for those who wait already, but nobody waits for more than five times `maxWaitMs`. Rejects with
 * LARDER_REGISTRY_RATE_LIMITED, LARDER_ABORTED.
 */
export async function waitForPause(health: HostHealth, host: string, options: HostPauseOptions): Promise<void> {
  const { doing, maxWaitMs, signal, onEvent } = options;
  const sinceMs = options.sinceMs ?? performance.now();
  for (;;) {
    const pausedMs = Math.ceil(health.pausedMs(host));
    if (pausedMs === 0) return;
    const waitedMs = performance.now() - sinceMs;
    if (pausedMs > maxWaitMs || waitedMs + pausedMs > MOST_PAUSES * maxWaitMs) throw rateLimited(doing, host, pausedMs);
    onEvent?.({ type: 'rate-limit', what: doing, host, afterMs: pausedMs });
    await pause(pausedMs, doing, signal);
  }
}

/** The same, and that it is this request's turn: those who wait for one pause do not come together. */
export async function waitForTurn(health: HostHealth, host: string, options: HostPauseOptions): Promise<void> {
  const sinceMs = performance.now();
  for (;;) {
    await waitForPause(health, host, { ...options, sinceMs });
    const turnMs = health.takeTurn(host);
    if (turnMs === 0) return;
    await pause(turnMs, options.doing, options.signal);
    if (health.pausedMs(host) === 0) return;
  }
}

function rateLimited(doing: string, host: string, pausedMs: number): LarderError {
  const retryAfterSeconds = Math.ceil(pausedMs / 1000);
  return new LarderError(
    'LARDER_REGISTRY_RATE_LIMITED',
    `${doing}: ${host} asked not to be asked for another ${retryAfterSeconds} s`,
    { hint: 'wait, or log in for a higher limit', details: { host, retryAfterSeconds } },
  );
}
