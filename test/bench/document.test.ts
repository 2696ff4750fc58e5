/** `npm run bench -- document`: a page's tables are those of the newest results. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { figure, writeJson } from '../../bench/result.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const DOCUMENT = fileURLToPath(new URL('../../bench/document.js', import.meta.url));
const MACHINE = { kernel: '6.18', cpu: 'one', cores: 2, memoryGiB: 8, node: 'v20', fileSystem: 'ext4' };
const MARKS = '<!-- begin peers -->\n<!-- end peers -->\n<!-- begin figures -->\nold\n<!-- end figures -->\n';

describe('npm run bench -- document', () => {
  let directory: string;
  let results: string;
  let page: string;
  beforeEach(() => {
    directory = makeDirectory();
    results = join(directory, 'results');
    mkdirSync(results);
    page = join(directory, 'page.md');
  });
  afterEach(() => removeDirectory(directory));

  function record(name: string, when: string, ms: number): void {
    const figures = [figure('copy', 'ms', ms, { reference: 'tar' }), figure('tar', 'ms', 100)];
    writeJson(join(results, name), { bench: 'files', when, machine: MACHINE, figures });
  }

  function document() {
    return spawnSync(process.execPath, [DOCUMENT, '--results', results, '--page', page], { encoding: 'utf8' });
  }

  test('takes the newest result and keeps what is outside of the marks', () => {
    record('b.json', '2026-01-01T00:00:00Z', 80);
    record('a.json', '2026-01-02T00:00:00Z', 50);
    writeFileSync(page, `before\n${MARKS}after\n`);
    assert.equal(document().status, 0);
    const text = readFileSync(page, 'utf8');
    assert.match(text, /^before\n/);
    assert.match(text, /after\n$/);
    assert.match(text, /\| copy \| 50 ms \| 50 ms to 50 ms \| 0\.50× tar \|/);
    assert.doesNotMatch(text, /old|80 ms/);
  });

  test('changes nothing the second time', () => {
    record('a.json', '2026-01-01T00:00:00Z', 80);
    writeFileSync(page, MARKS);
    document();
    const once = readFileSync(page, 'utf8');
    document();
    assert.equal(readFileSync(page, 'utf8'), once);
  });

  test('refuses a page without the marks', () => {
    writeFileSync(page, 'nothing\n');
    const { status, stderr } = document();
    assert.notEqual(status, 0);
    assert.match(stderr, /no <!-- begin peers -->/);
  });
});
