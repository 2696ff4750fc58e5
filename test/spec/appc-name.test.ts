import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  type AppcRequest,
  appcRequestOf,
  formatAppcRequest,
  isAppcName,
  parseAppcName,
  platformOfRequest,
} from '../../src/spec/appc-name.js';
import { digestOfImageId, imageIdOf, isAcIdentifier, parseImageId } from '../../src/spec/appc-types.js';
import { digestOf } from '../../src/spec/digest.js';
import { parsePlatform } from '../../src/spec/platform.js';

const ID = `sha512-${'0123456789abcdef'.repeat(8)}`;
const AMD64 = parsePlatform('linux/amd64');

function requestOf(text: string, platform = AMD64): AppcRequest {
  return appcRequestOf(parseAppcName(text), platform);
}

describe('the name of an Appc image', () => {
  const canonical: Readonly<Record<string, string>> = {
    'appc:example.com/app': 'appc:example.com/app:latest',
    'appc:example.com/app:1.0': 'appc:example.com/app:1.0',
    'appc:example.com/app,version=1.0': 'appc:example.com/app:1.0',
    'appc:example.com/app,b=2,a=1': 'appc:example.com/app:latest,a=1,b=2',
    'appc:example.com/app:1,os=linux,arch=i386': 'appc:example.com/app:1',
    [`appc:a/b@${ID}`]: `appc:a/b:latest@${ID}`,
    [`appc:a/b:2,x=y@${ID}`]: `appc:a/b:2,x=y@${ID}`,
    'appc:a/~user/b_c:1%2C2%40': 'appc:a/~user/b_c:1%2C2%40',
    'appc:a/b:1+2=3': 'appc:a/b:1%2B2%3D3',
    'appc:a/b,empty=': 'appc:a/b:latest,empty=',
    'appc:database:latest': 'appc:database:latest',
    // As `appc:5000/app:1` it would be an image of a registry.
    'appc:5000/app,version=1': 'appc:5000/app,version=1',
  };
  for (const [text, expected] of Object.entries(canonical)) {
    it(`${text.slice(0, 50)} is ${expected.slice(0, 60)}`, () => {
      assert.ok(isAppcName(text));
      assert.equal(formatAppcRequest(requestOf(text)), expected);
    });
  }

  const refused: Readonly<Record<string, RegExp>> = {
    'example.com/app': /does not start/,
    'appc:': /has no name/,
    'appc:Example.com/App': /lower case/,
    'appc:../../etc/passwd': /not the name/,
    'appc:a/../b': /not the name/,
    'appc:a//b': /not the name/,
    'appc:/a': /not the name/,
    'appc:a/': /not the name/,
    'appc:a/b:': /version is empty/,
    'appc:a/b:..': /is \.\./,
    'appc:a/b:%2e%2E': /is \.\./,
    'appc:a/b:1:2,x': /has no "="/,
    'appc:a/b,x': /has no "="/,
    'appc:a/b,x=1,x=2': /twice/,
    'appc:a/b:1,version=1': /twice/,
    'appc:a/b,name=c': /not the name of a label/,
    'appc:a/b,X=1': /not the name of a label/,
    'appc:a/b,=1': /not the name of a label/,
    'appc:a/b,__proto__=1': /not the name of a label/,
    'appc:a/b,os=linux/x': /"os" is not valid/,
    'appc:a/b,arch=': /"arch" is not valid/,
    'appc:a/b:%zz': /hexadecimal/,
    'appc:a/b:%ff': /hexadecimal/,
    'appc:a/b:1%0a': /control characters/,
    'appc:a/b:1\ud800': /control characters/,
    'appc:a/b@sha512-abc': /not an image id/,
    'appc:a/b@sha256:abc': /not an image id/,
    [`appc:a/b@${ID.toUpperCase()}`]: /not an image id/,
    [`appc:a/b@${ID}@${ID}`]: /not an image id/,
    [`appc:${'a/'.repeat(200)}b`]: /not the name/,
    [`appc:a/b:${'1'.repeat(300)}`]: /longer than 255/,
    [`appc:a/b:${'1'.repeat(9000)}`]: /longer than 4096/,
    [`appc:a/b${Array.from({ length: 70 }, (_, i) => `,l${i}=`).join('')}`]: /more than 64/,
  };
  for (const [text, message] of Object.entries(refused)) {
    it(`${JSON.stringify(text.slice(0, 50))} is refused: ${message.source}`, () => {
      assert.throws(() => parseAppcName(text), { code: 'LARDER_REFERENCE_INVALID', message });
    });
  }

  it('is not what Docker has always understood', () => {
    for (const text of ['appc', 'appc:1.0', 'appc:latest', 'appc:5000/app', 'appc:5000/app:1', 'appcx:a/b'])
      assert.equal(isAppcName(text), false, text);
  });

  it('comes back from its canonical text, whatever its labels say', () => {
    const word = fc.stringMatching(/^[a-z0-9]{1,5}([-._~/][a-z0-9]{1,5}){0,3}$/);
    const value = fc
      .string({ maxLength: 20, unit: 'binary' })
      .filter(
        (text) =>
          text !== '.' && text !== '..' && !/[\u0000-\u001f\u007f-\u009f\u2028\u2029]|\p{Surrogate}/u.test(text),
      );
    const labels = fc
      .dictionary(
        word.filter((name) => !['name', 'os', 'arch', 'version'].includes(name)),
        value,
        { maxKeys: 4 },
      )
      .map((map) => ({ ...map }));
    fc.assert(
      fc.property(
        word,
        value.filter((v) => v !== ''),
        labels,
        fc.boolean(),
        (name, version, others, pinned) => {
          const image = { type: 'appc', name, labels: { ...others, version }, ...(pinned ? { id: ID } : {}) } as const;
          const request = appcRequestOf(image, AMD64);
          const text = formatAppcRequest(request);
          assert.ok(isAppcName(text), text);
          assert.deepEqual(requestOf(text), request);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('a request for an Appc image', () => {
  it('has version, os and arch, and says which of them nobody asked for', () => {
    const { labels, defaulted } = requestOf('appc:a/b,arch=i386');
    assert.deepEqual(labels, { version: 'latest', os: 'linux', arch: 'i386' });
    assert.deepEqual([...defaulted].sort(), ['os', 'version']);
  });

  it('takes "latest" for no version, also where it is written down', () => {
    assert.ok(requestOf('appc:a/b:latest').defaulted.has('version'));
    assert.ok(!requestOf('appc:a/b:1').defaulted.has('version'));
  });

  const platforms: Readonly<Record<string, string>> = {
    'linux/amd64': 'amd64',
    'linux/386': 'i386',
    'linux/arm64': 'aarch64',
    'linux/arm/v7': 'armv7l',
    'linux/arm/v6': 'armv6l',
    'linux/ppc64le': 'ppc64le',
    'linux/s390x': 's390x',
    'linux/riscv64': 'riscv64',
  };
  for (const [platform, arch] of Object.entries(platforms)) {
    it(`for ${platform} has the architecture ${arch}, and its platform again`, () => {
      const request = requestOf('appc:a/b', parsePlatform(platform));
      assert.deepEqual([request.labels['os'], request.labels['arch']], ['linux', arch]);
      assert.equal(platformOfRequest(request), platform);
    });
  }

  it('understands what the kernel and Go call architectures', () => {
    for (const arch of ['aarch64', 'arm64']) {
      const request = requestOf(`appc:a/b,arch=${arch}`);
      assert.deepEqual([request.labels['arch'], platformOfRequest(request)], ['aarch64', 'linux/arm64']);
    }
    assert.equal(requestOf('appc:a/b,arch=x86_64').labels['arch'], 'amd64');
    const darwin = requestOf('appc:a/b,os=darwin,arch=x86_64');
    assert.deepEqual([darwin.labels['arch'], platformOfRequest(darwin)], ['x86_64', 'darwin/x86_64']);
  });

  it('by the library is checked as one by the command', () => {
    const refuse = (image: object, message: RegExp): void => {
      const whole = { type: 'appc', name: 'a/b', ...image } as const;
      assert.throws(() => appcRequestOf(whole, AMD64), { code: 'LARDER_REFERENCE_INVALID', message });
    };
    refuse({ name: '../x' }, /not the name/);
    refuse({ id: '../../etc' }, /not an image id/);
    refuse({ id: 'sha512-xyz' }, /not an image id/);
    refuse({ labels: { version: '..' } }, /is \.\./);
    refuse({ labels: { 'A b': '' } }, /not the name of a label/);
  });
});

describe('an image id', () => {
  it('is the SHA-512 of a tar, there and back', () => {
    const digest = digestOf(Buffer.from('x'), 'sha512');
    assert.equal(digestOfImageId(imageIdOf(digest)), digest);
    assert.throws(() => imageIdOf(digestOf(Buffer.from('x'))), { code: 'LARDER_DIGEST_INVALID' });
    assert.throws(() => parseImageId('sha512-../..'), { code: 'LARDER_DIGEST_INVALID' });
  });
});

describe('an AC identifier', () => {
  it('is as the specification writes it', () => {
    for (const good of ['database', 'example.com/ourapp', 'example.com/~user/app_v1', 'xn--n3h.example/a', 'a-b.c/d'])
      assert.ok(isAcIdentifier(good), good);
    for (const bad of ['', 'A', 'a..b', '-a', 'a-', 'a b', 'a/~', 'a~~b', 'a/.b', 'a//b', 'ä', 'a\n'])
      assert.ok(!isAcIdentifier(bad), bad);
  });
});
