/** The two documents that say where images come from: registries.conf and hosts.toml. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Endpoint } from '../../../src/registry/hosts/endpoint.js';
import { endpointsByHostsToml } from '../../../src/registry/hosts/hosts-toml.js';
import {
  EMPTY_CONF,
  endpointsByConf,
  mergeRegistriesConf,
  parseRegistriesConf,
} from '../../../src/registry/hosts/registries-conf.js';
import { parseToml } from '../../../src/registry/hosts/toml-file.js';
import { parseReference } from '../../../src/spec/reference.js';
import type { FuzzTarget } from '../target.js';

const REFERENCES = ['alpine', 'reg.example:5000/team/app:1', `a.b.example/x@sha256:${'d'.repeat(64)}`].map(
  parseReference,
);
const CODES = ['LARDER_CONFIG_INVALID', 'LARDER_POLICY_DENIED', 'LARDER_REFERENCE_INVALID'] as const;
const WORDS = [
  '[[',
  ']]',
  '[',
  ']',
  '"',
  "'''",
  '=',
  '\n',
  '#',
  '*.',
  'true',
  '1979-05-27',
  '0x',
  '{',
  '}',
  '\\u0000',
  '..',
  '__proto__',
];

const CONF = `unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io/library"
location = "mirror.example/hub"
blocked = false
[[registry.mirror]]
location = "127.0.0.1:5000/x"
insecure = true
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.example"
mirror-by-digest-only = true
[aliases]
a = "docker.io/library/a"
`;

export const registriesConfTarget: FuzzTarget = {
  name: 'registries-conf',
  codes: CODES,
  short: { runs: 800, meets: ['ok', 'LARDER_CONFIG_INVALID'] },
  words: [...WORDS, 'prefix = ', 'location = ', '[[registry]]\n', '[[registry.mirror]]\n', 'blocked = true\n'],
  make: () => Buffer.from(CONF),
  async run(input) {
    const document = await parseToml(input.toString('utf8'), 'fuzz', 'fuzz');
    const conf = mergeRegistriesConf(EMPTY_CONF, parseRegistriesConf(document, 'fuzz'));
    return REFERENCES.map((reference) => sound(endpointsByConf(conf, reference)));
  },
};

const HOSTS = `server = "https://reg.example:5000"
[host."http://127.0.0.1:5000/v2/x"]
  capabilities = ["pull", "resolve"]
  override_path = true
  skip_verify = true
  dial_timeout = "3s"
  [host."http://127.0.0.1:5000/v2/x".header]
    x-y = ["a", "b"]
[host."mirror.example"]
  ca = "ca.pem"
`;

export function openHostsTomlTarget(): FuzzTarget {
  const root = mkdtempSync(join(tmpdir(), 'larder-fuzz-hosts-'));
  const directory = join(root, 'reg.example:5000');
  mkdirSync(directory);
  writeFileSync(join(directory, 'ca.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  return {
    name: 'hosts-toml',
    codes: CODES,
    short: { runs: 200, meets: ['ok', 'LARDER_CONFIG_INVALID'] },
    words: [...WORDS, 'server = ', '[host."', 'header', 'client = ', 'ca = ', '/etc/hostname', 'https://', 'http://'],
    make: () => Buffer.from(HOSTS),
    async run(input) {
      writeFileSync(join(directory, 'hosts.toml'), input);
      return sound((await endpointsByHostsToml(root, REFERENCES[1] ?? parseReference('x'))) ?? []);
    },
    close: () => rmSync(root, { recursive: true }),
  };
}

/** What a request is made of must be a URL that leads where the endpoint says. */
function sound(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  for (const { server, repository } of endpoints) {
    const url = new URL(`https://${server.host}${server.apiRoot}/${repository}/manifests/latest`);
    assert.equal(url.username, '');
    assert.equal(url.hash + url.search, '');
    assert.ok(url.pathname.endsWith(`/${repository}/manifests/latest`), url.href);
    for (const [name, value] of Object.entries(server.headers)) new Headers([[name, value]]);
  }
  return endpoints;
}
