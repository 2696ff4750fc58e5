import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BlobOutcome } from '../../src/registry/blob.js';
import { MIRROR_PATIENCE, PATIENCE, type Patience, RetryBudget, retryAfterMs } from '../../src/registry/retry.js';

const URL_ = 'https://registry.example/v2/';
const status = (code: number, headers: Readonly<Record<string, string>> = {}): BlobOutcome => ({
  kind: 'status',
  url: URL_,
  status: code,
  headers,
});
const failure = (errno: string, received = 0): BlobOutcome => ({
  kind: 'error',
  url: URL_,
  message: 'it broke',
  received,
  ...(errno === '' ? {} : { errno }),
});

/** How often a thing is asked for in all when the same goes wrong each time, at most 300 times. */
function triesOf(outcome: BlobOutcome, patience: Patience = PATIENCE): number {
  const budget = new RetryBudget('fetch', 'LARDER_BLOB_NOT_FOUND', 1, patience, () => 0);
  for (let tries = 1; tries < 300; tries++) {
    try {
      budget.next(outcome);
    } catch {
      return tries;
    }
  }
  return 300;
}

describe('what is tried again', () => {
  const passing: readonly (readonly [string, BlobOutcome])[] = [
    ...[408, 425, 429, 500, 502, 503, 504, 507, 529].map((code) => [`the answer ${code}`, status(code)] as const),
    ...['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN', 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', ''].map(
      (errno) => [`the error ${errno || 'without a code'}`, failure(errno)] as const,
    ),
    ['TLS that breaks in the middle of a body', failure('ERR_SSL_WRONG_VERSION_NUMBER', 10)],
    ['a chunk that is broken in the middle of a body', failure('HPE_INVALID_CHUNK_SIZE', 10)],
  ];
  for (const [what, outcome] of passing) {
    it(`${what}, and not for ever`, () => {
      assert.equal(triesOf(outcome), PATIENCE.tries);
    });
  }

  const final: readonly (readonly [string, BlobOutcome])[] = [
    ...[400, 401, 403, 404, 405, 410, 416, 451, 501, 505, 511].map(
      (code) => [`the answer ${code}`, status(code)] as const,
    ),
    ...['CERT_HAS_EXPIRED', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'ERR_TLS_CERT_ALTNAME_INVALID', 'EPROTO'].map(
      (errno) => [`the error ${errno}`, failure(errno)] as const,
    ),
    ['what is no HTTP', failure('HPE_INVALID_CONSTANT')],
  ];
  for (const [what, outcome] of final) {
    it(`is not ${what}`, () => {
      assert.equal(triesOf(outcome), 1);
    });
  }

  for (const errno of ['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH']) {
    it(`is ${errno} once`, () => {
      assert.equal(triesOf(failure(errno)), 2);
      assert.equal(triesOf(failure(errno), MIRROR_PATIENCE), 1);
    });
  }

  it('is a want of descriptors is not the registry’s failure', () => {
    const budget = new RetryBudget('fetch', 'LARDER_BLOB_NOT_FOUND', 1, { ...PATIENCE, tries: 1 });
    assert.throws(() => budget.next(failure('EMFILE')), { code: 'LARDER_INTERNAL' });
  });

  it('and brings something each time is tried two hundred times at most', () => {
    assert.equal(triesOf(failure('ECONNRESET', 64 * 1024)), 200);
  });

  it('falls silent each time after a little: that little is no progress', () => {
    assert.equal(triesOf(failure('ETIMEDOUT', 512 * 1024)), PATIENCE.tries);
  });

  it('is a mirror that falls silent, whatever it gave before: another is asked at once', () => {
    assert.equal(triesOf(failure('ETIMEDOUT', 100 * 1024 * 1024), MIRROR_PATIENCE), 1);
  });

  it('ends when nothing has come for ten minutes, however few the tries', () => {
    const clock = { ms: 0 };
    const budget = new RetryBudget('fetch', 'LARDER_BLOB_NOT_FOUND', 1, { ...PATIENCE, tries: 1000 }, () => clock.ms);
    clock.ms = 9 * 60_000;
    budget.next(failure('ECONNRESET'));
    clock.ms = 12 * 60_000;
    budget.next(failure('ECONNRESET', 64 * 1024));
    clock.ms = 21 * 60_000;
    budget.next(failure('ECONNRESET'));
    clock.ms = 23 * 60_000;
    assert.throws(() => budget.next(failure('ECONNRESET')), { code: 'LARDER_REGISTRY_UNAVAILABLE' });
  });

  it('is tried again after a pause that doubles, half of it random', () => {
    const budget = new RetryBudget('fetch', 'LARDER_BLOB_NOT_FOUND', 1000, { ...PATIENCE, tries: 9 }, () => 0);
    for (const ceiling of [1000, 2000, 4000, 8000, 15_000, 15_000]) {
      const afterMs = budget.next(failure('ECONNRESET'));
      assert.ok(afterMs >= ceiling / 2 && afterMs <= ceiling, `${afterMs} of ${ceiling}`);
    }
  });
});

describe('Retry-After', () => {
  it('is a number of seconds', () => {
    assert.equal(retryAfterMs(status(429, { 'retry-after': '7' })), 7000);
  });

  it('is a date on the clock of whoever says it', () => {
    const headers = { 'retry-after': 'Wed, 21 Oct 2015 07:28:30 GMT', date: 'Wed, 21 Oct 2015 07:28:00 GMT' };
    assert.equal(retryAfterMs(status(503, headers)), 30_000);
  });

  it('is a date on our clock where nobody says his, and not before now', () => {
    const soon = retryAfterMs(status(503, { 'retry-after': new Date(Date.now() + 20_000).toUTCString() })) ?? 0;
    assert.ok(soon > 15_000 && soon <= 20_000, String(soon));
    assert.equal(retryAfterMs(status(503, { 'retry-after': 'Wed, 21 Oct 2015 07:28:30 GMT' })), 0);
  });

  for (const text of ['', 'soon', '-1', '1.5', '99999999999999', 'Wed nonsense']) {
    it(`is nothing when it is ${JSON.stringify(text)}`, () => {
      assert.equal(retryAfterMs(status(429, { 'retry-after': text })), undefined);
    });
  }
});
