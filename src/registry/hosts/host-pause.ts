import { LarderError } from '../../errors.js';
import type { OnEvent } from '../../events.js';
import { pause } from '../get-whole.js';
import type { HostHealth } from './host-health.js';

export interface HostPauseOptions {
  /** *what we were doing*: *to which thing*. */
  readonly doing: string;
  /** Who is asked to wait for longer does not wait at all. */
  readonly maxWaitMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: OnEvent | undefined;
}

/** So that those who waited for the same moment do not come at it together. */
const MAX_SPREAD_MS = 3000;

/**
 * Resolves when the host may be asked: it has asked nobody to be left alone, or that time is over. Whoever asks for more
 * in the meantime goes for those who wait already, but nobody waits for more than twice `maxWaitMs`. Rejects with
 * LARDER_REGISTRY_RATE_LIMITED, LARDER_ABORTED.
 */
export async function waitForHost(health: HostHealth, host: string, options: HostPauseOptions): Promise<void> {
  const { doing, maxWaitMs, signal, onEvent } = options;
  const startedMs = performance.now();
  for (;;) {
    const pausedMs = Math.ceil(health.pausedMs(host));
    if (pausedMs === 0) return;
    const waitedMs = performance.now() - startedMs;
    if (pausedMs > maxWaitMs || waitedMs + pausedMs > 2 * maxWaitMs) throw rateLimited(doing, host, pausedMs);
    onEvent?.({ type: 'rate-limit', what: doing, host, afterMs: pausedMs });
    await pause(pausedMs + Math.random() * Math.min(MAX_SPREAD_MS, pausedMs / 4), doing, signal);
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
