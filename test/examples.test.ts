/** The examples run, as root and without, and do what they say; the documents' tables and commands are the program's. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { machineImage } from '../examples/machine-image.js';
import { optionName, SETTINGS, type SettingName, variableName } from '../src/config.js';
import { openLarder } from '../src/index.js';
import { mountsUnder } from '../src/linux/mountinfo.js';
import { type FakeRegistry, startRegistry } from '../src/testing/fake-registry.js';
import { CHECKOUT } from './checkout.js';
import { openToOthers } from './helpers/open-checkout.js';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;

let registry: FakeRegistry;
let directory: string;

before(async () => {
  registry = await startRegistry({ images: [{ name: 'demo/shell', tag: 'latest', ...machineImage() }] });
  directory = mkdtempSync(join(tmpdir(), 'larder-examples-'));
});

after(async () => {
  await registry.close();
  rmSync(directory, { recursive: true, force: true });
});

test('every example but the demonstration, which is run by itself, is run here', () => {
  assert.deepEqual(readdirSync(join(CHECKOUT, 'examples')).sort(), [
    'custom-backend.ts',
    'demo.ts',
    'machine-image.ts',
    'prune-on-a-timer.ts',
    'pull-and-mount.ts',
    'read-without-mounting.ts',
  ]);
});

test('pull-and-mount shows a root filesystem, refuses a second of its name, and leaves a clean store', async () => {
  const root = join(directory, 'pull-and-mount');
  const { stdout } = await run(process.execPath, [programOf('pull-and-mount'), referenceOf(), root]);
  assert.match(stdout, /^layer sha256:[0-9a-f]{64}: \d+ entries$/m);
  assert.match(stdout, /demo\/shell:latest: 2 layers, runs \["\/bin\/sh"/);
  assert.match(stdout, /containers\/example\/rootfs \((erofs|overlay|copy)\): bin .*etc/);
  assert.match(stdout, /^a second container of this name is refused$/m);
  await expectClean(root, []);
});

test('pull-and-mount without root copies, and says what could not be kept', { skip: needsRoot() }, async () => {
  const root = mkdtempSync(join(tmpdir(), 'larder-examples-nobody-'));
  try {
    const script =
      'process.setgroups([]); process.setgid(65534); process.setuid(65534); await import(process.argv[1]);';
    await run('chown', ['65534:65534', root]);
    const argv = ['--input-type=module', '-e', script, openToOthers(programOf('pull-and-mount')), referenceOf(), root];
    const { stdout } = await run(process.execPath, argv, { env: { ...process.env, HOME: root } });
    assert.match(stdout, /rootfs \(copy\): bin/);
    assert.match(stdout, /^\d+ files belong to you instead of the owner in the image\.$/m);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test('read-without-mounting reads a file and finds the largest ones', async () => {
  const root = join(directory, 'read-without-mounting');
  const { stdout } = await run(process.execPath, [programOf('read-without-mounting'), referenceOf(), root]);
  assert.match(stdout, /^NAME="larder demo"$/m);
  assert.match(stdout, /^\d+ files, the largest:\n( +\d+ {2}[0-9a-f]{16} {2}lib.+\n){3}/m);
  await expectClean(root, []);
});

test('prune-on-a-timer forgets what is not to be kept, and ends when it is told to', async () => {
  const root = join(directory, 'prune');
  {
    await using larder = await openLarder({ root });
    await using _image = await larder.pull(referenceOf());
  }
  const keeping = await pruneFor(root, [referenceOf()]);
  assert.match(keeping, /^0 images and 0 layers gone/);
  await expectClean(root, [referenceOf()]);
  assert.match(await pruneFor(root, []), /^1 images and 2 layers gone, \d+ bytes free/);
  await expectClean(root, []);
});

test('docs/operating.md has every setting with its variable and its option', () => {
  const text = readFileSync(join(CHECKOUT, 'docs/operating.md'), 'utf8');
  const documented = [...text.matchAll(/^\| `([a-z_]+)` \| `(LARDER_[A-Z_]+)` \| `(--[a-z-]+)` \|/gm)].map(
    ([, ...names]) => names,
  );
  const names = Object.keys(SETTINGS) as SettingName[];
  assert.deepEqual(
    documented,
    names.map((name) => [name, variableName(name), optionName(name)]),
  );
});

test('the README’s code is that of an example', () => {
  const readme = readFileSync(join(CHECKOUT, 'README.md'), 'utf8');
  const [, code = ''] = /```ts\n([\s\S]*?)```/.exec(readme) ?? [];
  const statements = code.split('\n').filter((line) => line !== '' && !line.startsWith('import '));
  assert.ok(statements.length > 4, 'the README shows the library');
  const examples = ['pull-and-mount', 'read-without-mounting', 'demo'].map((name) =>
    readFileSync(join(CHECKOUT, 'examples', `${name}.ts`), 'utf8'),
  );
  const shape = (line: string): string => /\b(?:larder|image\.fs)\.\w+\(|openLarder\(/.exec(line)?.[0] ?? '';
  for (const line of statements) {
    assert.notEqual(shape(line), '', `${line}: calls the library`);
    assert.ok(
      examples.some((text) => text.includes(shape(line))),
      `${line}: no example does it`,
    );
  }
});

// Registers its cases here: the suite of backends, over the example's backend.
await import('../examples/custom-backend.js');

function programOf(name: string): string {
  return fileURLToPath(new URL(`../examples/${name}.js`, import.meta.url));
}

function referenceOf(): string {
  return `${registry.host}/demo/shell:latest`;
}

function needsRoot(): string | false {
  return isRoot ? false : 'needs root: becomes another user';
}

/** Its first line of output; it is then told to end, and must do so by itself. */
async function pruneFor(root: string, keep: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [programOf('prune-on-a-timer'), root, '60', ...keep], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const [first] = (await once(child.stdout, 'data')) as [Buffer];
  child.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
  return first.toString();
}

async function expectClean(root: string, images: readonly string[]): Promise<void> {
  await using larder = await openLarder({ root });
  if (images.length > 0) {
    assert.deepEqual(
      larder.images().map((image) => image.reference),
      images,
    );
  }
  assert.deepEqual(larder.containers(), []);
  assert.deepEqual(mountsUnder(root), []);
  for await (const finding of larder.check({ deep: true })) assert.fail(`${finding.subject}: ${finding.message}`);
}
