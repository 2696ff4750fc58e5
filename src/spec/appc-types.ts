import { LarderError } from '../errors.js';
import { type Digest, parseDigest } from './digest.js';

/**
 * Lower-case words joined by `-._~/`: `example.com/~user/app_v1` (Appc specification 0.8.11, types.md, "AC Identifier
 * Type"). The specification's expression does not take its own example, nor hosts like `xn--n3h.example`; its code takes
 * any row of separators. Here `/~` and rows of `-` and `_` are taken beside what the expression takes, never `..` or `//`.
 */
export type AcIdentifier = string & { readonly __brand: 'ac-identifier' };

/** SHA-512 of an ACI's uncompressed tar (types.md, "Image ID Type"): `sha512-` and 128 lower-case hexadecimal digits. */
export type AppcImageId = `sha512-${string}` & { readonly __brand: 'appc-image-id' };

/** The specification sets none; names become parts of URLs and of file names. */
const MAX_IDENTIFIER = 255;
const AC_IDENTIFIER = /^[a-z0-9]+(?:(?:-+|_+|[.~]|\/~?)[a-z0-9]+)*$/;
const AC_NAME = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;
const IMAGE_ID = /^sha512-[0-9a-f]{128}$/;

export function isAcIdentifier(text: string): text is AcIdentifier {
  return text.length <= MAX_IDENTIFIER && AC_IDENTIFIER.test(text);
}

/** types.md, "AC Name Type": what mount points and ports are called. */
export function isAcName(text: string): boolean {
  return text.length <= MAX_IDENTIFIER && AC_NAME.test(text);
}

export function isImageId(text: string): text is AppcImageId {
  return IMAGE_ID.test(text);
}

/** Rejects with LARDER_DIGEST_INVALID. */
export function parseImageId(text: string): AppcImageId {
  if (isImageId(text)) return text;
  const shown = JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
  throw new LarderError(
    'LARDER_DIGEST_INVALID',
    `Appc image id: ${shown}: expected sha512- and 128 lower-case hexadecimal digits`,
  );
}

/** The image id that a tar has whose SHA-512 this is. Rejects with LARDER_DIGEST_INVALID for any other algorithm. */
export function imageIdOf(sha512: Digest): AppcImageId {
  return parseImageId(sha512.replace(':', '-'));
}

export function digestOfImageId(id: AppcImageId): Digest {
  return parseDigest(id.replace('-', ':'));
}
