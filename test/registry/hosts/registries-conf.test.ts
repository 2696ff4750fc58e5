import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'smol-toml';
import {
  EMPTY_CONF,
  endpointsByConf,
  mergeRegistriesConf,
  parseRegistriesConf,
} from '../../../src/registry/hosts/registries-conf.js';
import { parseReference } from '../../../src/spec/reference.js';

const DIGEST = `sha256:${'a'.repeat(64)}`;

function conf(...documents: readonly string[]) {
  let merged = EMPTY_CONF;
  for (const [i, text] of documents.entries())
    merged = mergeRegistriesConf(merged, parseRegistriesConf(parse(text), `${i}.conf`));
  return merged;
}

/** `host/repository` of each place, with a `!` where it may be insecure. */
function places(text: string | readonly string[], reference: string): string[] {
  const documents = typeof text === 'string' ? [text] : text;
  return endpointsByConf(conf(...documents), parseReference(reference)).map(
    ({ server, repository }) => `${server.insecure ? '!' : ''}${server.host}/${repository}`,
  );
}

test('a reference that no prefix covers is asked for where it says', () => {
  const text = '[[registry]]\nprefix = "quay.io/team"\nlocation = "mirror.example/x"';
  assert.deepEqual(places(text, 'quay.io/other/app'), ['quay.io/other/app']);
  assert.deepEqual(places(text, 'quay.io/teams/app'), ['quay.io/teams/app']);
  assert.deepEqual(places(text, 'alpine'), ['registry-1.docker.io/library/alpine']);
});

test('the location takes the place of the prefix, with a path or without', () => {
  const text = `
    [[registry]]
    prefix = "quay.io/team"
    location = "internal.example:5000/copies/quay/"
    [[registry]]
    prefix = "docker.io"
    location = "hub.example"`;
  assert.deepEqual(places(text, 'quay.io/team/app:1'), ['internal.example:5000/copies/quay/app']);
  assert.deepEqual(places(text, 'alpine:3'), ['hub.example/library/alpine']);
});

test('the longest prefix decides', () => {
  const text = `
    [[registry]]
    location = "quay.io"
    [[registry.mirror]]
    location = "all.example"
    [[registry]]
    prefix = "quay.io/team/app"
    location = "one.example/app"
    [[registry]]
    prefix = "quay.io/team"
    location = "team.example"`;
  assert.deepEqual(places(text, 'quay.io/team/app:1'), ['one.example/app']);
  assert.deepEqual(places(text, 'quay.io/team/other'), ['team.example/other']);
  assert.deepEqual(places(text, 'quay.io/x/y'), ['all.example/x/y', 'quay.io/x/y']);
});

test('a prefix may be one tag or one digest', () => {
  const text = `[[registry]]\nprefix = "quay.io/a/b:1"\nlocation = "m.example/a/b:1"`;
  assert.deepEqual(places(text, 'quay.io/a/b:1'), ['m.example/a/b']);
  assert.deepEqual(places(text, 'quay.io/a/b:12'), ['quay.io/a/b']);
});

test('a host does not stand for the registries on its other ports', () => {
  const text = '[[registry]]\nprefix = "reg.example"\nlocation = "m.example"';
  assert.deepEqual(places(text, 'reg.example:5000/a'), ['reg.example:5000/a']);
});

test('a wildcard covers subdomains, and rewrites only where it has a location', () => {
  const bare = '[[registry]]\nprefix = "*.example.com"\ninsecure = true';
  assert.deepEqual(places(bare, 'a.b.example.com/x'), ['!a.b.example.com/x']);
  assert.deepEqual(places(bare, 'a.example.com:5000/x'), ['!a.example.com:5000/x']);
  assert.deepEqual(places(bare, 'example.com/x'), ['example.com/x']);
  assert.deepEqual(places(bare, 'badexample.com/x'), ['badexample.com/x']);
  const moved = '[[registry]]\nprefix = "*.example.com"\nlocation = "m.example/all"';
  assert.deepEqual(places(moved, 'a.example.com/x:1'), ['m.example/all/x']);
});

test('mirrors come first, in order, each with its own insecure, the registry last', () => {
  const text = `
    [[registry]]
    location = "docker.io"
    [[registry.mirror]]
    location = "one.example:5000"
    insecure = true
    [[registry.mirror]]
    location = "two.example/hub"`;
  assert.deepEqual(places(text, 'alpine'), [
    '!one.example:5000/library/alpine',
    'two.example/hub/library/alpine',
    'registry-1.docker.io/library/alpine',
  ]);
});

test('a mirror for digests or for tags is asked only for an image that was named so', () => {
  const text = `
    [[registry]]
    location = "quay.io"
    [[registry.mirror]]
    location = "digests.example"
    pull-from-mirror = "digest-only"
    [[registry.mirror]]
    location = "tags.example"
    pull-from-mirror = "tag-only"`;
  assert.deepEqual(places(text, 'quay.io/a/b:1'), ['tags.example/a/b', 'quay.io/a/b']);
  assert.deepEqual(places(text, `quay.io/a/b@${DIGEST}`), ['digests.example/a/b', 'quay.io/a/b']);
  const old =
    '[[registry]]\nlocation = "quay.io"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "m.example"';
  assert.deepEqual(places(old, 'quay.io/a/b:1'), ['quay.io/a/b']);
  assert.deepEqual(places(old, `quay.io/a/b@${DIGEST}`), ['m.example/a/b', 'quay.io/a/b']);
});

test('what is blocked is refused with the file that says so', () => {
  const text = '[[registry]]\nprefix = "evil.example/team"\nblocked = true';
  assert.throws(() => places(text, 'evil.example/team/app'), {
    code: 'LARDER_POLICY_DENIED',
    message: 'pull: evil.example/team/app:latest: blocked by 0.conf',
  });
  assert.deepEqual(places(text, 'evil.example/fine'), ['evil.example/fine']);
});

test('a later document replaces the registry of the same prefix, whole', () => {
  const first = '[[registry]]\nlocation = "quay.io"\nblocked = true\n[[registry.mirror]]\nlocation = "m.example"';
  assert.deepEqual(places([first, '[[registry]]\nlocation = "quay.io"'], 'quay.io/a'), ['quay.io/a']);
  assert.throws(() => places([first, '[[registry]]\nlocation = "other.io"'], 'quay.io/a'), {
    code: 'LARDER_POLICY_DENIED',
  });
});

test('search lists and aliases are read and change no name', () => {
  const merged = conf('unqualified-search-registries = ["fedora.example"]\n[aliases]\nalpine = "evil.example/alpine"');
  assert.deepEqual(merged.unqualifiedSearch, ['fedora.example']);
  assert.equal(merged.aliases['alpine'], 'evil.example/alpine');
  const [only] = endpointsByConf(merged, parseReference('alpine'));
  assert.equal(only?.server.host, 'registry-1.docker.io');
});

for (const [what, text, message] of [
  ['version 1', '[registries.search]\nregistries = ["docker.io"]', /version 1/],
  ['a URL for a location', '[[registry]]\nlocation = "https://quay.io"', /"https:\/\/quay.io" is not host/],
  ['a registry without a name', '[[registry]]\ninsecure = true', /neither a prefix nor a location/],
  ['a wildcard with a path', '[[registry]]\nprefix = "*.example.com/a"', /is not \*\.domain/],
  [
    'a mirror without a location',
    '[[registry]]\nlocation = "a.io"\n[[registry.mirror]]\ninsecure = true',
    /no location/,
  ],
  [
    'an unknown pull-from-mirror',
    '[[registry]]\nlocation = "a.io"\n[[registry.mirror]]\nlocation = "b.io"\npull-from-mirror = "never"',
    /pull-from-mirror/,
  ],
  [
    'both ways of saying by digest',
    '[[registry]]\nlocation = "a.io"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "b.io"\npull-from-mirror = "all"',
    /has both/,
  ],
  ['a text where a flag belongs', '[[registry]]\nlocation = "a.io"\nblocked = "no"', /registry\.0\.blocked/],
] as const) {
  test(`${what} is refused`, () => {
    assert.throws(() => conf(text), { code: 'LARDER_CONFIG_INVALID', message });
  });
}

test('a location that makes no name is the file’s fault', () => {
  assert.throws(() => places('[[registry]]\nprefix = "quay.io"\nlocation = "mirror"', 'quay.io/a'), {
    code: 'LARDER_CONFIG_INVALID',
    message: /0\.conf: the location "mirror" makes no name of quay\.io\/a:latest/,
  });
});
