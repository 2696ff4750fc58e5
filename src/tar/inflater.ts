/** What every decoder is: compressed bytes in by calls, inflated bytes out by calls. */
import { LarderError } from '../errors.js';

/**
 * Receives inflated bytes, in order. They are the receiver's until what it answers has settled; where it answers
 * nothing, until it returns. What it throws or rejects with, the call under way or the next one fails with.
 */
export type InflaterOut = (bytes: Uint8Array) => Promise<void> | void;

export interface Inflater {
  /** Which decoder this is. */
  readonly name: string;
  /**
   * Inflates `chunk`, which is the decoder's until this has settled. One call at a time. What comes out of it may reach
   * `out` only while the next chunk is worked on, or in `end`: so both are worked on at once. Rejects with
   * LARDER_LAYER_CORRUPT for damaged data, after which only `close` may be called.
   */
  write(chunk: Uint8Array, out: InflaterOut): Promise<void> | void;
  /** The stream has no more bytes; LARDER_LAYER_CORRUPT when it should have. The receiver has given all bytes back then. */
  end(out: InflaterOut): Promise<void> | void;
  /** Gives memory back. Idempotent, and allowed at any time between calls. */
  close(): void;
}

/** Bytes that a decoder puts out at a time. */
export const OUT_BYTES = 1 << 20;

/** zstd frames with a larger window are refused: 2^27 bytes, which is also what `zstd -d` allows. */
export const WINDOW_LOG_MAX = 27;

export function damagedStream(layer: string, compression: string, what: string, cause?: unknown): LarderError {
  return new LarderError('LARDER_LAYER_CORRUPT', `inflating layer: ${layer}: damaged ${compression} stream: ${what}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'the bytes were damaged before they got here: pull again, or push the image again',
  });
}

/** Error 16 of zstd_errors.h: a frame that wants a larger window than it gets. */
const WINDOW_TOO_LARGE = 16;

/** `code` is of zstd_errors.h. RFC 8878 lets a decoder choose; 128 MiB is what zstd itself takes without being asked. */
export function zstdFailure(layer: string, code: number, what: string): LarderError {
  if (code !== WINDOW_TOO_LARGE) return damagedStream(layer, 'zstd', what);
  return new LarderError(
    'LARDER_LAYER_LIMIT',
    `inflating layer: ${layer}: its zstd frames need more memory than the limit of ${2 ** (WINDOW_LOG_MAX - 20)} MiB`,
    { hint: 'push the image again, compressed without --ultra --long' },
  );
}

export function isZero(bytes: Uint8Array, from: number): boolean {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}
