import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { prepareRoot } from '../src/store-root.js';
import { makeDirectory, removeDirectory } from './helpers/temporary.js';

describe("a store's root", () => {
  let directory: string;
  let root: string;

  beforeEach(() => {
    directory = makeDirectory();
    root = join(directory, 'a', 'b');
  });
  afterEach(() => removeDirectory(directory));

  const modeOf = (path: string): number => statSync(path).mode & 0o777;

  test('is made for us alone, with its format', async () => {
    assert.equal(await prepareRoot(root), root);
    assert.equal(modeOf(root), 0o700);
    assert.equal(readFileSync(join(root, 'format'), 'utf8'), '1\n');
    assert.equal(await prepareRoot(root), root);
  });

  test('may be an empty directory, or a new file system’s', async () => {
    mkdirSync(join(root, 'lost+found'), { recursive: true });
    chmodSync(root, 0o755);
    await prepareRoot(root);
    assert.equal(modeOf(root), 0o700);
  });

  test('is known by its real path', async () => {
    await prepareRoot(root);
    symlinkSync(root, join(directory, 'link'));
    assert.equal(await prepareRoot(join(directory, 'link')), root);
  });

  test('is not what has other things in it, and nothing is written there', async () => {
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'x'), '');
    await assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE', message: /not empty \(it has x\)/ });
    assert.deepEqual(readdirSync(root), ['x']);
  });

  for (const mode of [0o770, 0o707, 0o750, 0o701]) {
    test(`is refused when others can enter it: ${mode.toString(8)}`, async () => {
      await prepareRoot(root);
      chmodSync(root, mode);
      await assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE', hint: `run: chmod 700 ${root}` });
    });
  }

  for (const text of ['2\n', '0', 'one', '', '1 or 2', '1'.repeat(100)]) {
    test(`of the format ${JSON.stringify(text.slice(0, 10))} is refused`, async () => {
      await prepareRoot(root);
      chmodSync(join(root, 'format'), 0o600);
      writeFileSync(join(root, 'format'), text);
      await assert.rejects(prepareRoot(root), { code: 'LARDER_FORMAT_VERSION' });
    });
  }

  const others: Record<string, (path: string) => unknown> = {
    'a directory': (path) => mkdirSync(path),
    'a pipe that nobody writes to': (path) => execFileSync('mkfifo', [path]),
    'a link to such a file': (path) => {
      writeFileSync(join(directory, 'one'), '1\n');
      symlinkSync(join(directory, 'one'), path);
    },
  };
  for (const [what, make] of Object.entries(others)) {
    test(`whose format is ${what} is refused`, async () => {
      mkdirSync(root, { recursive: true });
      make(join(root, 'format'));
      await assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE', message: /not a regular file/ });
    });
  }

  test('where a file is, is refused', async () => {
    writeFileSync(join(directory, 'file'), '');
    await assert.rejects(prepareRoot(join(directory, 'file')), { name: 'LarderError' });
    await assert.rejects(prepareRoot(join(directory, 'file', 'below')), { name: 'LarderError' });
  });
});
