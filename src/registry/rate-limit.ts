import type { OnEvent } from '../events.js';
import type { HttpAnswer } from './transport.js';

/** Below this, or a tenth of all there are, it is worth a warning; once for each host in so long. */
const FEW = 5;
const WARN_EVERY_MS = 10 * 60_000;
const warnedAtMs = new Map<string, number>();

/**
 * Tells what a registry says of the pulls that are left (Docker Hub's `RateLimit-Limit` and `RateLimit-Remaining`, as
 * `100;w=21600`): always as `debug`, and as `warning` when they come to an end.
 */
export function tellRateLimit(answer: HttpAnswer, doing: string, onEvent: OnEvent | undefined): void {
  const remaining = countOf(answer.header('ratelimit-remaining'));
  if (remaining === undefined || onEvent === undefined) return;
  const limit = countOf(answer.header('ratelimit-limit'));
  const { host } = answer;
  const message = `${host} allows ${remaining.count}${limit === undefined ? '' : ` of ${limit.count}`} more pulls`;
  const window = remaining.seconds === undefined ? '' : ` in ${remaining.seconds} s`;
  onEvent({ type: 'debug', scope: 'registry', message: `${doing}: ${message}${window}` });
  if (remaining.count > Math.max(FEW, (limit?.count ?? 0) / 10)) return;
  const nowMs = performance.now();
  if (nowMs - (warnedAtMs.get(host) ?? Number.NEGATIVE_INFINITY) < WARN_EVERY_MS) return;
  if (warnedAtMs.size > 1000) warnedAtMs.clear();
  warnedAtMs.set(host, nowMs);
  onEvent({ type: 'warning', message: `${message}${window}; a login may allow more` });
}

function countOf(text: string | undefined): { readonly count: number; readonly seconds?: number } | undefined {
  const match = /^\s*(\d{1,9})(?:\s*;\s*w=(\d{1,9}))?/.exec(text ?? '');
  if (match === null) return undefined;
  return { count: Number(match[1]), ...(match[2] === undefined ? {} : { seconds: Number(match[2]) }) };
}
