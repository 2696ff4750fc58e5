import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type SentRequest, withoutSecrets } from '../../src/registry/redact.js';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const sent = (more: Partial<SentRequest> = {}): SentRequest => ({
  url: new URL('https://r.example/v2/a/manifests/latest'),
  headers: {},
  ...more,
});

for (const [what, request, quoted] of [
  ['a token', sent({ headers: { authorization: 'Bearer abc.def-123' } }), 'abc.def-123'],
  ['a password', sent({ headers: { authorization: `Basic ${base64('me:p:assword')}` } }), 'p:assword'],
  ['a login in base64', sent({ headers: { authorization: `Basic ${base64('me:password')}` } }), base64('me:password')],
  ['a cookie', sent({ headers: { cookie: 'a=1; session=planted1' } }), 'planted1'],
  ['a header of its own', sent({ headers: { 'X-Key': 'pla nt;ed' } }), 'pla nt;ed'],
  ['a signature', sent({ url: new URL('https://s.example/x?X-Amz-Signature=pla%2Fnted') }), 'pla/nted'],
  ['a signature as it is in the address', sent({ url: new URL('https://s.example/x?sig=pla%2Fnted') }), 'pla%2Fnted'],
  ['a signature in small letters', sent({ url: new URL('https://s.example/x?sig=pla%2fnted') }), 'pla%2fnted'],
  ['a query without a name', sent({ url: new URL('https://s.example/x?planted1') }), 'planted1'],
  ['an identity token', sent({ body: 'grant_type=refresh_token&refresh_token=planted1' }), 'planted1'],
  ['a password as a form has it', sent({ body: 'grant_type=password&password=pla+n%2Fted%21' }), 'pla+n%2Fted%21'],
  ['a password in percents', sent({ headers: { authorization: `Basic ${base64('me:pla/nted')}` } }), 'pla%2Fnted'],
  ['a login of an earlier request', sent({ logins: [`Basic ${base64('me:planted1')}`] }), 'planted1'],
  ['a token of an earlier request', sent({ logins: ['Bearer planted1'] }), 'planted1'],
] as const) {
  test(`${what} that a server quotes is left out`, () => {
    assert.equal(withoutSecrets(`no: "${quoted}" is bad`, request), 'no: "…" is bad');
  });
}

test('of two secrets the longer one goes first, so that nothing of it stays', () => {
  const request = sent({ headers: { 'x-a': 'planted1', 'x-b': 'planted1-and-more' } });
  assert.equal(withoutSecrets('no: planted1-and-more', request), 'no: …');
});

test('an address loses its query, whoever made it', () => {
  assert.equal(withoutSecrets('see https://s.example/x?sig=of-somebody', undefined), 'see https://s.example/x');
});

test('what looks like a login is left out, whoever sent it', () => {
  assert.equal(withoutSecrets('no: Basic abcd', undefined), 'no: Basic …');
});

test('other words stay', () => {
  const request = sent({ headers: { authorization: 'Bearer x', accept: 'application/json', 'user-agent': 'larder' } });
  assert.equal(
    withoutSecrets('larder asked too much of application/json', request),
    'larder asked too much of application/json',
  );
});
