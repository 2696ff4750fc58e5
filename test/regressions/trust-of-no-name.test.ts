import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAppcTrust } from '../../src/config-documents.js';

test('keys for what no image can be called are refused: they would let every image pass', () => {
  for (const prefix of [
    'Example.com',
    'https://example.com/',
    'appc:example.com',
    'example.com/*',
    '/',
    'example.com//',
  ])
    assert.throws(() => parseAppcTrust({ keys: { [prefix]: ['/k'] } }, 'appc_trust'), {
      code: 'LARDER_FLAGS_INVALID',
      message: /no image has a name that begins with this/,
    });
  for (const prefix of ['', 'example.com', 'example.com/', 'example.com/a'])
    assert.deepEqual(parseAppcTrust({ keys: { [prefix]: ['/k'] } }, 'appc_trust').keys, { [prefix]: ['/k'] });
});
