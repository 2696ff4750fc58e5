/**
 * Every failure that larder reports: one class, one table.
 *
 * `code` is for people and tests, `kind` for machines, `details` says to which thing it happened, `hint` what to do
 * about it, `cause` keeps the trail. Messages follow one grammar: *what we were doing*: *to which thing*: *what was
 * wrong*. Errors cross threads and sockets, so they are recognised by brand ({@link isLarderError}), never by
 * `instanceof`, and {@link serializeError} / {@link deserializeError} carry them across.
 *
 * `docs/errors.md` is compared with {@link ERROR_TABLE} by a test, both ways.
 */

export type ErrorKind =
  | 'invalid'
  | 'not-found'
  | 'exists'
  | 'denied'
  | 'conflict'
  | 'exhausted'
  | 'unavailable'
  | 'corrupt'
  | 'unsupported'
  | 'aborted'
  | 'internal';

/** What each kind means to a shell, to an HTTP client and to a retry loop. */
export const KIND_TABLE = {
  invalid: { exit: 2, http: 400, retry: false },
  'not-found': { exit: 3, http: 404, retry: false },
  exists: { exit: 4, http: 409, retry: false },
  denied: { exit: 5, http: 403, retry: false },
  conflict: { exit: 6, http: 409, retry: false },
  exhausted: { exit: 7, http: 507, retry: true },
  unavailable: { exit: 8, http: 503, retry: true },
  corrupt: { exit: 9, http: 500, retry: false },
  unsupported: { exit: 10, http: 501, retry: false },
  aborted: { exit: 130, http: 499, retry: false },
  internal: { exit: 70, http: 500, retry: false },
} as const satisfies Record<ErrorKind, { exit: number; http: number; retry: boolean }>;

/** Every code and its kind. */
export const ERROR_TABLE = {
  LARDER_REFERENCE_INVALID: 'invalid',
  LARDER_DIGEST_INVALID: 'invalid',
  LARDER_MANIFEST_INVALID: 'invalid',
  LARDER_CONFIG_INVALID: 'invalid',
  LARDER_ARCHIVE_INVALID: 'invalid',
  LARDER_LAYER_INVALID: 'invalid',
  LARDER_LAYER_LIMIT: 'invalid',
  LARDER_DEPENDENCY_CYCLE: 'invalid',
  LARDER_FLAGS_INVALID: 'invalid',
  LARDER_REQUEST_INVALID: 'invalid',
  LARDER_IMAGE_NOT_FOUND: 'not-found',
  LARDER_BLOB_NOT_FOUND: 'not-found',
  LARDER_PLATFORM_NOT_FOUND: 'not-found',
  LARDER_CONTAINER_NOT_FOUND: 'not-found',
  LARDER_PATH_NOT_FOUND: 'not-found',
  LARDER_CONTAINER_EXISTS: 'exists',
  LARDER_REGISTRY_UNAUTHENTICATED: 'denied',
  LARDER_REGISTRY_DENIED: 'denied',
  LARDER_PERMISSION: 'denied',
  LARDER_POLICY_DENIED: 'denied',
  LARDER_SIGNATURE_INVALID: 'denied',
  LARDER_STORE_LOCKED: 'conflict',
  LARDER_STORE_UNSAFE: 'conflict',
  LARDER_ROOTFS_BUSY: 'conflict',
  LARDER_IMAGE_IN_USE: 'conflict',
  LARDER_BACKEND_UNAVAILABLE: 'conflict',
  LARDER_FORMAT_VERSION: 'conflict',
  LARDER_NO_SPACE: 'exhausted',
  LARDER_REGISTRY_RATE_LIMITED: 'exhausted',
  LARDER_REGISTRY_UNAVAILABLE: 'unavailable',
  LARDER_OFFLINE: 'unavailable',
  LARDER_DAEMON_UNREACHABLE: 'unavailable',
  LARDER_TIMEOUT: 'unavailable',
  LARDER_DIGEST_MISMATCH: 'corrupt',
  LARDER_SIZE_MISMATCH: 'corrupt',
  LARDER_DIFF_ID_MISMATCH: 'corrupt',
  LARDER_METADATA_CORRUPT: 'corrupt',
  LARDER_LAYER_CORRUPT: 'corrupt',
  LARDER_MEDIA_TYPE_UNSUPPORTED: 'unsupported',
  LARDER_IMAGE_TYPE_UNSUPPORTED: 'unsupported',
  LARDER_ENTRY_UNSUPPORTED: 'unsupported',
  LARDER_ABORTED: 'aborted',
  LARDER_WORKER_LOST: 'internal',
  LARDER_INTERNAL: 'internal',
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_TABLE;

/** Plain, cloneable facts about a failure. Never a secret, never a URL with a query. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ErrorOptions {
  readonly hint?: string;
  readonly details?: ErrorDetails;
  readonly cause?: unknown;
}

const BRAND = Symbol.for('larder.error');

export class LarderError extends Error {
  override readonly name = 'LarderError';
  readonly [BRAND] = true;
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(printable(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.details = options.details ?? {};
  }

  get kind(): ErrorKind {
    return ERROR_TABLE[this.code];
  }

  /** The exit status of a command that fails with this error. */
  get exitCode(): number {
    return KIND_TABLE[this.kind].exit;
  }

  /** Whether the same call may succeed later without a change. */
  get retryable(): boolean {
    return KIND_TABLE[this.kind].retry;
  }
}

export function isLarderError(error: unknown, ...codes: readonly ErrorCode[]): error is LarderError {
  if (typeof error !== 'object' || error === null || !(BRAND in error)) return false;
  return codes.length === 0 || codes.includes((error as LarderError).code);
}

/** The error as plain data, for `postMessage` and JSON. A foreign error becomes LARDER_INTERNAL and keeps its stack. */
export interface SerializedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  readonly details?: ErrorDetails;
  readonly stack?: string;
  readonly cause?: SerializedError;
}

export function serializeError(error: unknown): SerializedError {
  const known = isLarderError(error);
  const cause = error instanceof Error ? error.cause : undefined;
  const stack = error instanceof Error ? error.stack : undefined;
  return {
    code: known ? error.code : isAbort(error) ? 'LARDER_ABORTED' : 'LARDER_INTERNAL',
    message: error instanceof Error ? error.message : String(error),
    ...(known && error.hint !== undefined ? { hint: error.hint } : {}),
    ...(known ? { details: error.details } : {}),
    ...(stack === undefined ? {} : { stack }),
    ...(cause === undefined ? {} : { cause: serializeError(cause) }),
  };
}

export function deserializeError(data: SerializedError): LarderError {
  const error = new LarderError(data.code, data.message, {
    ...(data.hint === undefined ? {} : { hint: data.hint }),
    ...(data.details === undefined ? {} : { details: data.details }),
    ...(data.cause === undefined ? {} : { cause: deserializeError(data.cause) }),
  });
  if (data.stack !== undefined) error.stack = data.stack;
  return error;
}

/** Whether an error is an AbortSignal's own. */
export function isAbort(error: unknown): boolean {
  return isLarderError(error, 'LARDER_ABORTED') || (error instanceof Error && error.name === 'AbortError');
}

/** What an aborted operation rejects with; the signal's reason is kept as the cause. */
export function abortedError(doing: string, signal?: AbortSignal): LarderError {
  return new LarderError('LARDER_ABORTED', `${doing}: cancelled`, { cause: signal?.reason });
}

export function throwIfAborted(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted === true) throw abortedError(doing, signal);
}

const EDQUOT = 122;

/** The `code` of a Node system error (`ENOENT`, …), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || isLarderError(error)) return undefined;
  const { code, errno } = error as NodeJS.ErrnoException;
  // libuv has no name for it: its code is a sentence.
  if (errno === -EDQUOT) return 'EDQUOT';
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/**
 * A system error as the LarderError that a user can act on. Full disks, missing permission and read-only file
 * systems have codes of their own; anything else is LARDER_INTERNAL with the system error as its cause.
 */
export function systemError(doing: string, thrown: unknown): LarderError {
  const error = firstOf(thrown);
  if (isLarderError(error)) return error;
  const errno = errnoOf(error);
  const why = error instanceof Error ? error.message : String(error);
  const options = { cause: error, ...(errno === undefined ? {} : { details: { errno } }) };
  switch (errno) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new LarderError('LARDER_NO_SPACE', `${doing}: no space left on the device (${errno})`, {
        ...options,
        hint: 'free space or inodes on this file system, or run `larder prune`',
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new LarderError('LARDER_PERMISSION', `${doing}: ${why}`, {
        ...options,
        hint: 'run as root, or choose a store that you may write with --root',
      });
    case 'EBUSY':
      return new LarderError('LARDER_ROOTFS_BUSY', `${doing}: ${why}`, options);
    default:
      return new LarderError('LARDER_INTERNAL', `${doing}: ${why}`, options);
  }
}

/** Where giving something back failed, too, what was wrong in the first place: the rest only follows from it. */
function firstOf(thrown: unknown): unknown {
  let error = thrown;
  while (error instanceof Error && error.name === 'SuppressedError' && 'suppressed' in error) error = error.suppressed;
  return error;
}

/** Replaces control characters, so that a name out of an image can never drive a terminal or forge a log line. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) =>
    c === '\n' || c === '\t' ? ' ' : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
