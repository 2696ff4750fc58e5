import * as v from 'valibot';
import { LarderError } from '../errors.js';
import { algorithmOf, type Digest, digestOf, isDigest } from './digest.js';
import { normalizePlatform, type Platform } from './platform.js';

/** OCI image-spec `descriptor.md`: what a blob is, and how to know that it is the right one. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes as transferred. */
  readonly size: number;
}

/** An entry of an image index. */
export interface IndexEntry extends Descriptor {
  readonly platform?: Platform;
  /** Where else it is said to be (descriptor.md, `urls`). Whoever wrote the manifest chose them: a hint, and an address to distrust. */
  readonly urls?: readonly string[];
}

const MAX_URL = 2048;
const MAX_URLS = 20;

const size = v.pipe(v.number(), v.safeInteger('a size is a whole number below 2^53'), v.minValue(0));
const digest = v.pipe(v.string(), v.maxLength(200), v.guard(isDigest, 'not a sha256 or sha512 digest'));

const PLATFORM = v.pipe(
  v.object({
    os: v.pipe(v.string(), v.maxLength(64)),
    architecture: v.pipe(v.string(), v.maxLength(64)),
    variant: v.nullish(v.pipe(v.string(), v.maxLength(64))),
  }),
  v.transform((p) => normalizePlatform(p.os, p.architecture, p.variant ?? '')),
);

const RAW = v.object({
  mediaType: v.pipe(v.string(), v.maxLength(255)),
  digest,
  size,
  platform: v.nullish(PLATFORM),
  data: v.nullish(v.string()),
  urls: v.nullish(v.pipe(v.array(v.pipe(v.string(), v.maxLength(MAX_URL))), v.maxLength(MAX_URLS))),
});

export const DESCRIPTOR = v.pipe(
  RAW,
  v.check((d: v.InferOutput<typeof RAW>) => dataAgrees(d), 'the embedded data is not what digest and size say'),
  v.transform(
    ({ mediaType, digest, size, platform, urls }): IndexEntry => ({
      mediaType,
      digest,
      size,
      ...(platform ? { platform } : {}),
      ...(urls && urls.length > 0 ? { urls } : {}),
    }),
  ),
);

/** Verifies the bytes of a blob. Rejects with LARDER_SIZE_MISMATCH or LARDER_DIGEST_MISMATCH. */
export function verifyBytes(descriptor: Pick<Descriptor, 'digest' | 'size'>, bytes: Uint8Array, doing: string): void {
  if (bytes.byteLength !== descriptor.size) {
    throw new LarderError('LARDER_SIZE_MISMATCH', `${doing}: ${bytes.byteLength} bytes instead of ${descriptor.size}`, {
      details: { digest: descriptor.digest, expected: descriptor.size, actual: bytes.byteLength },
    });
  }
  verifyDigest(descriptor.digest, bytes, doing);
}

/** Rejects with LARDER_DIGEST_MISMATCH. */
export function verifyDigest(expected: Digest, bytes: Uint8Array, doing: string): void {
  const actual = digestOf(bytes, algorithmOf(expected));
  if (actual === expected) return;
  throw new LarderError('LARDER_DIGEST_MISMATCH', `${doing}: the bytes hash to ${actual}, not to ${expected}`, {
    details: { expected, actual },
  });
}

/** Embedded content must be the content (descriptor.md, `data`); larder itself always reads the blob. */
function dataAgrees(d: v.InferOutput<typeof RAW>): boolean {
  if (d.data === undefined || d.data === null) return true;
  const bytes = Buffer.from(d.data, 'base64');
  return bytes.length === d.size && digestOf(bytes, algorithmOf(d.digest)) === d.digest;
}
