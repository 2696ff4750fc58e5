import type { Digest } from '../spec/digest.js';
import type { AskGrant } from './blob.js';
import { notYet } from './blob-broker.js';

export interface FetchBlobOptions {
  readonly signal?: AbortSignal;
  /** Called before each request but the first; `received` is how far this fetch has come, in bytes of the blob. */
  readonly onRetry?: (retry: {
    readonly reason: string;
    readonly attempt: number;
    readonly afterMs: number;
    readonly received: number;
  }) => void;
}

/**
 * The bytes of a blob from `offset` to its end, exactly `size - offset` of them, or an error. Goes on where a
 * connection was cut. Nothing is verified but the length: the caller hashes. Chunks are fresh buffers; the caller may
 * keep them. Runs in any thread.
 */
export async function* fetchBlob(
  _blob: { readonly digest: Digest; readonly size: number },
  _offset: number,
  _ask: AskGrant,
  _options: FetchBlobOptions = {},
): AsyncGenerator<Uint8Array, void, void> {
  yield notYet();
}
