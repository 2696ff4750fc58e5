/** What docs/security.md calls proven has a test of that name. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT } from '../checkout.js';

const LINES = readFileSync(join(CHECKOUT, 'docs', 'security.md'), 'utf8').split('\n');
/** `` `FILE`: `TEXT`, `TEXT` ``, several of them with semicolons between. */
const PROOF = /`((?:test|src)\/[^`]+)`: (`[^`]+`(?:, `[^`]+`)*)/g;
const PROVEN = /\| (`(?:test|src)\/[^`]+`: `[^|]+`) \|$/;

test('every proof that docs/security.md names is there', () => {
  const cells = LINES.flatMap((line) => PROVEN.exec(line)?.[1] ?? []);
  const proofs = cells.flatMap((cell) => {
    const all = [...cell.matchAll(PROOF)];
    assert.equal(all.map(([text]) => text).join('; '), cell);
    return all.flatMap(([, path = '', texts = '']) =>
      [...texts.matchAll(/`([^`]+)`/g)].map(([, text = '']) => ({ path, text })),
    );
  });
  assert.ok(proofs.length > 80, `${proofs.length} proofs`);
  const missing = proofs.filter(({ path, text }) => {
    const full = join(CHECKOUT, path);
    return !existsSync(full) || !readFileSync(full, 'utf8').includes(text);
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
