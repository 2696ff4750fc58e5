import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  abortedError,
  deserializeError,
  ERROR_TABLE,
  type ErrorCode,
  errnoOf,
  isAbort,
  isLarderError,
  KIND_TABLE,
  LarderError,
  printable,
  serializeError,
  systemError,
  throwIfAborted,
} from '../src/errors.js';

function failing(code: string): Error {
  return Object.assign(new Error(`${code}: it failed`), { code });
}

describe('an error of larder', () => {
  test('has the exit status and the chance of a retry of its kind', () => {
    for (const [code, kind] of Object.entries(ERROR_TABLE)) {
      const error = new LarderError(code as ErrorCode, 'x');
      assert.equal(error.kind, kind);
      assert.equal(error.exitCode, KIND_TABLE[kind].exit);
      assert.equal(error.retryable, KIND_TABLE[kind].retry);
    }
  });

  test('is known by its brand, of one code or of any', () => {
    const error = new LarderError('LARDER_OFFLINE', 'x');
    assert.ok(isLarderError(error));
    assert.ok(isLarderError(error, 'LARDER_TIMEOUT', 'LARDER_OFFLINE'));
    assert.ok(!isLarderError(error, 'LARDER_TIMEOUT'));
    for (const other of [new Error('x'), undefined, null, 'LARDER_OFFLINE', { code: 'LARDER_OFFLINE' }]) {
      assert.ok(!isLarderError(other));
    }
  });

  test('crosses a thread with all that it says', () => {
    const cause = new LarderError('LARDER_TIMEOUT', 'the cause', { details: { host: 'h' } });
    const error = new LarderError('LARDER_OFFLINE', 'a: b: c', { hint: 'do this', details: { n: 1 }, cause });
    const copy = deserializeError(structuredClone(serializeError(error)));
    for (const key of ['code', 'message', 'hint', 'details', 'stack'] as const) assert.deepEqual(copy[key], error[key]);
    assert.ok(isLarderError(copy.cause, 'LARDER_TIMEOUT'));
    assert.deepEqual(copy.cause.details, { host: 'h' });
  });

  test('never drives a terminal', () => {
    const { message } = new LarderError('LARDER_INTERNAL', 'a\u001b[2Jb\nc\u202ed\u0085');
    assert.equal(message, 'a\\x1b[2Jb c\\x202ed\\x85');
    assert.equal(printable('plain é 漢'), 'plain é 漢');
  });
});

describe('a foreign error', () => {
  test('becomes internal on its way, and keeps message and stack', () => {
    const error = new TypeError('x is not a function');
    const copy = deserializeError(serializeError(error));
    assert.equal(copy.code, 'LARDER_INTERNAL');
    assert.equal(copy.message, 'x is not a function');
    assert.equal(copy.stack, error.stack);
    assert.equal(deserializeError(serializeError('only text')).message, 'only text');
  });

  test('of an abort signal becomes aborted', () => {
    const error = AbortSignal.abort().reason;
    assert.ok(isAbort(error));
    assert.equal(serializeError(error).code, 'LARDER_ABORTED');
  });

  const system: Record<string, ErrorCode> = {
    ENOSPC: 'LARDER_NO_SPACE',
    EDQUOT: 'LARDER_NO_SPACE',
    EACCES: 'LARDER_PERMISSION',
    EPERM: 'LARDER_PERMISSION',
    EROFS: 'LARDER_PERMISSION',
    EBUSY: 'LARDER_ROOTFS_BUSY',
    EIO: 'LARDER_INTERNAL',
  };
  for (const [errno, code] of Object.entries(system)) {
    test(`of the system, ${errno}, becomes ${code}, and says what was being done`, () => {
      const cause = failing(errno);
      const error = systemError('write x', cause);
      assert.equal(error.code, code);
      assert.match(error.message, /^write x: /);
      assert.equal(error.cause, cause);
      assert.equal(error.details['errno'], errno);
    });
  }

  test('that is one of larder’s already stays as it is', () => {
    const error = new LarderError('LARDER_OFFLINE', 'x');
    assert.equal(systemError('write', error), error);
    assert.equal(errnoOf(error), undefined);
    assert.equal(errnoOf(failing('ERR_INVALID_ARG_TYPE')), undefined);
    assert.equal(errnoOf(failing('ENOENT')), 'ENOENT');
  });
});

test('what was cancelled says what it was, and why', () => {
  const signal = AbortSignal.abort('no longer wanted');
  assert.throws(() => throwIfAborted(signal, 'pull x'), { code: 'LARDER_ABORTED', message: 'pull x: cancelled' });
  assert.equal(abortedError('pull x', signal).cause, 'no longer wanted');
  throwIfAborted(undefined, 'pull x');
  throwIfAborted(new AbortController().signal, 'pull x');
});

test('what failed first is told, whatever failed while it was given back', () => {
  const full = Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' });
  const suppressed = Object.assign(new Error('An error was suppressed during disposal.'), {
    ...{ name: 'SuppressedError', error: new Error('and this'), suppressed: full },
  });
  assert.equal(systemError('write', suppressed).code, 'LARDER_NO_SPACE');
});
