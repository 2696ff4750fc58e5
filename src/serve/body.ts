/** Bytes of a file in pieces. Where all of it is read it is hashed on the way, and its last byte waits for the proof. */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { LarderError } from '../errors.js';
import { algorithmOf, type Digest, hexOf } from '../spec/digest.js';

export const PIECE_BYTES = 256 * 1024;

/** `end` is behind the last byte. Rejects with LARDER_DIGEST_MISMATCH before the last piece of a file that is not `digest`. */
export async function* fileBody(
  file: FileHandle,
  { digest, size }: { readonly digest: Digest; readonly size: number },
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, void> {
  const hash = start === 0 && end === size ? createHash(algorithmOf(digest)) : undefined;
  for (let at = start; at < end; ) {
    const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, end - at));
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) throw new LarderError('LARDER_SIZE_MISMATCH', `serve ${digest}: the file ends at ${at} bytes`);
    at += bytesRead;
    const bytes = piece.subarray(0, bytesRead);
    hash?.update(bytes);
    if (at === end && hash !== undefined) requireHash(hash.digest('hex'), digest);
    yield bytes;
  }
}

export function requireHash(hex: string, digest: Digest): void {
  if (hex === hexOf(digest)) return;
  throw new LarderError('LARDER_DIGEST_MISMATCH', `serve ${digest}: the bytes hash to ${hex}`, {
    details: { expected: digest },
  });
}
