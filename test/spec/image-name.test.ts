import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isLarderError } from '../../src/errors.js';
import { absoluteImageName, familiarImageName, formatImageName, parseImageName } from '../../src/spec/image-name.js';

describe('an image name', () => {
  const canonical: Record<string, string> = {
    alpine: 'docker.io/library/alpine:latest',
    'docker://quay.io/a/b:1': 'quay.io/a/b:1',
    'oci:1.0': 'docker.io/library/oci:1.0',
    'oci:layout': 'docker.io/library/oci:layout',
    'docker-archive:/x.tar': 'docker-archive:/x.tar',
    'docker-archive:x.tar': 'docker-archive:/cwd/x.tar',
    'docker-archive:../a//b/./x.tar': 'docker-archive:/a/b/x.tar',
    'docker-archive:/x.tar:busybox': 'docker-archive:/x.tar:docker.io/library/busybox:latest',
    'docker-archive:/x.tar:localhost:5000/a/b:1': 'docker-archive:/x.tar:localhost:5000/a/b:1',
    'docker-archive:/x.tar:@0': 'docker-archive:/x.tar:@0',
    'docker-archive:/with space/x.tar:@12': 'docker-archive:/with space/x.tar:@12',
    'oci:./layout': 'oci:/cwd/layout',
    'oci:/layout/': 'oci:/layout',
    'oci:layout:tag': 'oci:/cwd/layout:tag',
    'oci:/layout:docker.io/library/busybox:latest': 'oci:/layout:docker.io/library/busybox:latest',
    'oci-archive:x.tar:@3': 'oci-archive:/cwd/x.tar:@3',
    'oci-archive:/x.tar:Any Name at all': 'oci-archive:/x.tar:Any Name at all',
  };
  for (const [text, expected] of Object.entries(canonical)) {
    it(`${JSON.stringify(text)} is ${JSON.stringify(expected)}`, () => {
      const name = parseImageName(text, '/cwd');
      assert.equal(formatImageName(name), expected);
      assert.deepEqual(parseImageName(expected), name, 'it parses to itself again');
      assert.deepEqual(parseImageName(familiarImageName(name)), name);
    });
  }

  for (const text of [
    'docker-archive:',
    'docker-archive::x',
    'docker-archive:/x.tar:',
    'docker-archive:/x.tar:UPPER',
    `docker-archive:/x.tar:a@sha256:${'0'.repeat(64)}`,
    'docker-archive:/x.tar:@01',
    'docker-archive:/x.tar:@-1',
    'docker-archive:/x.tar:@99999999',
    'docker-archive:/x\u0000.tar',
    'docker-archive:/x\n.tar',
    'oci-archive:/x.tar:a\u001bb',
    `oci:/${'a'.repeat(5000)}`,
    `oci:/x:${'a'.repeat(2000)}`,
  ]) {
    it(`${JSON.stringify(text.slice(0, 40))} is refused`, () => {
      assert.throws(() => parseImageName(text, '/cwd'), { code: 'LARDER_REFERENCE_INVALID' });
    });
  }

  it('with a relative path and nothing that it is relative to is refused', () => {
    assert.throws(() => parseImageName('oci-archive:x.tar'), {
      code: 'LARDER_REFERENCE_INVALID',
      message: /not absolute/,
    });
  });

  for (const text of ['dir:/x', 'docker-daemon:alpine:3', 'containers-storage:/a']) {
    it(`${text} is recognised as something that larder does not read`, () => {
      assert.throws(() => parseImageName(text, '/cwd'), { code: 'LARDER_IMAGE_TYPE_UNSUPPORTED' });
    });
  }

  it('is made absolute where it is an archive’s, and left alone where it is not', () => {
    assert.equal(absoluteImageName('oci-archive:x.tar', '/cwd'), 'oci-archive:/cwd/x.tar');
    for (const text of ['alpine', 'UPPER', 'appc:example.com/a', 'dir:/x', '']) {
      assert.equal(absoluteImageName(text, '/cwd'), text);
    }
  });

  it('never fails in another way than with its own errors, and what it takes it takes again', () => {
    const text = fc.string({ maxLength: 40, unit: fc.constantFrom(...'aA0./:@-_ \u0000é') });
    const transport = fc.constantFrom('docker-archive:', 'oci:', 'oci-archive:', '');
    fc.assert(
      fc.property(transport, text, (prefix, rest) => {
        try {
          const name = parseImageName(`${prefix}${rest}`, '/cwd');
          assert.deepEqual(parseImageName(formatImageName(name)), name);
        } catch (error) {
          assert.ok(isLarderError(error, 'LARDER_REFERENCE_INVALID'), String(error));
        }
      }),
      { numRuns: 3000 },
    );
  });
});
