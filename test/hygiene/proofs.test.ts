/** What docs/security.md calls proven has a test of that name. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT } from '../checkout.js';

const LINES = readFileSync(join(CHECKOUT, 'docs', 'security.md'), 'utf8').split('\n');
const PROVEN = /\| `((?:test|src)\/[^`]+)`: (`[^`]+`(?:, `[^`]+`)*) \|$/;

test('every proof that docs/security.md names is there', () => {
  const proofs = LINES.flatMap((line) => [PROVEN.exec(line)].filter((found) => found !== null));
  assert.ok(proofs.length > 60, `${proofs.length} proofs`);
  const missing = proofs.flatMap(([, path = '', texts = '']) => {
    const full = join(CHECKOUT, path);
    const source = existsSync(full) ? readFileSync(full, 'utf8') : '';
    return [...texts.matchAll(/`([^`]+)`/g)].flatMap(([, text = '']) =>
      source.includes(text) ? [] : [`${path}: ${text}`],
    );
  });
  assert.deepEqual(missing, []);
});

test('of who is sent a login and who is not, at least forty cases are proven', () => {
  const numbers = LINES.filter((line) => PROVEN.test(line)).flatMap((line) => /^\| (\d+) \|/.exec(line)?.[1] ?? []);
  assert.deepEqual(
    numbers,
    numbers.map((_, i) => String(i + 1)),
  );
  assert.ok(numbers.length >= 40, `${numbers.length} cases`);
});
