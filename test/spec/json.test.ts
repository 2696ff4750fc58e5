import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseJson } from '../../src/spec/json.js';

const limits = { doing: 'test', maxBytes: 1_000_000, code: 'LARDER_MANIFEST_INVALID' } as const;
const parse = (text: string | Uint8Array): unknown => parseJson(Buffer.from(text), limits);

describe('strict JSON', () => {
  it('is what JSON.parse says, for any value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
        const text = JSON.stringify(value);
        if (text.includes('__proto__')) return;
        assert.deepEqual(parse(text), JSON.parse(text));
      }),
      { numRuns: 500 },
    );
  });

  const refused: Readonly<Record<string, string | Uint8Array>> = {
    'a key twice': '{"a":1,"b":2,"a":3}',
    'a key twice in a nested object': '[{"x":{"a":1,"a":1}}]',
    'a key twice, once escaped': '{"a":1,"\\u0061":2}',
    'a key twice after a nested object': '{"a":{"b":[1,{"c":2}]},"a":1}',
    '__proto__ as a key': '{"__proto__":{"polluted":true}}',
    '__proto__ escaped': '{"\\u005f_proto__":1}',
    'a byte order mark': '\ufeff{}',
    'UTF-16': Buffer.from('{}', 'utf16le'),
    'bytes that are not UTF-8': Buffer.from([0x22, 0xff, 0x22]),
    'a trailing comma': '[1,]',
    'two documents': '{} {}',
    nothing: '',
    '65 levels': `${'['.repeat(65)}${']'.repeat(65)}`,
    '100,000 levels': '['.repeat(100_000),
    '100,000 levels of objects': '{"a":'.repeat(100_000),
    'an unterminated string': '{"a',
    'more bytes than allowed': `"${'a'.repeat(1_000_000)}"`,
  };
  for (const [what, text] of Object.entries(refused)) {
    it(`refuses ${what}`, () => assert.throws(() => parse(text), { code: 'LARDER_MANIFEST_INVALID' }));
  }

  it('takes 64 levels, equal keys in different objects, and keys as values', () => {
    assert.ok(parse(`${'['.repeat(64)}${']'.repeat(64)}`));
    assert.deepEqual(parse('[{"a":"a"},{"a":"b"},"a","__proto__"]'), [{ a: 'a' }, { a: 'b' }, 'a', '__proto__']);
    assert.deepEqual(parse('{"a":"}{[\\"","b":"a"}'), { a: '}{["', b: 'a' });
  });
});
