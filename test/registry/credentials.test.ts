import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { isLarderError } from '../../src/errors.js';
import { loadDockerConfig, overlayCredentials, parseDockerConfig } from '../../src/registry/credentials.js';

const auth = (text: string): string => Buffer.from(text).toString('base64');
const parse = (config: unknown) => parseDockerConfig(JSON.stringify(config), 'test');
const who = { username: 'u', password: 'p:w' };

describe('credentials of a config.json', () => {
  it('are found by the exact host, with its port', () => {
    const credentials = parse({
      auths: { 'quay.io': { auth: auth('u:p:w') }, 'r.example:5000': { username: 'u', password: 'p:w' } },
    });
    assert.deepEqual(credentials.find('quay.io'), who);
    assert.deepEqual(credentials.find('quay.io:443'), who);
    assert.deepEqual(credentials.find('r.example:5000'), who);
    for (const other of [
      'quay.io.evil.example',
      'evilquay.io',
      'x.quay.io',
      'quay.io:8443',
      'r.example',
      'r.example:5001',
      'io',
      '',
    ]) {
      assert.equal(credentials.find(other), undefined, other);
    }
  });

  for (const key of [
    'https://index.docker.io/v1/',
    'docker.io',
    'index.docker.io',
    'registry-1.docker.io',
    'https://registry-1.docker.io/v2/',
  ]) {
    it(`under ${key} are Docker Hub's`, () => {
      const credentials = parse({ auths: { [key]: { auth: auth('u:p:w') } } });
      assert.deepEqual(credentials.find('registry-1.docker.io'), who);
      assert.equal(credentials.find('docker.io.evil.example'), undefined);
    });
  }

  it('may stand in the document itself, as they did in .dockercfg', () => {
    const credentials = parse({ 'https://quay.io/v1/': { auth: auth('u:p:w'), email: 'x@y' }, 'r.example:5000': {} });
    assert.deepEqual(credentials.find('quay.io'), who);
    assert.equal(credentials.find('r.example:5000'), undefined);
    assert.equal(parse({ proxies: { default: {} }, HttpHeaders: { a: 'b' } }).find('proxies'), undefined);
    // A config.json with `auths` has all of them there.
    assert.equal(parse({ auths: {}, 'quay.io': { auth: auth('u:p') } }).find('quay.io'), undefined);
  });

  it('of one image come before the default ones, registry by registry', () => {
    const own = parse({ auths: { 'quay.io': { auth: auth('own:1') } }, credHelpers: { 'gcr.io': 'own' } });
    const all = parse({ auths: { 'quay.io': { auth: auth('all:1') }, 'ghcr.io': { auth: auth('all:2') } } });
    const both = overlayCredentials(own, all);
    assert.equal(both.find('quay.io')?.username, 'own');
    assert.equal(both.find('ghcr.io')?.password, '2');
    assert.equal(both.find('gcr.io'), undefined);
    assert.equal(both.helperFor('gcr.io'), 'own');
  });

  it('do not print', () => {
    const credentials = parse({ auths: { 'quay.io': { auth: auth('u:planted') } } });
    assert.ok(
      !`${inspect(credentials, { depth: 9, showHidden: true })}${JSON.stringify(credentials)}`.includes('planted'),
    );
  });

  it('for a part of a registry do not open the rest of it', () => {
    assert.equal(parse({ auths: { 'quay.io/team': { auth: auth('u:p') } } }).find('quay.io'), undefined);
  });

  it('may be empty, or kept by a helper, which is named', () => {
    const credentials = parse({ auths: { 'quay.io': {} }, credsStore: 'desktop', credHelpers: { 'gcr.io': 'gcloud' } });
    assert.equal(credentials.find('quay.io'), undefined);
    assert.equal(credentials.helperFor('gcr.io'), 'gcloud');
    assert.equal(credentials.helperFor('quay.io'), 'desktop');
    assert.equal(parse({}).helperFor('quay.io'), undefined);
  });

  it('that cannot be read are refused, and not quoted', () => {
    for (const text of [
      '{"auths":{"a.b":{"auth":"s3cret"}}',
      '{"auths":[]}',
      '[]',
      `{"auths":{"a.b":{"auth":"${auth('s3cret')}"}}}`,
    ]) {
      assert.throws(
        () => parseDockerConfig(text, 'test'),
        (error) =>
          isLarderError(error, 'LARDER_CONFIG_INVALID') &&
          !JSON.stringify([error.message, error.cause]).includes('s3cret'),
      );
    }
  });

  it('are read from $DOCKER_CONFIG, and none where there is no file', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'larder-credentials-'));
    try {
      assert.equal((await loadDockerConfig({ DOCKER_CONFIG: directory })).find('quay.io'), undefined);
      await writeFile(
        join(directory, 'config.json'),
        JSON.stringify({ auths: { 'quay.io': { auth: auth('u:p:w') } } }),
      );
      assert.deepEqual((await loadDockerConfig({ DOCKER_CONFIG: directory })).find('quay.io'), who);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
