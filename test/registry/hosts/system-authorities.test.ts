import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { rootCertificates } from 'node:tls';
import { systemAuthorities } from '../../../src/registry/hosts/system-authorities.js';
import { startRegistry } from '../../../src/testing/fake-registry.js';
import { needs } from '../../e2e/tools.js';
import { Authority, type Pair } from '../../helpers/certificates.js';
import { makeDirectory, removeDirectory } from '../../helpers/temporary.js';
import { clientWith, download, IMAGE, LAYER, referenceTo } from '../fixtures.js';

describe('the authorities of this machine', { skip: needs('openssl') }, () => {
  let directory: string;
  let authority: Authority;
  let pair: Pair;
  const given = process.env['SSL_CERT_FILE'];
  before(() => {
    directory = makeDirectory();
    authority = Authority.make(directory);
    pair = authority.issue('server', ['IP:127.0.0.1']);
  });
  after(() => removeDirectory(directory));
  afterEach(() => {
    if (given === undefined) delete process.env['SSL_CERT_FILE'];
    else process.env['SSL_CERT_FILE'] = given;
  });
  const tls = () => ({ key: readFileSync(pair.keyFile, 'utf8'), cert: readFileSync(pair.certFile, 'utf8') });

  it('are trusted beside those that Node brings, and beside those of the settings', async () => {
    await using registry = await startRegistry({ images: [IMAGE], tls: tls() });
    const reference = referenceTo(registry);
    await assert.rejects(clientWith().client.resolve(reference), { message: /no secure connection/ });
    process.env['SSL_CERT_FILE'] = authority.caFile;
    assert.deepEqual(await download(clientWith().client, reference), LAYER);
    mkdirSync(join(directory, 'other'));
    const other = Authority.make(join(directory, 'other'));
    assert.deepEqual(await download(clientWith({ caFiles: [other.caFile] }).client, reference), LAYER);
  });

  it('are only those that Node does not bring', () => {
    const [first = ''] = rootCertificates;
    const bundle = join(directory, 'bundle.pem');
    writeFileSync(bundle, `# a comment\n${first}\n${authority.ca}`);
    assert.equal(systemAuthorities({ SSL_CERT_FILE: bundle }), authority.ca.trim());
    assert.equal(systemAuthorities({ SSL_CERT_FILE: join(directory, 'missing') }), '');
  });
});
