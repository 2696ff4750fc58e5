import { expectManyListeners, settleOrAbort } from '../concurrency.js';
import { LarderError } from '../errors.js';
import type { Digest } from '../spec/digest.js';
import type { AskGrant, BlobGrant, BlobOutcome } from './blob.js';
import { pause, refuseEncoding } from './get-whole.js';
import { RangesAhead, type RangesAheadOptions, rangeOf } from './ranges-ahead.js';
import { leaveGarbage } from './socket-garbage.js';
import { failureOutcome, type HttpAnswer, sendRequest } from './transport.js';

export type { Pace } from './ranges-ahead.js';

export interface BlobRetry {
  readonly reason: string;
  /** 1 for the first retry. */
  readonly attempt: number;
  readonly afterMs: number;
  /** How far into the blob we are. */
  readonly position: number;
}

export interface FetchBlobOptions extends RangesAheadOptions {
  /** Called before each request that follows a failure; logins and redirects are none. */
  readonly onRetry?: (retry: BlobRetry) => void;
  /** Called with the first bytes of each answer: what comes of several need not fit together. */
  readonly onAnswer?: () => void;
}

/**
 * The bytes of a blob from `offset` to its end, exactly `size - offset` of them, or an error. Goes on where a
 * connection was cut. Nothing is verified but the length: the caller hashes. Chunks are as large as the socket gives
 * them and fresh; the caller may keep them. Little is read ahead of the caller, 256 KiB and the socket's buffer, but
 * where {@link RangesAhead} fetches a large blob over several connections. Runs in any thread. Rejects with what `ask`
 * rejects with, LARDER_SIZE_MISMATCH, LARDER_MEDIA_TYPE_UNSUPPORTED (an encoded answer), LARDER_POLICY_DENIED,
 * LARDER_ABORTED.
 */
export async function* fetchBlob(
  blob: { readonly digest: Digest; readonly size: number },
  offset: number,
  ask: AskGrant,
  options: FetchBlobOptions = {},
): AsyncGenerator<Uint8Array, void, void> {
  expectManyListeners(options.signal);
  const ahead = new RangesAhead(blob, offset, ask, options);
  let position = offset;
  try {
    while (position < blob.size) {
      const part = ahead.take(position);
      if (part !== undefined) options.onAnswer?.();
      let askedMs = performance.now();
      for await (const bytes of part ?? fetchUntil(blob, position, ahead, ask, options)) {
        position += bytes.length;
        ahead.reached(position, performance.now() - askedMs, part === undefined ? bytes.length : 0);
        yield bytes;
        leaveGarbage(bytes.length);
        askedMs = performance.now();
      }
    }
  } finally {
    await ahead.stop();
  }
}

/** The first connection: as far as nobody else is ahead, which may change while it is read. */
async function* fetchUntil(
  blob: { readonly digest: Digest; readonly size: number },
  offset: number,
  ahead: RangesAhead,
  ask: AskGrant,
  { signal, onRetry, onRange, onAnswer }: FetchBlobOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const doing = `fetch a blob: ${blob.digest}`;
  let position = offset;
  let ranges = true;
  let previous: BlobOutcome | undefined;
  for (let attempt = 0; position < ahead.start; attempt++) {
    const request = { digest: blob.digest, offset: position, attempt, ...(previous === undefined ? {} : { previous }) };
    const { afterMs, ...grant } = await settleOrAbort(ask(request), doing, signal);
    if (previous !== undefined && isFailure(previous)) {
      const reason = previous.kind === 'error' ? previous.message : `the answer was ${previous.status}`;
      onRetry?.({ reason, attempt, afterMs, position });
    }
    // Who broke off may know no ranges with an end; what is too much is not read.
    const end = attempt === 0 ? ahead.start : blob.size;
    onRange?.(rangeOf({ ...grant, afterMs }, position, end));
    await pause(afterMs, doing, signal);
    const start = position;
    try {
      const answer = await sendFrom(grant, ranges ? position : 0, ranges && end < blob.size ? end : undefined, signal);
      const first = firstByteOf(answer, ranges ? position : 0, blob.size);
      if (first === undefined) {
        // Whoever misunderstands ranges is asked for the whole, and what we have is skipped.
        ranges &&= answer.status !== 206 && answer.status !== 416;
        previous =
          answer.status === 206 || answer.status === 416 ? rangeFailure(answer, grant) : await answer.outcome();
        continue;
      }
      refuseEncoding(answer, doing);
      refuseLonger(answer, blob.size - first, doing);
      ahead.answered(answer);
      let skip = position - first;
      for await (const chunk of answer.body()) {
        const fresh = skip === 0 ? chunk : chunk.subarray(Math.min(skip, chunk.byteLength));
        skip -= chunk.byteLength - fresh.byteLength;
        if (position + fresh.byteLength > blob.size) throw sizeMismatch(doing, blob.size, 'sends more');
        const wanted = fresh.subarray(0, ahead.start - position);
        if (wanted.byteLength === 0) continue;
        if (position === start) onAnswer?.();
        position += wanted.byteLength;
        yield wanted;
        if (position === ahead.start && position < blob.size) return;
      }
      const isRest = answer.status === 200 || end === blob.size;
      if (isRest && position < blob.size && answer.endIsKnown)
        throw sizeMismatch(doing, blob.size, `has only ${position}`);
      previous = earlyEnd(grant, position - start);
    } catch (error) {
      previous = failureOutcome(grant.url, error, position - start);
    }
  }
}

function sendFrom(
  grant: Omit<BlobGrant, 'afterMs'>,
  start: number,
  end: number | undefined,
  signal: AbortSignal | undefined,
): Promise<HttpAnswer> {
  const last = end === undefined ? '' : end - 1;
  const range: Record<string, string> = start > 0 || end !== undefined ? { range: `bytes=${start}-${last}` } : {};
  return sendRequest({ ...grant, headers: { ...grant.headers, ...range }, signal });
}

/** Where in the blob the body starts; undefined when this is not the answer that was hoped for. */
function firstByteOf(answer: HttpAnswer, asked: number, size: number): number | undefined {
  if (answer.status === 200) return 0;
  if (answer.status !== 206) return undefined;
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/.exec(answer.header('content-range') ?? '');
  if (match === null || Number(match[1]) !== asked || Number(match[2]) >= size) return undefined;
  return match[3] === '*' || Number(match[3]) === size ? asked : undefined;
}

function isFailure(outcome: BlobOutcome): boolean {
  return outcome.kind === 'error' || !((outcome.status >= 300 && outcome.status < 400) || outcome.status === 401);
}

function rangeFailure(answer: HttpAnswer, { url }: { readonly url: string }): BlobOutcome {
  answer.discard();
  return { kind: 'error', url, message: `the answer to a range is wrong (${answer.status})`, received: 0 };
}

function earlyEnd({ url }: { readonly url: string }, received: number): BlobOutcome {
  return { kind: 'error', url, message: 'the connection ended early', received };
}

/** A body that says that it is longer need not be read to know. */
function refuseLonger(answer: HttpAnswer, rest: number, doing: string): void {
  const length = answer.header('content-length');
  if (length === undefined || Number(length) <= rest) return;
  answer.discard();
  throw sizeMismatch(doing, rest, `sends ${length}`);
}

function sizeMismatch(doing: string, size: number, what: string): LarderError {
  return new LarderError('LARDER_SIZE_MISMATCH', `${doing}: expected ${size} bytes, but the registry ${what}`, {
    details: { expected: size },
  });
}
