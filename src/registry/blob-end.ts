import { isLarderError, throwIfAborted } from '../errors.js';
import type { BlobOutcome } from './blob.js';
import { pause } from './get-whole.js';
import type { Plan } from './request-plan.js';
import { failureOutcome, sendRequest } from './transport.js';

export interface BlobEnd {
  readonly doing: string;
  /** Of the blob. */
  readonly size: number;
  /** How many of its last bytes. */
  readonly count: number;
}

/** Nobody waits longer for something that only makes an estimate better. */
const PATIENCE_MS = 3000;

/**
 * The last bytes of a blob; undefined where they are not to be had by one small answer, in a few seconds, for whatever
 * reason. Not verified. Rejects with LARDER_ABORTED alone.
 */
export async function readBlobEnd(
  plan: Plan,
  { doing, size, count }: BlobEnd,
  signal: AbortSignal | undefined,
): Promise<Buffer | undefined> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const both = signal === undefined ? patience : AbortSignal.any([signal, patience]);
  let previous: BlobOutcome | undefined;
  try {
    for (;;) {
      const { afterMs, ...grant } = await plan.next(previous, both);
      await pause(afterMs, doing, both);
      try {
        const headers = { ...grant.headers, range: `bytes=${size - count}-` };
        const answer = await sendRequest({ ...grant, headers, signal: both });
        if (answer.status === 206 && answer.header('content-range') === `bytes ${size - count}-${size - 1}/${size}`) {
          const bytes = await answer.read(count);
          return bytes?.byteLength === count ? bytes : undefined;
        }
        if (answer.status === 200 || answer.status === 206 || answer.status === 416) {
          answer.discard();
          return undefined;
        }
        previous = await answer.outcome();
      } catch (error) {
        previous = failureOutcome(grant.url, error, 0);
      }
    }
  } catch (error) {
    throwIfAborted(signal, doing);
    if (isLarderError(error)) return undefined;
    throw error;
  }
}
