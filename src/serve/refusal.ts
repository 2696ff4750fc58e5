/** Answers that are none: OCI distribution-spec 1.1, "Error Codes". */
import { type ErrorCode, isLarderError, LarderError } from '../errors.js';

/** A request that is refused for what it is. */
export class Refusal extends LarderError {
  readonly status: number;
  /** Of the distribution-spec. */
  readonly word: string;

  constructor(status: number, word: string, message: string) {
    super('LARDER_REQUEST_INVALID', message);
    this.status = status;
    this.word = word;
  }
}

export interface Answerable {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** By code where the kind does not tell. What clients cannot have from here, they look for at the registry: mostly 404. */
const BY_CODE: Partial<Record<ErrorCode, readonly [status: number, word: string]>> = {
  LARDER_REFERENCE_INVALID: [400, 'NAME_INVALID'],
  LARDER_DIGEST_INVALID: [400, 'DIGEST_INVALID'],
  LARDER_IMAGE_NOT_FOUND: [404, 'MANIFEST_UNKNOWN'],
  LARDER_BLOB_NOT_FOUND: [404, 'BLOB_UNKNOWN'],
  LARDER_MEDIA_TYPE_UNSUPPORTED: [404, 'MANIFEST_UNKNOWN'],
  LARDER_REGISTRY_UNAUTHENTICATED: [401, 'UNAUTHORIZED'],
  LARDER_REGISTRY_RATE_LIMITED: [429, 'TOOMANYREQUESTS'],
  LARDER_LAYER_LIMIT: [403, 'DENIED'],
};
const BY_KIND: Readonly<Record<string, readonly [status: number, word: string]>> = {
  denied: [403, 'DENIED'],
  unavailable: [503, 'UNAVAILABLE'],
  exhausted: [503, 'UNAVAILABLE'],
  // It is the registry that is wrong.
  invalid: [502, 'MANIFEST_INVALID'],
  corrupt: [502, 'UNKNOWN'],
};

/** What a client is told of a failure: the message, and never a stack. `realm` is what a login would be for. */
export function answerOf(error: unknown, realm: string): Answerable {
  const [status, word] = statusOf(error);
  const message = isLarderError(error) ? error.message : 'an internal error';
  const retryAfter = isLarderError(error) ? error.details['retryAfterSeconds'] : undefined;
  return {
    status,
    headers: {
      'content-type': 'application/json',
      ...(status === 401 ? { 'www-authenticate': `Basic realm="${realm.replace(/[^A-Za-z0-9./:_-]/g, '')}"` } : {}),
      ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
      ...(typeof retryAfter === 'number' ? { 'retry-after': String(retryAfter) } : {}),
    },
    body: JSON.stringify({ errors: [{ code: word, message }] }),
  };
}

function statusOf(error: unknown): readonly [status: number, word: string] {
  if (error instanceof Refusal) return [error.status, error.word];
  if (!isLarderError(error)) return [500, 'UNKNOWN'];
  return BY_CODE[error.code] ?? BY_KIND[error.kind] ?? [500, 'UNKNOWN'];
}
