import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT } from '../checkout.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';
import { runCorpus } from './corpus.js';
import { corpusTable } from './table.js';

test('every case of the corpus becomes what its table says, and nothing outside changes', {
  skip: needsRoot,
}, async (t) => {
  const directory = makeDirectory();
  try {
    const { outcomes, compared, problems } = await runCorpus({ directory, full: false });
    const wrong = outcomes.flatMap(({ id, what, puller, problems: lines }) =>
      lines.map((line) => `${id} ${what} (${puller}): ${line}`),
    );
    assert.deepEqual([...wrong, ...problems], []);
    assert.ok(outcomes.length > 250, `${outcomes.length} cases`);
    for (const [peer, atLeast] of [
      ['umoci', 50],
      ['containerd', 5],
    ] as const) {
      const cases = compared[peer];
      if (cases === undefined) t.diagnostic(`${peer} is not installed: nothing is compared with it`);
      else assert.ok(cases > atLeast, `${cases} cases compared with ${peer}`);
    }
  } finally {
    removeDirectory(directory);
  }
});

test('docs/corpus.md has the table as it is', () => {
  const text = readFileSync(join(CHECKOUT, 'docs', 'corpus.md'), 'utf8');
  const [, documented = ''] = /<!-- cases -->\n(.*)\n<!-- end of cases -->/s.exec(text) ?? [];
  assert.equal(documented, corpusTable(), 'write it again: node dist/test/corpus/table.js');
});

/** As planned, by letter; W goes on where T has numbers twice. */
const PLAN: Readonly<Record<string, readonly [first: number, last: number]>> = {
  T: [1, 120],
  W: [45, 49],
  M: [1, 52],
  A: [1, 19],
  N: [1, 36],
  S: [1, 20],
  C: [1, 14],
};

test('docs/corpus.md says of every case of the plan what becomes of it, where it is, or why it is nowhere', () => {
  const text = readFileSync(join(CHECKOUT, 'docs', 'corpus.md'), 'utf8');
  const cells = text.split('\n').flatMap((line) => /^\| ([^|]*) \|/.exec(line)?.[1] ?? []);
  const named = new Set(cells.flatMap(idsIn));
  const missing = Object.entries(PLAN).flatMap(([letter, [first, last]]) =>
    idsFrom(letter, first, last).filter((id) => !named.has(id)),
  );
  assert.deepEqual(missing, []);
});

/** `T48 to T50` are three. */
function idsIn(cell: string): string[] {
  return [...cell.matchAll(/\b([TWMANSC])(\d+)(?: to \1(\d+))?/g)].flatMap(
    ([, letter = '', first = '', last = first]) => idsFrom(letter, Number(first), Number(last)),
  );
}

function idsFrom(letter: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => `${letter}${first + i}`);
}
