/**
 * `npm test [-- [--unit] [PART…]]`: sets the checkout up, runs every compiled test (or those whose path contains one
 * of the parts) with node:test, says what was skipped and why, and ends with node's own closing lines. `--unit` adds
 * to the parts all tests but those that start whole programs.
 *
 * LARDER_TEST_REQUIRE_ALL=1 makes a skipped test a failure: for machines that have everything.
 */
import { join, relative, sep } from 'node:path';
import { run } from 'node:test';
import { filesBelow, ROOT, setup } from './setup.mjs';
import { TestReport } from './test-report.mjs';

const MINUTES = 60_000;
/** Tests that start whole programs come last: the quick ones say first what is wrong. */
const SLOW = ['architecture', 'docs', 'crash', 'hostile', 'fuzz', 'e2e'];

setup();
const unit = process.argv.includes('--unit');
const parts = process.argv.slice(2).filter((word) => word !== '--unit');
const files = testFiles();
if (files.length === 0) {
  console.error(`test: ${parts.join(' ') || 'dist/test'}: no test file`);
  process.exit(2);
}
const report = new TestReport({ root: ROOT, requireAll: process.env['LARDER_TEST_REQUIRE_ALL'] === '1' });
for await (const event of run({ files, concurrency: 2, timeout: 10 * MINUTES })) report.take(event);
process.exitCode = report.finish();

/** All `*.test.js` but fixtures and the long forms of fuzz tests, which run by themselves. */
function testFiles() {
  return filesBelow(join(ROOT, 'dist', 'test'))
    .filter((path) => path.endsWith('.test.js') && !path.endsWith('.long.test.js'))
    .filter((path) => !path.split(sep).includes('fixtures'))
    .filter(
      (path) => (parts.length === 0 && !unit) || (unit && rank(path) < 0) || parts.some((part) => path.includes(part)),
    )
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

function rank(path) {
  const folder = relative(join(ROOT, 'dist', 'test'), path)
    .split(sep)[0]
    .replace('.test.js', '');
  return SLOW.indexOf(folder);
}
