import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isLarderError } from '../../src/errors.js';
import { parseRange } from '../../src/serve/range.js';
import { parseTarget } from '../../src/serve/request-target.js';
import { digestOf } from '../../src/spec/digest.js';
import { formatReference } from '../../src/spec/reference.js';

const DIGEST = digestOf(Buffer.from('x'));

function named(url: string): string {
  const target = parseTarget('GET', url);
  return target.kind === 'base' ? 'base' : `${target.kind} ${formatReference(target.reference)}`;
}

describe('what a request is for', () => {
  for (const [url, expected] of [
    ['/v2/', 'base'],
    ['/v2/alpine/manifests/3.20', 'manifest docker.io/library/alpine:3.20'],
    ['/v2/library/alpine/manifests/3.20', 'manifest docker.io/library/alpine:3.20'],
    ['/v2/library/alpine/manifests/3.20?ns=docker.io', 'manifest docker.io/library/alpine:3.20'],
    ['/v2/library/alpine/manifests/3.20?ns=registry-1.docker.io', 'manifest docker.io/library/alpine:3.20'],
    ['/v2/docker.io/library/alpine/manifests/a', 'manifest docker.io/library/alpine:a'],
    ['/v2/quay.io/a/b/manifests/a', 'manifest quay.io/a/b:a'],
    ['/v2/a/b/manifests/a?ns=quay.io', 'manifest quay.io/a/b:a'],
    ['/v2/a/b/manifests/a?ns=Quay.io:5000', 'manifest quay.io:5000/a/b:a'],
    ['/v2/quay.io__5000/a/b/manifests/a', 'manifest quay.io:5000/a/b:a'],
    ['/v2/localhost__5000/a/manifests/a', 'manifest localhost:5000/a:a'],
    // Under a registry that was named, this is the name of a repository.
    ['/v2/quay.io/b/manifests/a?ns=ghcr.io', 'manifest ghcr.io/quay.io/b:a'],
    [`/v2/a/b/manifests/${DIGEST}?ns=quay.io`, `manifest quay.io/a/b@${DIGEST}`],
    [`/v2/a/b/manifests/${DIGEST.replace(':', '%3A')}?ns=quay.io`, `manifest quay.io/a/b@${DIGEST}`],
    [`/v2/a/b/blobs/${DIGEST}?ns=quay.io`, `blob quay.io/a/b@${DIGEST}`],
    [`/v2/a/blobs/b/blobs/${DIGEST}?ns=quay.io`, `blob quay.io/a/blobs/b@${DIGEST}`],
  ] as const) {
    test(url, () => assert.equal(named(url), expected));
  }

  for (const url of [
    '/',
    '/v1/_ping',
    '/v2/_catalog',
    '/v2/alpine/tags/list',
    '/v2/../../etc/passwd',
    '/v2/../../etc/manifests/passwd',
    '/v2/a/../b/manifests/x',
    '/v2/a/%2e%2e/b/manifests/x',
    '/v2/a//b/manifests/x',
    '/v2/A/manifests/x',
    '/v2/a/manifests/..',
    '/v2/a/manifests/x%00',
    '/v2/a/manifests/sha256:../../../../etc/passwd',
    `/v2/a/manifests/${DIGEST}0`,
    '/v2/a/blobs/latest',
    '/v2/a/blobs/sha256:',
    '/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e',
    `/v2/a@${DIGEST}/manifests/x`,
    '/v2/a:tag/manifests/x',
    '/v2/user:pass@host.io/a/manifests/x',
    '/v2/a/manifests/x?ns=quay.io&ns=ghcr.io',
    '/v2/a/manifests/x?ns=',
    '/v2/a/manifests/x?ns=quay',
    '/v2/a/manifests/x?ns=quay.io/evil',
    '/v2/a/manifests/x?ns=user:pass@quay.io',
    '/v2/a/manifests/x?ns=0x7f.1',
    '/v2/a/manifests/x?ns=quay.io:0',
    '/v2/a/manifests/x?a?b',
    'http://elsewhere.example/v2/a/manifests/x',
  ]) {
    test(`${url} is refused`, () => {
      assert.throws(
        () => parseTarget('GET', url),
        (error: unknown) => isLarderError(error),
      );
    });
  }

  test('whatever is asked for is refused or names a parsed reference', () => {
    const part = fc.oneof(fc.string(), fc.constantFrom('a', '..', '.', '%2e', 'docker.io', 'x__1', ':', '@', DIGEST));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), part, (name, last) => {
        for (const kind of ['manifests', 'blobs']) {
          try {
            const target = parseTarget('GET', `/v2/${name.join('/')}/${kind}/${last}`);
            // A query may stand before all of it.
            if (target.kind === 'base') continue;
            assert.match(target.reference.path, /^[a-z0-9._\-/]+$/);
            assert.ok(!target.reference.path.split('/').includes('..'));
          } catch (error) {
            if (!isLarderError(error)) throw error;
          }
        }
      }),
    );
  });
});

test('a range is one of bytes, none, or all of them', () => {
  const cases = [
    [undefined, 'all'],
    ['bytes=0-', '0-10'],
    ['bytes=0-0', '0-1'],
    ['bytes=4-5', '4-6'],
    ['bytes=4-999', '4-10'],
    ['bytes=-3', '7-10'],
    ['bytes=-300', '0-10'],
    ['bytes=9-', '9-10'],
    ['bytes=10-', 'none'],
    ['bytes=-0', 'none'],
    ['bytes=5-4', 'all'],
    ['bytes=-', 'all'],
    ['bytes=0-1,3-4', 'all'],
    ['bytes=a-b', 'all'],
    ['items=0-1', 'all'],
    ['bytes=99999999999999999999-', 'all'],
  ] as const;
  for (const [header, expected] of cases) {
    const wanted = parseRange(header, 10);
    assert.equal(wanted.kind === 'part' ? `${wanted.start}-${wanted.end}` : wanted.kind, expected, header);
  }
});
