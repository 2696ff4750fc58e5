/** The table of promises in docs/security.md, and short forms of the commands that are here. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CHECKOUT } from '../checkout.js';
import { needsRoot } from '../helpers/temporary.js';
import { PROMISES } from './promises.js';

const PAGE = readFileSync(join(CHECKOUT, 'docs', 'security.md'), 'utf8');
const ROW = /^\| (P\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| `([^`|]+)` \|$/gm;

test('docs/security.md promises what the commands show, row by row', () => {
  const rows = [...PAGE.matchAll(ROW)].map(([, promise, what, promised, , command]) => ({
    promise,
    what,
    promised,
    command,
  }));
  assert.deepEqual(
    rows,
    PROMISES.map(({ promise, what, promised, command }) => ({ promise, what, promised, command })),
  );
});

test('every promise from P1 to P22 has a command', () => {
  const names = [...new Set(PROMISES.map(({ promise }) => promise))];
  assert.deepEqual(
    names,
    Array.from({ length: 22 }, (_, i) => `P${i + 1}`),
  );
});

test('every command is one that is here', () => {
  const { scripts } = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')) as {
    scripts: Readonly<Record<string, string>>;
  };
  const missing = PROMISES.flatMap(({ command }) => {
    const script = /^npm (?:run )?([a-z]+)/.exec(command)?.[1];
    const program = /dist\/test\/\S+\.js/.exec(command)?.[0];
    const isHere =
      script === undefined ? program !== undefined && existsSync(join(CHECKOUT, program)) : script in scripts;
    return isHere ? [] : [command];
  });
  assert.deepEqual(missing, []);
});

test('a figure that a command does not print is none', () => {
  for (const { promise, measured } of PROMISES) assert.equal(measured('nothing of that'), undefined, promise);
});

for (const [what, ...args] of [
  ['a zstd of 10 GiB in one file is refused within the memory that is promised', 'memory', 'zstd of 10 GiB of zeros'],
  ['bombs of 1 TiB are refused within the disk that is promised, and leave nothing', 'disk', 'in files'],
  ['marks that hide a large directory again and again take linear time', 'time', '--short', 'again and again over'],
  [
    'a copy of the code that syncs nothing pulls',
    'durability',
    '--mib',
    '8',
    '--files',
    '100',
    '--rounds',
    '1',
    '--most',
    '1000',
  ],
  ['no package but decompressors sees the bytes of layers', 'surface', '--offline'],
] as const) {
  test(what, { skip: needsRoot }, async () => {
    const [program, ...rest] = args;
    await promisify(execFile)(process.execPath, [fileURLToPath(new URL(`./${program}.js`, import.meta.url)), ...rest]);
  });
}
