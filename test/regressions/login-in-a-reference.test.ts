import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import { parseAppcName } from '../../src/spec/appc-name.js';
import { parseReference } from '../../src/spec/reference.js';

test('a password that somebody wrote into a reference is not repeated', () => {
  const passwords = ['PLANTED', 'PLAN/TED', 'PLAN@TED', 'PLAN@/@TED'];
  for (const text of passwords.flatMap((one) => [`https://u:${one}@host/x`, `u:${one}@host:5000/x`]))
    assert.throws(
      () => parseReference(text),
      (error) => isLarderError(error) && !/PLAN|TED/.test(error.message) && error.message.includes('…@host'),
    );
});

test('nor is one of a URL without a path, nor the beginning of a token that is longer than any reference', () => {
  const long = 'PLANTED'.repeat(400);
  for (const text of [
    'https://u:PLANTED@host',
    'https://PLANTED@host:5000',
    `https://AWS:${long}@host/x`,
    `AWS:${long}@host/x`,
  ])
    assert.throws(
      () => parseReference(text),
      (error) => isLarderError(error) && !/PLANTED/.test(error.message) && error.message.includes('…@'),
    );
  assert.throws(() => parseReference(`https://host/x@sha256:${'a'.repeat(63)}`), { message: /host\/x@sha256:a/ });
});

test('nor is one in the name of an Appc image', () => {
  assert.throws(
    () => parseAppcName('appc:https://u:PLANTED@host/x'),
    (error) => isLarderError(error) && !/PLANTED/.test(error.message),
  );
});

test('a digest that is none is shown with its name', () => {
  assert.throws(() => parseReference('alpine:3@sha256:zz'), { message: /"alpine:3@sha256:zz"/ });
  assert.throws(() => parseReference('host:5000/a@latest'), { message: /"host:5000\/a@latest"/ });
  assert.throws(() => parseReference('alpine@latest'), { message: /"alpine@latest"/ });
});

test('a long text that is no reference is refused at once', () => {
  const sinceMs = performance.now();
  assert.throws(() => parseReference('a:'.repeat(500_000)), { code: 'LARDER_REFERENCE_INVALID' });
  assert.ok(performance.now() - sinceMs < 10_000);
});
