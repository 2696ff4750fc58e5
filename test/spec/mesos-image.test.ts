import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { parseMesosImage, parseMesosSecret } from '../../src/spec/mesos-image.js';

const image = (value: unknown) => parseMesosImage(value, { doing: 'test' });
const secret = (value: unknown) => parseMesosSecret(value, { doing: 'test' });

describe('an image in Mesos’s JSON', () => {
  it('of Docker has a name, and perhaps a config', () => {
    assert.deepEqual(image({ type: 'DOCKER', docker: { name: 'alpine' } }), { type: 'docker', name: 'alpine' });
    const config = { type: 'REFERENCE', reference: { name: 'file:/x', key: 'k' } };
    assert.deepEqual(image({ type: 'DOCKER', cached: false, docker: { name: 'a', config, credential: {} } }), {
      type: 'docker',
      name: 'a',
      cached: false,
      config: { type: 'reference', reference: { name: 'file:/x', key: 'k' } },
    });
  });
  it('of Appc has a name, an id and labels', () => {
    const labels = {
      labels: [{ key: 'version', value: '1' }, { key: 'flag' }],
    };
    const id = `sha512-${'a'.repeat(128)}`;
    assert.deepEqual(image({ type: 'APPC', appc: { name: 'example.com/a', id, labels } }), {
      type: 'appc',
      name: 'example.com/a',
      id,
      labels: { version: '1', flag: '' },
    });
    assert.deepEqual(image({ type: 'APPC', appc: { name: 'a', labels: {} } }), { type: 'appc', name: 'a', labels: {} });
  });
  it('takes null for unset, and leaves unknown keys and the other type’s part alone', () => {
    const value = { type: 'DOCKER', docker: { name: 'a', config: null }, appc: null, cached: null, other: 1 };
    assert.deepEqual(image(value), { type: 'docker', name: 'a' });
    const both = { type: 'APPC', docker: { name: 'a' }, appc: { name: 'b', id: null, labels: null } };
    assert.deepEqual(image(both), { type: 'appc', name: 'b' });
  });
  for (const bad of [
    null,
    [],
    'alpine',
    {},
    { docker: { name: 'a' } },
    { type: 'docker', docker: { name: 'a' } },
    { type: 'DOCKER' },
    { type: 'DOCKER', appc: { name: 'a' } },
    { type: 'DOCKER', docker: {} },
    { type: 'DOCKER', docker: { name: '' } },
    { type: 'DOCKER', docker: { name: 'a' }, cached: 'no' },
    { type: 'DOCKER', docker: { name: 'a', config: {} } },
    { type: 'APPC', appc: { name: 'a', id: 7 } },
    { type: 'APPC', appc: { name: 'a', labels: [] } },
    { type: 'APPC', appc: { name: 'a', labels: { labels: {} } } },
    { type: 'APPC', appc: { name: 'a', labels: { labels: [{ value: 'v' }] } } },
    {
      type: 'APPC',
      appc: {
        name: 'a',
        labels: {
          labels: [
            { key: 'k', value: '1' },
            { key: 'k', value: '2' },
          ],
        },
      },
    },
  ]) {
    it(`like ${JSON.stringify(bad)} is refused`, () =>
      assert.throws(() => image(bad), { code: 'LARDER_REQUEST_INVALID', message: /^test: / }));
  }
  it('is refused with the code that the caller has for it', () => {
    assert.throws(() => parseMesosImage({}, { doing: 'x', code: 'LARDER_FLAGS_INVALID' }), {
      code: 'LARDER_FLAGS_INVALID',
    });
  });
});

describe('a secret in Mesos’s JSON', () => {
  const data = Buffer.from('hunter2 ü').toString('base64');

  it('is a value in base64 or a reference', () => {
    assert.deepEqual(secret({ type: 'VALUE', value: { data } }), { type: 'value', value: 'hunter2 ü' });
    assert.deepEqual(secret({ value: { data } }), { type: 'value', value: 'hunter2 ü' });
    assert.deepEqual(secret({ reference: { name: 'n' } }), { type: 'reference', reference: { name: 'n' } });
  });
  for (const bad of [
    { type: 'VALUE', value: { data: 'hunter2!' } },
    { type: 'VALUE', value: { data: 7 } },
    { type: 'VALUE', value: { data }, reference: { name: 'n' } },
    { type: 'VALUE', reference: { name: 'n' } },
    { type: 'REFERENCE', value: { data } },
    { type: 'UNKNOWN', value: { data } },
    { type: 'REFERENCE', reference: {} },
    {},
  ]) {
    it(`like ${JSON.stringify(bad)} is refused, without its value`, () =>
      assert.throws(
        () => secret(bad),
        (error: Error & { code: string }) => {
          assert.equal(error.code, 'LARDER_REQUEST_INVALID');
          const shown = inspect(error);
          return !shown.includes('hunter2') && !shown.includes(data);
        },
      ));
  }
});
