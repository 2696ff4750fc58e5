/** Short texts that users, headers and pages give: names, challenges, meta tags. */
import assert from 'node:assert/strict';
import type { ErrorCode } from '../../../src/errors.js';
import { LarderError } from '../../../src/errors.js';
import { discoverIn } from '../../../src/registry/appc-discovery.js';
import { parseChallenges } from '../../../src/registry/challenge.js';
import { retryAfterMs } from '../../../src/registry/retry.js';
import { appcRequestOf, formatAppcRequest, parseAppcName } from '../../../src/spec/appc-name.js';
import { parseContainerId } from '../../../src/spec/container-id.js';
import { parseDigest } from '../../../src/spec/digest.js';
import { parseDockerRegistry } from '../../../src/spec/docker-registry.js';
import { formatImageName, isArchiveName, parseImageName } from '../../../src/spec/image-name.js';
import { mediaTypeOf } from '../../../src/spec/media-types.js';
import { formatPlatform, parsePlatform } from '../../../src/spec/platform.js';
import { familiarReference, formatReference, parseReference, registryHostOf } from '../../../src/spec/reference.js';
import { parseRuntimeUser } from '../../../src/spec/runtime.js';
import type { FuzzTarget } from '../target.js';

interface Text {
  readonly name: string;
  readonly codes: readonly ErrorCode[];
  readonly examples: readonly string[];
  readonly words: readonly string[];
  readonly read: (text: string) => unknown;
}

const HEX = 'c'.repeat(64);
const PLATFORM = { os: 'linux', architecture: 'amd64' };
const APPC = appcRequestOf(parseAppcName('appc:example.com/app:1.0,os=linux,arch=amd64'), PLATFORM);

const TEXTS: readonly Text[] = [
  {
    name: 'reference',
    codes: ['LARDER_REFERENCE_INVALID', 'LARDER_DIGEST_INVALID'],
    examples: ['alpine', 'docker.io/library/alpine:3', `h:5000/a/b@sha256:${HEX}`, 'docker://[::1]:80/a__b.c-d:T_1'],
    words: ['docker://', ':', '/', '@', '..', '//', `sha256:${HEX}`, '[::1]', 'xn--', '%', 'localhost', 'A'],
    read(text) {
      const reference = parseReference(text);
      const canonical = formatReference(reference);
      assert.deepEqual(parseReference(canonical), reference, canonical);
      assert.deepEqual(parseReference(familiarReference(reference)), reference);
      const url = new URL(`https://${registryHostOf(reference)}/v2/${reference.path}/manifests/x`);
      assert.ok(url.pathname.startsWith('/v2/') && url.pathname === `/v2/${reference.path}/manifests/x`, url.href);
      assert.equal(url.username, '');
      return canonical;
    },
  },
  {
    name: 'image-name',
    codes: ['LARDER_REFERENCE_INVALID', 'LARDER_IMAGE_TYPE_UNSUPPORTED', 'LARDER_DIGEST_INVALID'],
    examples: ['alpine', 'oci:/x:a', 'docker-archive:/x.tar:a:1', 'oci-archive:../x.tar@1', 'docker-archive:/x@0'],
    words: ['oci:', 'oci-archive:', 'docker-archive:', '@', ':', '\0', '../', `sha256:${HEX}`],
    read(text) {
      const name = parseImageName(text, '/work');
      const canonical = formatImageName(name);
      assert.deepEqual(parseImageName(canonical, '/elsewhere'), name, canonical);
      assert.ok(!isArchiveName(name) || name.path.startsWith('/'));
      return canonical;
    },
  },
  {
    name: 'appc-name',
    codes: ['LARDER_REFERENCE_INVALID', 'LARDER_DIGEST_INVALID'],
    examples: ['appc:example.com/app:1.0,os=linux', 'appc:example.com/app', `appc:example.com/a@sha512-${HEX}${HEX}`],
    words: ['appc:', ',', '=', ':', 'version=', 'os=', 'arch=', '/', '..', '-'],
    read(text) {
      const request = appcRequestOf(parseAppcName(text), PLATFORM);
      assert.ok(!/(^|\/)\.\.?(\/|$)/.test(request.name), request.name);
      return formatAppcRequest(request);
    },
  },
  {
    name: 'ids',
    codes: ['LARDER_REQUEST_INVALID', 'LARDER_DIGEST_INVALID', 'LARDER_FLAGS_INVALID', 'LARDER_CONFIG_INVALID'],
    examples: ['id a/b/c', `digest sha256:${HEX}`, 'platform linux/arm/v7', 'registry https://h:5000', 'user 0:0'],
    words: [
      'id ',
      'digest ',
      'platform ',
      'registry ',
      'user ',
      '..',
      '/',
      '4294967295',
      '-1',
      'http://',
      '@',
      '?',
      '#',
    ],
    read(text) {
      const [, what = '', rest = ''] = /^(\S*) ?(.*)$/s.exec(text) ?? [];
      if (what === 'id') {
        const id = parseContainerId(rest);
        assert.ok(id.split('/').every((part) => part !== '' && part !== '.' && part !== '..'));
        return id;
      }
      if (what === 'digest') return parseDigest(rest);
      if (what === 'platform') {
        const platform = parsePlatform(rest);
        assert.deepEqual(parsePlatform(formatPlatform(platform)), platform);
        return platform;
      }
      if (what === 'registry') return parseDockerRegistry(rest);
      return parseRuntimeUser(rest, () => new LarderError('LARDER_CONFIG_INVALID', 'user'));
    },
  },
  {
    name: 'headers',
    codes: [],
    examples: [
      'Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push"',
      'Basic realm="x\\"y", Bearer realm=z',
      'Negotiate abc==, Digest a=b',
      '120',
      'Wed, 21 Oct 2015 07:28:00 GMT',
      'application/json; charset="utf-8"',
    ],
    words: ['realm=', '"', '\\', ',', '=', ' ', 'Bearer', '__proto__=x', '1e9', '-1', ';'],
    read(text) {
      const challenges = parseChallenges(text);
      for (const { scheme, parameters } of challenges) {
        assert.ok(scheme !== '' && Object.getPrototypeOf(parameters) === null);
      }
      const wait = retryAfterMs({ kind: 'status', url: '', status: 429, headers: { 'retry-after': text } });
      // A date counts down.
      const isDate = Number.isNaN(Number(text));
      assert.ok(wait === undefined || wait >= 0, `${wait}`);
      return [challenges, isDate ? wait === undefined : wait, mediaTypeOf(text)];
    },
  },
  {
    name: 'discovery-page',
    codes: [],
    examples: [
      '<html><head><meta name="ac-discovery" content="example.com/app https://s/{name}-{version}-{os}-{arch}.{ext}"></head>',
      "<META NAME='ac-discovery-pubkeys' CONTENT='example.com https://s/keys.gpg'/><!-- <meta name=ac-discovery> -->",
    ],
    words: [
      '<meta ',
      '<!--',
      '-->',
      '<',
      '>',
      'name=',
      'content=',
      '"',
      "'",
      '{name}',
      '{ext}',
      'example.com',
      '</head>',
    ],
    read(text) {
      const found = discoverIn(text, APPC);
      for (const { aci } of found.urls) assert.ok(['http:', 'https:'].includes(new URL(aci).protocol), aci);
      return found;
    },
  },
];

export const textTargets: readonly FuzzTarget[] = TEXTS.map(({ name, codes, examples, words, read }) => ({
  name: `text-${name}`,
  codes,
  short: { runs: 2000, meets: ['ok', ...codes.slice(0, 1)] },
  words,
  make: (random) => Buffer.from(random.pick(examples)),
  run: (input) => read(input.toString('utf8')),
}));
