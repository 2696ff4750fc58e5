import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ensureDirectory, fsyncDirectory, unlinkIfThere, writeFileDurable } from '../../src/linux/durable.js';

const root = mkdtempSync(join(tmpdir(), 'larder-durable-'));
after(() => rmSync(root, { recursive: true }));

test('a durable file has the bytes and the mode, and nothing else is left beside it', async () => {
  const directory = join(root, 'write');
  mkdirSync(directory);
  await writeFileDurable(join(directory, 'file'), Buffer.from('bytes'), 0o440);
  assert.equal(readFileSync(join(directory, 'file'), 'utf8'), 'bytes');
  assert.equal(statSync(join(directory, 'file')).mode & 0o777, 0o440);
  assert.deepEqual(readdirSync(directory), ['file']);
});

test('writing again replaces the file', async () => {
  const path = join(root, 'again');
  await writeFileDurable(path, Buffer.from('first, longer'));
  await writeFileDurable(path, Buffer.from('second'));
  assert.equal(readFileSync(path, 'utf8'), 'second');
});

test('a rename that fails leaves no temporary file', async () => {
  const directory = join(root, 'blocked');
  mkdirSync(join(directory, 'target', 'occupied'), { recursive: true });
  await assert.rejects(writeFileDurable(join(directory, 'target'), Buffer.from('x')), /write .*target/);
  assert.deepEqual(readdirSync(directory), ['target']);
});

test('missing parents are made with the mode, and an existing directory is left as it is', async () => {
  const path = join(root, 'a', 'b', 'c');
  assert.equal(await ensureDirectory(path, 0o700), true);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  assert.equal(statSync(join(root, 'a')).mode & 0o777, 0o700);
  assert.equal(await ensureDirectory(path, 0o755), false);
  assert.equal(statSync(path).mode & 0o777, 0o700);
});

test('a file or a dangling symlink in the place of a directory is an error, not a loop', async () => {
  writeFileSync(join(root, 'file'), '');
  symlinkSync('nowhere', join(root, 'dangling'));
  await assert.rejects(ensureDirectory(join(root, 'file')), /EEXIST/);
  await assert.rejects(ensureDirectory(join(root, 'file', 'below')), /ENOTDIR/);
  await assert.rejects(ensureDirectory(join(root, 'dangling', 'below')), /EEXIST/);
});

test('making a directory durable that is not there is an error that names it', async () => {
  await assert.rejects(fsyncDirectory(join(root, 'absent')), /absent/);
});

test('unlinking what is not there is no error', async () => {
  writeFileSync(join(root, 'gone'), '');
  assert.equal(await unlinkIfThere(join(root, 'gone')), true);
  assert.equal(await unlinkIfThere(join(root, 'gone')), false);
});
