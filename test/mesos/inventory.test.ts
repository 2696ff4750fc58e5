/** The tables of this folder name tests that are there, and lines of SCOPE.md. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT } from '../checkout.js';
import { problemsOf, read, scope, tests, titlesIn } from './counterparts.js';
import { FLAWS } from './flaws.js';
import { INVENTORY } from './inventory.js';

test('every test of Mesos has a counterpart, or SCOPE.md says why not', () => {
  const problems = Object.entries(INVENTORY).flatMap(([name, answer]) =>
    problemsOf(answer).map((problem) => `${name}: ${problem}`),
  );
  assert.deepEqual(problems, []);
});

test('the inventory has as many cases of each of Mesos’s suites as these have', () => {
  const counts = new Map<string, number>();
  for (const name of Object.keys(INVENTORY)) {
    const suite = withoutPrefix(name).split('.')[0] ?? '';
    counts.set(suite, (counts.get(suite) ?? 0) + 1);
  }
  assert.deepEqual(Object.fromEntries(counts), {
    ProvisionerDockerLocalStoreTest: 6,
    ProvisionerDockerTest: 8,
    ProvisionerDockerHdfsTest: 1,
    ProvisionerDockerBackendTest: 3,
    AppcStoreTest: 1,
    ProvisionerAppcTest: 5,
    AppcImageFetcherTest: 2,
    AppcProvisionerIntegrationTest: 1,
    OverlayBackendTest: 2,
    BindBackendTest: 1,
    AufsBackendTest: 2,
    CopyBackendTest: 1,
    ProvisionerPathTest: 1,
    DockerSpecTest: 13,
    AppcSpecTest: 3,
    OCISpecTest: 4,
    CurlFetcherPluginTest: 4,
    HadoopFetcherPluginTest: 3,
    DockerFetcherPluginTest: 5,
    CopyFetcherPluginTest: 3,
    MesosContainerizerProvisionerTest: 3,
    VolumeImageIsolatorTest: 3,
    DockerArchiveTest: 1,
    DockerRuntimeIsolatorTest: 7,
    AuthorizationTest: 1,
    ROOT_XFS_QuotaTest: 1,
    DiskQuotaTest: 1,
  });
});

test('every flaw of Mesos has a test that shows that larder does better, or SCOPE.md says why not', () => {
  const problems = FLAWS.flatMap(({ group, flaw, answer }) =>
    problemsOf(answer).map((problem) => `${group}, ${flaw}: ${problem}`),
  );
  assert.deepEqual(problems, []);
});

test('docs/mesos.md has each group of flaws and each suite of tests', () => {
  const document = read('docs/mesos.md');
  for (const group of new Set(FLAWS.map((flaw) => flaw.group))) {
    assert.match(document, new RegExp(`^\\| ${group} \\|`, 'm'), `group ${group}`);
  }
  for (const name of Object.keys(INVENTORY)) {
    const suite = withoutPrefix(name).split('.')[0] ?? '';
    assert.ok(document.includes(`\`${suite}\``), suite);
  }
});

test('what has the name of a test of Mesos is in the inventory', () => {
  const known = new Set(Object.keys(INVENTORY).map(withoutPrefix));
  const named = testFiles().flatMap((file) =>
    titlesIn(read(file)).flatMap((title) => /^(?:[A-Z]\w+\/)?[A-Z]\w+Test\.\w+/.exec(title)?.[0] ?? []),
  );
  assert.ok(named.length > 40, String(named.length));
  assert.deepEqual(
    named.map(withoutPrefix).filter((name) => !known.has(name)),
    [],
  );
});

test('a test that is not there, and a line that SCOPE.md does not have, are found', () => {
  const file = 'test/mesos/inventory.test.ts';
  assert.equal(problemsOf(tests(file, ['a test that', 'nobody wrote'].join(' '))).length, 1);
  assert.equal(problemsOf([scope('larder makes coffee')]).length, 1);
  assert.equal(problemsOf([]).length, 1);
  assert.deepEqual(problemsOf(tests(file, 'a test that is not there, and a line that SCOPE.md')), []);
});

test('a title is where titles are, not in a comment or in what a test does', () => {
  const source =
    "// test('in a comment', x)\ntest('one', async () => { say('inside'); });\nconst c = { 'two': 1, 'three': 2 };";
  assert.deepEqual(titlesIn(source), ['one', 'two', 'three']);
  assert.deepEqual(titlesIn(['test(`is $', '{what(1)} here`, x)'].join('')), ['is … here']);
});

/** Without the name of a set of parameters. */
function withoutPrefix(name: string): string {
  return name.replace(/^[A-Z]\w+\//, '');
}

function testFiles(): string[] {
  return readdirSync(join(CHECKOUT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts') && !path.endsWith('inventory.test.ts'))
    .map((path) => join('test', path));
}
