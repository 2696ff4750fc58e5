import { createHash } from 'node:crypto';
import { LarderError } from '../errors.js';

/** `algorithm:hex` of bytes as transferred (OCI image-spec, descriptor, "Digests"). Made only by {@link parseDigest} and {@link digestOf}. */
export type Digest = `${'sha256' | 'sha512'}:${string}` & { readonly __brand: 'digest' };

/** SHA-256 of a layer's uncompressed tar (OCI image-spec, config, "Layer DiffID"). */
export type DiffId = `sha256:${string}` & { readonly __brand: 'diff-id' };

/** SHA-256 chain over DiffIDs (OCI image-spec, config, "Layer ChainID"). */
export type ChainId = `sha256:${string}` & { readonly __brand: 'chain-id' };

const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;
const SHA256 = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

/** Rejects with LARDER_DIGEST_INVALID; only sha256 and sha512 in lower-case hex are digests. */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw invalid(text, 'sha256 or sha512 in lower-case hex');
  return text;
}

export function parseDiffId(text: string): DiffId {
  if (!SHA256.test(text)) throw invalid(text, 'sha256 in lower-case hex');
  return text as DiffId;
}

export function digestOf(bytes: Uint8Array, algorithm: 'sha256' | 'sha512' = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

export function algorithmOf(digest: Digest): 'sha256' | 'sha512' {
  return digest.startsWith('sha256:') ? 'sha256' : 'sha512';
}

export function hexOf(digest: Digest | DiffId | ChainId): string {
  return digest.slice(7);
}

function invalid(text: string, expected: string): LarderError {
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  return new LarderError('LARDER_DIGEST_INVALID', `digest: ${JSON.stringify(shown)}: expected ${expected}`);
}
