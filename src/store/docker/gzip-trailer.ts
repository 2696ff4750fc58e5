/**
 * How long a layer's tar is, out of the last four bytes of its gzip (RFC 1952, ISIZE). Whoever made the layer can write
 * anything there, and of a gzip of several members it is only the last one's length: good for an estimate, and, if it is no
 * lie, for a bound.
 */
import { open } from 'node:fs/promises';
import type { LayerOrigin } from '../puller.js';
import type { SurveyedLayer } from './layer-survey.js';

/** Of smaller layers a guess is good enough. */
const LEAST_BYTES_TO_ASK = 1024 * 1024;
const TRAILER_BYTES = 4;
/** ISIZE is modulo this. */
const ISIZE_RANGE = 2 ** 32;
/** No compressor makes tars longer by more than its frames; what stands beside them for other readers may be more. */
export const LEAST_TAR_SHARE = 0.9;

/** What the trailer says; undefined where the layer is small, of another compression, or does not tell. Rejects with LARDER_ABORTED. */
export async function lengthInTrailer(layer: SurveyedLayer, origin: LayerOrigin): Promise<number | undefined> {
  const { size, mediaType } = layer;
  if (size < LEAST_BYTES_TO_ASK || !mediaType.endsWith('gzip')) return undefined;
  const bytes =
    origin.kind === 'registry'
      ? await origin.end?.(size, TRAILER_BYTES)
      : await readAt(origin.path, origin.offset + size - TRAILER_BYTES);
  return bytes === undefined ? undefined : Buffer.from(bytes).readUInt32LE(0);
}

/**
 * Which length is meant, with what 32 bits do not hold: of those that are possible the nearest to what is guessed.
 * Undefined where the trailer is that of a last small member, as in eStargz.
 */
export function likelyLength(told: number, size: number, guess: number): number | undefined {
  const wraps = Math.max(0, Math.round((guess - told) / ISIZE_RANGE));
  const length = told + wraps * ISIZE_RANGE;
  return length >= size * LEAST_TAR_SHARE ? length : undefined;
}

/** Undefined where it cannot be read: who copies the layer tells why. */
async function readAt(path: string, position: number): Promise<Uint8Array | undefined> {
  try {
    await using file = await open(path, 'r');
    const bytes = Buffer.alloc(TRAILER_BYTES);
    const { bytesRead } = await file.read(bytes, 0, TRAILER_BYTES, position);
    return bytesRead === TRAILER_BYTES ? bytes : undefined;
  } catch {
    return undefined;
  }
}
