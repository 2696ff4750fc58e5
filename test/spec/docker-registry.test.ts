import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseDockerRegistry } from '../../src/spec/docker-registry.js';

describe('the setting docker_registry', () => {
  it('names a registry by its URL', () => {
    const registry = (host: string, plain = false) => ({ kind: 'registry', host, plain });
    assert.deepEqual(parseDockerRegistry('https://r.example'), registry('r.example'));
    assert.deepEqual(parseDockerRegistry('https://r.example:443/'), registry('r.example'));
    assert.deepEqual(parseDockerRegistry('https://r.example:5000'), registry('r.example:5000'));
    assert.deepEqual(parseDockerRegistry('http://r.example'), registry('r.example:80', true));
    assert.deepEqual(parseDockerRegistry('http://[::1]:5000'), registry('[::1]:5000', true));
  });

  it('is Docker Hub when it says so, or nothing', () => {
    for (const text of [undefined, 'https://registry-1.docker.io', 'https://docker.io', 'https://index.docker.io/']) {
      assert.equal(parseDockerRegistry(text), undefined);
    }
  });

  it('names a directory by its absolute path, and one of HDFS by its URL', () => {
    assert.deepEqual(parseDockerRegistry('/srv/images'), { kind: 'directory', path: '/srv/images' });
    assert.deepEqual(parseDockerRegistry('hdfs://x:8020/y'), { kind: 'hdfs', url: 'hdfs://x:8020/y' });
  });

  it('is refused with a path behind the host, with credentials, and as anything else', () => {
    for (const text of [
      'https://r.example/mirror',
      'https://r.example/?x',
      'ftp://r.example',
      'r.example',
      './x',
      '',
    ]) {
      assert.throws(() => parseDockerRegistry(text), { code: 'LARDER_FLAGS_INVALID' }, text);
    }
    assert.throws(
      () => parseDockerRegistry('https://user:secret@r.example'),
      (error: Error) => !error.message.includes('secret'),
    );
  });
});
