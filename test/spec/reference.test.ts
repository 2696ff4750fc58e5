import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isLarderError } from '../../src/errors.js';
import { familiarReference, formatReference, parseReference, registryHostOf } from '../../src/spec/reference.js';

const HEX = 'a'.repeat(64);

describe('a reference', () => {
  const canonical: Readonly<Record<string, string>> = {
    alpine: 'docker.io/library/alpine:latest',
    'alpine:3.20': 'docker.io/library/alpine:3.20',
    'docker.io/alpine': 'docker.io/library/alpine:latest',
    'index.docker.io/library/alpine': 'docker.io/library/alpine:latest',
    'docker://grafana/grafana': 'docker.io/grafana/grafana:latest',
    'localhost/a': 'localhost/a:latest',
    'localhost:5000/a/b:c': 'localhost:5000/a/b:c',
    'host:5000/repo': 'host:5000/repo:latest',
    'host:5000': 'docker.io/library/host:5000',
    'foo.bar/baz': 'foo.bar/baz:latest',
    'Quay.io/a/b': 'quay.io/a/b:latest',
    '[::1]:5000/foo:1': '[::1]:5000/foo:1',
    'xn--n3h.example/a': 'xn--n3h.example/a:latest',
    'a__b/c-d/e.f---g': 'docker.io/a__b/c-d/e.f---g:latest',
    [`alpine@sha256:${HEX}`]: `docker.io/library/alpine@sha256:${HEX}`,
    [`quay.io/a:1@sha256:${HEX}`]: `quay.io/a:1@sha256:${HEX}`,
    'oci:1.0': 'docker.io/library/oci:1.0',
  };
  for (const [text, expected] of Object.entries(canonical)) {
    it(`${text.slice(0, 40)} means ${expected.slice(0, 60)}`, () => {
      assert.equal(formatReference(parseReference(text)), expected);
    });
  }

  const refused: readonly string[] = [
    '',
    ' alpine',
    'alpine ',
    'Alpine',
    'a//b',
    '/a',
    'a/',
    '../x',
    'a/../b',
    './x',
    'foo:',
    ':t',
    'foo:bar:baz',
    'alpine@',
    'alpine@sha256:abc',
    `alpine@sha256:${HEX.toUpperCase()}`,
    `alpine@md5:${'a'.repeat(32)}`,
    `a@b@sha256:${HEX}`,
    'host@evil.example/x',
    'registry.io:443@evil.example/x',
    'registry:99999/x',
    'registry:0/x',
    'registry:080/x',
    '0x7f.1/x',
    '127.1/x',
    '[::1/x',
    '[0:0::1]/x',
    '[g::1]:5/x',
    '-a.example/x',
    'bücher.example/x',
    'a_b.example/x',
    'a b/c',
    'a\nb',
    'a___b',
    'a..b',
    HEX,
    `a/${'b'.repeat(256)}`,
    `a:${'t'.repeat(129)}`,
    'a'.repeat(5000),
  ];
  for (const text of refused) {
    it(`${JSON.stringify(text.slice(0, 40))} is refused`, () => {
      assert.throws(() => parseReference(text), { code: 'LARDER_REFERENCE_INVALID' });
    });
  }

  it('with upper case is refused with the spelling that would do', () => {
    assert.throws(
      () => parseReference('MyOrg/App:V1'),
      (error) => isLarderError(error) && error.hint !== undefined,
    );
    assert.throws(() => parseReference('library/Alpine'), { hint: 'did you mean library/alpine?' });
  });

  for (const text of ['docker-archive:/tmp/a.tar', 'oci:/tmp/dir:tag', 'oci-archive:a.tar:x/y', 'dir:/x']) {
    it(`${text} is recognised and is no name in a registry`, () => {
      assert.throws(() => parseReference(text), { code: 'LARDER_IMAGE_TYPE_UNSUPPORTED' });
    });
  }

  it('on Docker Hub has its API elsewhere', () => {
    assert.equal(registryHostOf(parseReference('alpine')), 'registry-1.docker.io');
    assert.equal(registryHostOf(parseReference('quay.io/a')), 'quay.io');
  });

  it('is shown as people write it', () => {
    const familiar = (text: string): string => familiarReference(parseReference(text));
    assert.equal(familiar('docker.io/library/alpine:latest'), 'alpine');
    assert.equal(familiar('docker.io/grafana/grafana:10'), 'grafana/grafana:10');
    assert.equal(familiar('quay.io/library/x'), 'quay.io/library/x');
    assert.equal(familiar('docker.io/library/a/b'), 'library/a/b');
  });

  const part = fc.stringMatching(/^[a-z0-9]{1,8}(?:[._-][a-z0-9]{1,8})?$/);
  const host = fc.oneof(
    fc.constant('docker.io'),
    fc.constant('localhost:5000'),
    fc.constant('quay.io'),
    fc.constant('[::1]:80'),
  );
  const tag = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/);
  const arbitrary = fc.tuple(host, fc.array(part, { minLength: 1, maxLength: 3 }), fc.option(tag), fc.boolean());

  it('parses to itself again, from its canonical and from its familiar form', () => {
    fc.assert(
      fc.property(arbitrary, ([domain, parts, maybeTag, hasDigest]) => {
        const text = `${domain}/${parts.join('/')}${maybeTag === null ? '' : `:${maybeTag}`}${hasDigest ? `@sha256:${HEX}` : ''}`;
        const reference = parseReference(text);
        assert.deepEqual(parseReference(formatReference(reference)), reference);
        assert.deepEqual(parseReference(familiarReference(reference)), reference);
      }),
      { numRuns: 300 },
    );
  });

  it('never fails in another way than with its own error, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60, unit: fc.constantFrom(...'aA0./:@[]-_% \u0000é') }), (text) => {
        try {
          parseReference(text);
        } catch (error) {
          assert.ok(isLarderError(error, 'LARDER_REFERENCE_INVALID'), String(error));
        }
      }),
      { numRuns: 3000 },
    );
  });
});
