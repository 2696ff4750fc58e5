import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatPlatform, hostPlatform, type Platform, parsePlatform, selectPlatform } from '../../src/spec/platform.js';

const choose = (offered: readonly string[], wanted: string): string => {
  const entries = offered.map((text) => ({ platform: parsePlatform(text), text }));
  return selectPlatform(entries, parsePlatform(wanted), 'test').text;
};

describe('a platform', () => {
  const normal: Readonly<Record<string, string>> = {
    'linux/x86_64': 'linux/amd64',
    'linux/amd64/v1': 'linux/amd64',
    'linux/amd64/v3': 'linux/amd64/v3',
    'linux/aarch64': 'linux/arm64',
    'linux/arm64/v8': 'linux/arm64',
    'linux/arm64/8': 'linux/arm64',
    'linux/arm': 'linux/arm/v7',
    'linux/armhf': 'linux/arm/v7',
    'linux/armel': 'linux/arm/v6',
    'linux/arm/6': 'linux/arm/v6',
    'Linux/I386': 'linux/386',
    'linux/s390x': 'linux/s390x',
  };
  for (const [text, expected] of Object.entries(normal)) {
    it(`${text} is ${expected}`, () => assert.equal(formatPlatform(parsePlatform(text)), expected));
  }

  for (const text of ['', 'linux', 'linux/', 'linux/a/b/c', 'linux/../x', 'linux/amd64 ', `linux/${'a'.repeat(65)}`]) {
    it(`${JSON.stringify(text.slice(0, 20))} is refused`, () => {
      assert.throws(() => parsePlatform(text), { code: 'LARDER_REQUEST_INVALID' });
    });
  }

  it('of this machine is Linux, and normal', () => {
    const host = hostPlatform();
    assert.equal(host.os, 'linux');
    assert.deepEqual(parsePlatform(formatPlatform(host)), host);
  });
});

describe('selection from an image index', () => {
  const arms = ['linux/arm/v5', 'linux/arm/v7', 'linux/arm/v6', 'linux/arm64'];

  it('takes the same variant', () => assert.equal(choose(arms, 'linux/arm/v6'), 'linux/arm/v6'));
  it('reads arm without variant as v7', () => assert.equal(choose(arms, 'linux/arm'), 'linux/arm/v7'));
  it('falls back to the next lower variant', () => {
    assert.equal(choose(['linux/arm/v5', 'linux/arm/v6'], 'linux/arm/v7'), 'linux/arm/v6');
    assert.equal(choose(['linux/amd64', 'linux/amd64/v2'], 'linux/amd64/v3'), 'linux/amd64/v2');
    assert.equal(choose(['linux/arm64'], 'linux/arm64/v9'), 'linux/arm64');
  });
  it('never takes a higher variant', () => {
    assert.throws(() => choose(['linux/amd64/v3'], 'linux/amd64'), { code: 'LARDER_PLATFORM_NOT_FOUND' });
  });
  it('never takes another architecture or system', () => {
    assert.throws(() => choose(['linux/386', 'windows/amd64'], 'linux/amd64'), { code: 'LARDER_PLATFORM_NOT_FOUND' });
  });
  it('takes the first of equals', () => {
    const entries = [1, 2].map((n) => ({ n, platform: parsePlatform('linux/amd64') }));
    assert.equal(selectPlatform(entries, parsePlatform('linux/amd64'), 'test').n, 1);
  });
  it('ignores attestations and entries without a platform, and lists what there is', () => {
    const unknown: Platform = { os: 'unknown', architecture: 'unknown' };
    const entries = [{ platform: unknown }, {}, { platform: parsePlatform('linux/s390x') }];
    assert.throws(() => selectPlatform(entries, parsePlatform('linux/amd64'), 'test'), {
      code: 'LARDER_PLATFORM_NOT_FOUND',
      hint: /there is linux\/s390x;/,
    });
    assert.throws(() => selectPlatform(entries, unknown, 'test'), { code: 'LARDER_PLATFORM_NOT_FOUND' });
  });
});
