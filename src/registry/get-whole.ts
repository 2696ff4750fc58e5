import { setTimeout as delay } from 'node:timers/promises';
import { abortedError, type ErrorCode, LarderError } from '../errors.js';
import type { BlobOutcome } from './blob.js';
import type { Plan } from './request-plan.js';
import { failureOutcome, type HttpAnswer, sendRequest } from './transport.js';

export interface GetWholeOptions {
  readonly method?: 'GET' | 'HEAD' | 'POST';
  /** Of a POST. */
  readonly body?: string | undefined;
  readonly maxBytes: number;
  /** The code to reject with when the answer is longer. */
  readonly tooLong: ErrorCode;
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
}

export interface WholeAnswer {
  readonly answer: HttpAnswer;
  readonly bytes: Buffer;
}

/** Follows a plan to its end for a JSON object. Rejects with what the plan rejects with, or with `tooLong`. */
export async function getWhole(plan: Plan, options: GetWholeOptions): Promise<WholeAnswer> {
  let previous: BlobOutcome | undefined;
  for (;;) {
    const { afterMs, ...grant } = await plan.next(previous, options.signal);
    await pause(afterMs, options.doing, options.signal);
    try {
      const { method = 'GET', body, signal } = options;
      const answer = await sendRequest({ ...grant, method, ...(body === undefined ? {} : { body }), signal });
      if (answer.status === 200) {
        const bytes = await readAll(answer, options);
        if (method === 'HEAD' || answer.endIsKnown || endsAsJson(bytes)) return { answer, bytes };
        previous = { kind: 'error', url: grant.url, message: 'the connection ended early', received: 0 };
      } else {
        previous = await answer.outcome();
      }
    } catch (error) {
      previous = failureOutcome(grant.url, error, 0);
    }
  }
}

/** Waits, or rejects with LARDER_ABORTED. */
export async function pause(ms: number, doing: string, signal: AbortSignal | undefined): Promise<void> {
  if (ms <= 0) return;
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch {
    // The timer has no other way to fail.
    throw abortedError(doing, signal);
  }
}

/** We asked for the bytes as they are; a server that encodes them anyway could make gigabytes of kilobytes. Rejects with LARDER_MEDIA_TYPE_UNSUPPORTED. */
export function refuseEncoding(answer: HttpAnswer, doing: string): void {
  const encoding = answer.header('content-encoding') ?? 'identity';
  if (encoding.toLowerCase() === 'identity' || encoding === '') return;
  answer.discard();
  throw new LarderError(
    'LARDER_MEDIA_TYPE_UNSUPPORTED',
    `${doing}: the answer has Content-Encoding ${encoding.slice(0, 40)} although none was asked for`,
  );
}

/** All that is fetched so is a JSON object. Where nothing but the connection's end ended it, one that lacks its last brace was cut. */
function endsAsJson(bytes: Buffer): boolean {
  return bytes.toString('latin1').trimEnd().endsWith('}');
}

async function readAll(
  answer: HttpAnswer,
  { method, maxBytes, tooLong: code, doing }: GetWholeOptions,
): Promise<Buffer> {
  refuseEncoding(answer, doing);
  const tooLong = (): LarderError => new LarderError(code, `${doing}: the answer is longer than ${maxBytes} bytes`);
  if (method !== 'HEAD' && Number(answer.header('content-length') ?? 0) > maxBytes) {
    answer.discard();
    throw tooLong();
  }
  const bytes = await answer.read(maxBytes);
  if (bytes === undefined) throw tooLong();
  return bytes;
}
