/** libtrust's form of a JSON Web Signature (RFC 7515): a JSON document with its signatures as one more member of it. */
import * as v from 'valibot';
import { LarderError } from '../errors.js';
import { parseJson } from './json.js';
import { assertShape } from './shape.js';

/** Docker's tails are two bytes long. */
const MAX_TAIL_BYTES = 1024;
const MAX_PROTECTED_BYTES = 4096;

/**
 * The bytes that were signed: the document's first `formatLength` bytes and `formatTail` after them, which every
 * signature's protected header says in the same way. Nothing is verified. Rejects with LARDER_MANIFEST_INVALID.
 */
export function payloadOf(document: Uint8Array, signatures: readonly unknown[], doing: string): Uint8Array {
  const [first, ...others] = signatures.map((signature, i) => formatOf(signature, `${doing}: signatures[${i}]`));
  if (first === undefined) throw invalid(doing, 'it has no signature');
  if (others.some(({ length, tail }) => length !== first.length || !tail.equals(first.tail))) {
    throw invalid(doing, 'its signatures are of different documents');
  }
  if (first.length > document.byteLength) throw invalid(doing, 'its signatures are of a longer document');
  return Buffer.concat([document.subarray(0, first.length), first.tail]);
}

const base64url = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]*={0,2}$/, 'not base64url'));

const SIGNATURE = v.object({
  protected: v.pipe(base64url, v.maxLength(MAX_PROTECTED_BYTES, `longer than ${MAX_PROTECTED_BYTES} characters`)),
});

const PROTECTED = v.object({
  formatLength: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  formatTail: v.pipe(base64url, v.maxLength(MAX_TAIL_BYTES, `longer than ${MAX_TAIL_BYTES} characters`)),
});

interface Format {
  readonly length: number;
  readonly tail: Buffer;
}

function formatOf(signature: unknown, doing: string): Format {
  const header = Buffer.from(assertShape(SIGNATURE, signature, doing, CODE).protected, 'base64url');
  const value = parseJson(header, { doing, maxBytes: MAX_PROTECTED_BYTES, code: CODE });
  const { formatLength, formatTail } = assertShape(PROTECTED, value, doing, CODE);
  return { length: formatLength, tail: Buffer.from(formatTail, 'base64url') };
}

const CODE = 'LARDER_MANIFEST_INVALID';

function invalid(doing: string, why: string): LarderError {
  return new LarderError(CODE, `${doing}: ${why}`);
}
