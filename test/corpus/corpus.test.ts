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
