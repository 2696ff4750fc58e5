/**
 * `generate.mjs DIR COUNT SEED`: COUNT small files of what looks like source text, in packages of 40 files with two
 * folders each; the same for the same seed. Most have one or two kilobytes, some fifty: as in a node_modules.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [directory = '', count = '0', seed = '1'] = process.argv.slice(2);
const words = 'const return function export import value index this result error options await null key name length';
const vocabulary = [...words.split(' '), ...Array.from({ length: 3000 }, (_, i) => `_${(i * 7919).toString(36)}`)];
const common = vocabulary.slice(0, 160);
const marks = [' ', ' ', ' ', '.', '(', ')', ' = ', ', ', ';\n  ', ' {\n', '\n}\n'];
let state = Number(seed) * 2654435761;

/** A number from 0 up to 1. xorshift32: not random, but it looks so to a compressor. */
function random() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

function pick(list) {
  return list[Math.floor(random() * list.length)];
}

function text(bytes) {
  const parts = [];
  for (let length = 0; length < bytes; ) {
    const part = (random() < 0.6 ? pick(common) : pick(vocabulary)) + pick(marks);
    parts.push(part);
    length += part.length;
  }
  return parts.join('');
}

for (let i = 0; i < Number(count); i++) {
  const folder = join(directory, `package-${Math.floor(i / 40)}`, i % 2 === 0 ? 'lib' : 'dist');
  if (i % 40 < 2) mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, `module-${i}.js`),
    text(200 + 1500 * -Math.log(1 - random()) + (random() < 0.05 ? 40_000 : 0)),
  );
}
