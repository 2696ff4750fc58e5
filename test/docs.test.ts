/** What the documents say is so: codes, links, commands; and nothing is in them that belongs elsewhere. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { test } from 'node:test';
import { ERROR_TABLE, KIND_TABLE } from '../src/errors.js';
import { CHECKOUT } from './checkout.js';

const read = (path: string) => readFileSync(join(CHECKOUT, path), 'utf8');

/** Everything that a clone has, and what is about to be in one. */
function projectFiles(): string[] {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: CHECKOUT,
    encoding: 'utf8',
  });
  return list
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(CHECKOUT, path)) && lstatSync(join(CHECKOUT, path)).isFile());
}

/** Code -> kind, from the headings and tables of docs/errors.md. */
function documentedCodes(text: string): Map<string, string> {
  const codes = new Map<string, string>();
  let kind = '';
  for (const line of text.split('\n')) {
    kind = /^## ([a-z-]+):/.exec(line)?.[1] ?? kind;
    const row = /^\| `(LARDER_[A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$/.exec(line);
    if (row === null) continue;
    const [, code = ''] = row;
    assert.ok(!codes.has(code), `${code} is documented twice`);
    codes.set(code, kind);
  }
  return codes;
}

/** Targets of links and images that are files of this project. */
function relativeLinks(markdown: string): string[] {
  const prose = markdown.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(\s*<?([^)\s>]+)/g)]
    .map(([, target]) => target ?? '')
    .filter((target) => !/^([a-z]+:|#)/.test(target));
}

/** The anchors that a Markdown file's headings have. */
function anchorsOf(markdown: string): Set<string> {
  const headings = [...markdown.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.+)$/gm)].map(
    ([, title]) => title ?? '',
  );
  return new Set(
    headings.map((title) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  );
}

function brokenLinks(path: string, markdown: string): string[] {
  return relativeLinks(markdown).filter((link) => {
    const [file = '', anchor] = link.split('#');
    const target = file === '' ? path : posix.normalize(posix.join(dirname(path), decodeURIComponent(file)));
    if (!existsSync(join(CHECKOUT, target))) return true;
    return anchor !== undefined && target.endsWith('.md') && !anchorsOf(read(target)).has(anchor);
  });
}

test('docs/errors.md has every code of the table under its kind, and no other', () => {
  assert.deepEqual(
    Object.fromEntries([...documentedCodes(read('docs/errors.md'))].sort()),
    Object.fromEntries(Object.entries(ERROR_TABLE).sort()),
  );
});

test('docs/errors.md gives each kind its exit status, its HTTP status and whether to retry', () => {
  const text = read('docs/errors.md');
  for (const [kind, { exit, http, retry }] of Object.entries(KIND_TABLE)) {
    const heading = new RegExp(`^## ${kind}: exit ${exit}, HTTP ${http}(.*)$`, 'm').exec(text);
    assert.ok(heading, `${kind}: no heading with exit ${exit} and HTTP ${http}`);
    if (kind !== 'aborted') assert.match(heading[1] ?? '', retry ? /, retry/ : /, do not retry/, kind);
  }
});

test('relative links in Markdown lead somewhere', () => {
  const broken = projectFiles()
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) => brokenLinks(path, read(path)).map((link) => `${path}: ${link}`));
  assert.deepEqual(broken, []);
});

test('the README’s two commands are the package’s', () => {
  const readme = read('README.md');
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  for (const [command, script] of [
    ['npm test', 'test'],
    ['npm run demo', 'demo'],
  ] as const) {
    assert.ok(readme.includes(command), `the README names ${command}`);
    assert.ok(scripts[script], `package.json has ${script}`);
  }
  for (const [, name = ''] of readme.matchAll(/\bnpm run ([a-z:-]+)/g))
    assert.ok(scripts[name], `npm run ${name} exists`);
});

test('.ci/run calls npm test as the README gives it', () => {
  assert.match(read('.ci/run'), /^ +stage test npm test$/m);
});

test('nothing in the project names the place where it was built, or the hosts of package registries', () => {
  // In pieces, so that this file does not name them either.
  const words = [
    ['/work', '/(main|shared|\\.)'],
    ['larder', '-lab'],
    ['HELPER', '\\.md'],
    ['npm', 'js\\.(org|com)'],
    ['deb', '\\.debian\\.org'],
    ['node', 'source\\.com'],
    ['py', 'pi\\.org'],
    ['crates', '\\.io'],
    ['proxy\\.go', 'lang\\.org'],
    ['\\b(this|another|an earlier|my) ', 'session\\b'],
  ];
  const forbidden = new RegExp(words.map((pieces) => pieces.join('')).join('|'), 'i');
  const found = projectFiles().flatMap((path) => {
    const line = read(path)
      .split('\n')
      .find((text) => forbidden.test(text));
    return line === undefined ? [] : [`${path}: ${line.trim().slice(0, 120)}`];
  });
  assert.deepEqual(found, []);
});

test('a broken link and a missing heading are found', () => {
  assert.deepEqual(
    brokenLinks(
      'README.md',
      '[a](docs/errors.md) [b](docs/gone.md) [c](docs/errors.md#no-such) [d](https://example.org/x)',
    ),
    ['docs/gone.md', 'docs/errors.md#no-such'],
  );
});

test('a link in code is no link', () => {
  assert.deepEqual(brokenLinks('README.md', '`[a](gone.md)`\n```\n[b](gone.md)\n```\n'), []);
});

test('a code that is documented twice is found', () => {
  assert.throws(() => documentedCodes('| `LARDER_X` | a | b |\n| `LARDER_X` | a | b |'), /twice/);
});
