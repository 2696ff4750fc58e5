import { type ErrorCode, type ErrorOptions, LarderError } from '../errors.js';
import type { BlobOutcome } from './blob.js';
import { type SentRequest, withoutSecrets } from './redact.js';
import { MAX_HEADER_BYTES, withoutQuery } from './transport.js';

/** How long somebody is put up with. */
export interface Patience {
  /** Tries in a row without progress; the first one counts. */
  readonly tries: number;
  /** Where nothing listens, or no such name exists, waiting seldom helps. */
  readonly triesRefused: number;
  /** Where nothing came for as long as a request may take. */
  readonly triesSilent: number;
  /** A registry that asks for more is left alone, and the caller told. */
  readonly maxWaitMs: number;
  /** No try begins later than this after the last progress. */
  readonly maxFruitlessMs: number;
  /** A try that brought this much is progress, and the count starts again. */
  readonly progressBytes: number;
  /** The same of one that ended in silence or in drops: each of those costs half a minute and more. */
  readonly progressBytesSilent: number;
}

export const PATIENCE: Patience = {
  tries: 4,
  triesRefused: 2,
  triesSilent: 4,
  maxWaitMs: 60_000,
  maxFruitlessMs: 10 * 60_000,
  progressBytes: 64 * 1024,
  progressBytesSilent: 1024 * 1024,
};
/** Where another host can be asked: who falls silent, or drips, is left at once, whatever came before. */
export const MIRROR_PATIENCE: Patience = {
  tries: 2,
  triesRefused: 1,
  triesSilent: 1,
  maxWaitMs: 5_000,
  maxFruitlessMs: 2 * 60_000,
  progressBytes: 64 * 1024,
  progressBytesSilent: Number.POSITIVE_INFINITY,
};
/** However much progress each brings. */
const MAX_TRIES_EVER = 200;
const MAX_BACKOFF_MS = 15_000;

const QUICKLY_GIVEN_UP = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'ELARDERPROXY']);

/** Counts what went wrong with one thing that is fetched. */
export class RetryBudget {
  readonly #doing: string;
  readonly #notFound: ErrorCode;
  readonly #backoffMs: number;
  readonly #patience: Patience;
  readonly #now: () => number;
  #tries = 0;
  #ever = 0;
  #sinceMs: number;

  /** `doing` opens every message; `notFound` is the code for a 404. */
  constructor(
    doing: string,
    notFound: ErrorCode,
    backoffMs: number,
    patience: Patience = PATIENCE,
    now: () => number = () => performance.now(),
  ) {
    this.#doing = doing;
    this.#notFound = notFound;
    this.#backoffMs = backoffMs;
    this.#patience = patience;
    this.#now = now;
    this.#sinceMs = now();
  }

  get attempt(): number {
    return this.#ever;
  }

  /** How long to wait before the next try; throws the error that ends it when there is none. `sent` is not quoted in it. */
  next(outcome: BlobOutcome, sent?: SentRequest): number {
    const patience = this.#patience;
    if (isProgress(outcome, patience)) {
      this.#tries = 0;
      this.#sinceMs = this.#now();
    }
    this.#tries++;
    this.#ever++;
    if (this.#ever >= MAX_TRIES_EVER || this.#tries >= maxTries(outcome, patience)) throw this.#failure(outcome, sent);
    const asked = retryAfterMs(outcome);
    if (asked !== undefined && asked > patience.maxWaitMs) throw this.#failure(outcome, sent);
    const ceiling = Math.min(MAX_BACKOFF_MS, this.#backoffMs * 2 ** (this.#tries - 1));
    const afterMs = Math.max(asked ?? 0, Math.round(ceiling * (0.5 + Math.random() / 2)));
    if (this.#now() + afterMs - this.#sinceMs > patience.maxFruitlessMs) throw this.#failure(outcome, sent);
    return afterMs;
  }

  #failure(outcome: BlobOutcome, sent: SentRequest | undefined): LarderError {
    return outcome.kind === 'status'
      ? statusError(this.#doing, outcome, this.#notFound, sent)
      : connectionError(this.#doing, outcome, this.#tries);
  }
}

/** The reason in a few words, for events. */
export function reasonOf(outcome: BlobOutcome): string {
  return outcome.kind === 'status' ? `the answer was ${outcome.status}` : outcome.message;
}

function isProgress(outcome: BlobOutcome, { progressBytes, progressBytesSilent }: Patience): boolean {
  if (outcome.kind === 'status') return false;
  return outcome.received >= (outcome.errno === 'ETIMEDOUT' ? progressBytesSilent : progressBytes);
}

/** Answers that another try may well change; other 5xx say that the server cannot do this at all. */
function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || (status >= 500 && ![501, 505, 511].includes(status));
}

function maxTries(outcome: BlobOutcome, { tries, triesRefused, triesSilent }: Patience): number {
  if (outcome.kind === 'status') return isPassing(outcome.status) ? tries : 1;
  const { errno = '', received } = outcome;
  if (QUICKLY_GIVEN_UP.has(errno)) return triesRefused;
  if (errno === 'ETIMEDOUT') return triesSilent;
  // What is said of certificates and protocols at the beginning stays true; in the middle it is a broken connection.
  const stays = (isTlsError(errno) || errno.startsWith('HPE_')) && !/BAD_RECORD_MAC|DECRYPTION_FAILED/.test(errno);
  return stays && received === 0 ? 1 : tries;
}

type Status = Extract<BlobOutcome, { kind: 'status' }>;
type Failure = Extract<BlobOutcome, { kind: 'error' }>;

function statusError(doing: string, outcome: Status, notFound: ErrorCode, sent: SentRequest | undefined): LarderError {
  const { status } = outcome;
  const host = hostOf(outcome.url);
  const [code, what, hint] = describeStatus(status, host, notFound);
  const said = explanation(outcome.body, sent);
  const wait = retryAfterMs(outcome);
  return new LarderError(code, `${doing}: ${what}${said === '' ? '' : ` (${said})`}`, {
    ...(hint === undefined ? {} : { hint }),
    details: { host, status, ...(wait === undefined ? {} : { retryAfterSeconds: Math.ceil(wait / 1000) }) },
  });
}

function describeStatus(status: number, host: string, notFound: ErrorCode): readonly [ErrorCode, string, string?] {
  switch (status) {
    case 401:
      return [
        'LARDER_REGISTRY_UNAUTHENTICATED',
        `${host} wants a login`,
        `log in with \`docker login ${host}\`, or check the name`,
      ];
    case 403:
      return ['LARDER_REGISTRY_DENIED', `${host} denies access`, 'check the name, and what this login may read'];
    case 404:
      return [notFound, `${host} does not have it`, 'check the name and the tag'];
    case 429:
      return [
        'LARDER_REGISTRY_RATE_LIMITED',
        `${host} says that there were too many requests`,
        'wait, or log in for a higher limit',
      ];
    default:
      return ['LARDER_REGISTRY_UNAVAILABLE', `${host} answered ${status}`];
  }
}

function connectionError(doing: string, outcome: Failure, tries: number): LarderError {
  const host = hostOf(outcome.url);
  const errno = outcome.errno ?? '';
  const times = tries > 1 ? ` (${tries} tries)` : '';
  const options = (hint?: string): ErrorOptions => ({
    ...(hint === undefined ? {} : { hint }),
    details: { host, ...(errno === '' ? {} : { errno }) },
  });
  const fail = (code: ErrorCode, what: string, hint?: string): LarderError =>
    new LarderError(code, `${doing}: ${what}${times}`, options(hint));
  if (errno === 'EMFILE' || errno === 'ENFILE') {
    // Ours to answer for, not the host's.
    return fail(
      'LARDER_INTERNAL',
      `no connection to ${host}: too many open files (${errno})`,
      'raise the limit of open files',
    );
  }
  if (errno === 'ETIMEDOUT') return fail('LARDER_TIMEOUT', `${host}: ${outcome.message}`);
  if (errno === 'ENOTFOUND') {
    return fail(
      'LARDER_REGISTRY_UNAVAILABLE',
      `there is no host ${host}`,
      'check the spelling of the registry, and DNS',
    );
  }
  if (errno === 'ECONNREFUSED') {
    return fail(
      'LARDER_REGISTRY_UNAVAILABLE',
      `nothing listens on ${host}: connection refused`,
      'is the registry running, and the port right?',
    );
  }
  if (errno === 'HPE_HEADER_OVERFLOW') {
    return fail('LARDER_REGISTRY_UNAVAILABLE', `${host} answers with a head of more than ${MAX_HEADER_BYTES} bytes`);
  }
  if (isTlsError(errno)) {
    const hint = 'trust its certificate authority with registry_ca_files, or name the host in insecure_registries';
    return fail('LARDER_REGISTRY_UNAVAILABLE', `no secure connection to ${host}: ${outcome.message}`, hint);
  }
  return fail('LARDER_REGISTRY_UNAVAILABLE', `the connection to ${host} failed: ${outcome.message}`);
}

/** OpenSSL's words for certificates, and Node's for protocol errors. */
export function isTlsError(errno: string): boolean {
  return /CERT|^ERR_TLS|^ERR_SSL|SIGNATURE|^EPROTO$|^UNABLE_TO|ISSUER|HOSTNAME_MISMATCH/.test(errno);
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : withoutQuery(url);
}

/** All three forms of it begin with the day (RFC 9110, 5.6.7). */
const HTTP_DATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)/;

/** How long the host asks to be left alone by all requests; undefined where it asks for nothing. */
export function rateLimitMs(outcome: BlobOutcome): number | undefined {
  const isLimit = outcome.kind === 'status' && (outcome.status === 429 || outcome.status === 503);
  return isLimit ? retryAfterMs(outcome) : undefined;
}

/** Seconds or a date (RFC 9110, 10.2.3); undefined where nobody said. */
export function retryAfterMs(outcome: BlobOutcome): number | undefined {
  if (outcome.kind !== 'status') return undefined;
  const text = outcome.headers['retry-after']?.trim() ?? '';
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000;
  // A date is meant on the clock of whoever says it, which his answer tells.
  const said = Date.parse(outcome.headers['date'] ?? '');
  const ms = HTTP_DATE.test(text) ? Date.parse(text) - (Number.isNaN(said) ? Date.now() : said) : Number.NaN;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** The first error of the distribution-spec's error body, without anything that could be a secret or a flood. */
function explanation(body: string | undefined, sent: SentRequest | undefined): string {
  if (body === undefined) return '';
  let first: unknown;
  try {
    const parsed: unknown = JSON.parse(body);
    const errors = (parsed as { errors?: unknown } | null)?.errors;
    first = Array.isArray(errors) ? errors[0] : undefined;
  } catch {
    // Proxies answer in HTML: the status says all there is to know.
    return '';
  }
  const { code, message } = (first ?? {}) as { code?: unknown; message?: unknown };
  const text = [code, message].filter((part) => typeof part === 'string' && part !== '').join(': ');
  return withoutSecrets(text, sent).slice(0, 200);
}
