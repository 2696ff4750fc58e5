/** A file that a setting or a hosts.toml names and that is not there is a mistake in it, and no fault of larder's own. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { readPlainFile } from '../../src/linux/plain-file.js';
import { readCertificates } from '../../src/registry/certificates.js';
import { endpointsByHostsToml } from '../../src/registry/hosts/hosts-toml.js';
import { parseReference } from '../../src/spec/reference.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

it('a hosts.toml that names certificates that are not there is refused as such', async () => {
  const directory = makeDirectory();
  try {
    mkdirSync(join(directory, 'reg.example'));
    writeFileSync(join(directory, 'reg.example', 'hosts.toml'), '[host."a"]\nca = "cA.pem"\n');
    const reading = endpointsByHostsToml(directory, parseReference('reg.example/x'));
    await assert.rejects(reading, { code: 'LARDER_CONFIG_INVALID', message: /cA\.pem: there is no such file$/ });
  } finally {
    removeDirectory(directory);
  }
});

it('so are registry_ca_files, and a path that no file can have', async () => {
  await assert.rejects(readCertificates(['/nonexistent/ca.pem']), { code: 'LARDER_CONFIG_INVALID' });
  const how = { doing: 'test', code: 'LARDER_CONFIG_INVALID', maxBytes: 1 } as const;
  for (const path of ['a\0b', `/${'x'.repeat(256)}`, '/etc/passwd/x']) {
    assert.throws(() => readPlainFile(path, how), { code: 'LARDER_CONFIG_INVALID' }, path);
  }
});
