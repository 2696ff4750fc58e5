/** GNU tar as the oracle: what it stores of a real tree must read back as lstat(2) and the files themselves say. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expand, readTar, type Seen } from './helpers.js';

const root = process.getuid?.() === 0;
const LONG_DIRECTORY = `${'long-'.repeat(30)}directory`;
const ODD_NAME = Buffer.from('odd-\xff\xfe\n-name', 'latin1');

let work = '';
let tree = '';

before(() => {
  work = fs.mkdtempSync(join(tmpdir(), 'larder-gnu-tar-'));
  tree = join(work, 'tree');
  makeTree();
});

after(() => fs.rmSync(work, { recursive: true, force: true }));

describe('tar reader against GNU tar', () => {
  for (const format of ['posix', 'gnu']) {
    it(`agrees with lstat on everything that --format=${format} stores`, () => {
      compare(create(`--format=${format}`, '.'), format);
    });
  }
  for (const format of ['ustar', 'v7']) {
    it(`agrees with lstat on what --format=${format} can store`, () => {
      compare(create(`--format=${format}`, './plain'), format);
    });
  }

  for (const version of ['0.0', '0.1', '1.0']) {
    it(`reads sparse files of format ${version}`, () => {
      checkSparse(create('--format=posix', '--sparse', `--sparse-version=${version}`, './sparse', './plain'));
    });
  }

  it('reads old GNU sparse files', () => {
    checkSparse(create('--format=gnu', '--sparse', './sparse', './plain'));
  });

  it('reads binary extended attributes', (context) => {
    const file = join(tree, 'plain/file');
    const set = spawnSync('setfattr', ['-n', 'user.bin', '-v', '0x00ff0a3d00', file]);
    if (set.status !== 0) return context.skip('setfattr or user attributes are missing here');
    const entry = find(create('--format=posix', '--xattrs', './plain'), './plain/file');
    assert.equal(entry.xattrs['user.bin'], '\x00\xff\x0a\x3d\x00');
  });

  it('reads huge ids and times before 1970', (context) => {
    if (!root) return context.skip('needs root to set owners');
    for (const format of ['posix', 'gnu']) {
      const owner = ['--owner=u:4000000000', '--group=g:3000000000', '--mtime=@-86401.5'];
      const entry = find(create(`--format=${format}`, ...owner, './plain'), './plain/file');
      const expected = format === 'posix' ? [-86_402, 500_000_000] : [-86_402, 0];
      assert.deepEqual([entry.uid, entry.gid, entry.mtime, entry.mtimeNs], [4_000_000_000, 3_000_000_000, ...expected]);
    }
  });

  it('reads a volume label as nothing', () => {
    for (const format of ['posix', 'gnu']) {
      const seen = readTar(create(`--format=${format}`, '--label=a label', './plain/file'));
      assert.deepEqual(
        seen.map((entry) => entry.path),
        ['./plain/file'],
      );
    }
  });
});

function makeTree(): void {
  fs.mkdirSync(join(tree, 'plain'), { recursive: true });
  fs.mkdirSync(join(tree, LONG_DIRECTORY, LONG_DIRECTORY), { recursive: true });
  fs.writeFileSync(join(tree, 'plain/file'), 'x'.repeat(1300), { mode: 0o640 });
  fs.writeFileSync(join(tree, 'plain/empty'), '');
  fs.writeFileSync(join(tree, 'plain/block'), 'y'.repeat(512));
  fs.chmodSync(join(tree, 'plain/empty'), 0o4755);
  fs.symlinkSync('../no/where', join(tree, 'plain/symlink'));
  fs.linkSync(join(tree, 'plain/file'), join(tree, 'plain/zz-hardlink'));
  fs.writeFileSync(join(tree, LONG_DIRECTORY, LONG_DIRECTORY, 'file'), 'deep');
  fs.symlinkSync('t'.repeat(300), join(tree, LONG_DIRECTORY, 'long-target'));
  fs.linkSync(join(tree, LONG_DIRECTORY, LONG_DIRECTORY, 'file'), join(tree, 'zz-long-hardlink'));
  fs.writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), ODD_NAME]), 'odd');
  spawnSync('mkfifo', [join(tree, 'fifo')]);
  if (root) spawnSync('mknod', [join(tree, 'device'), 'c', '700', '70000']);
  makeSparse(join(tree, 'sparse'), 70);
  makeSparse(join(tree, LONG_DIRECTORY, 'sparse'), 2);
}

function makeSparse(path: string, runs: number): void {
  const file = fs.openSync(path, 'w');
  fs.ftruncateSync(file, runs * 65_536 + 12_345);
  for (let i = 0; i < runs; i++) fs.writeSync(file, Buffer.alloc(4096, 65 + (i % 26)), 0, 4096, i * 65_536 + 8192);
  fs.closeSync(file);
}

/** An archive of `names`, and nothing that needs an archive file. */
function create(...args: string[]): Buffer {
  const made = spawnSync('tar', ['-C', tree, '--sort=name', '-cf', '-', ...args], { maxBuffer: 1 << 28 });
  assert.equal(made.status, 0, made.stderr.toString());
  return made.stdout;
}

function find(archive: Buffer, path: string): Seen {
  const entry = readTar(archive).find((seen) => seen.path === path);
  assert.ok(entry !== undefined, path);
  return entry;
}

function compare(archive: Buffer, format: string): void {
  const seen = readTar(archive);
  assert.ok(seen.length > 4);
  for (const entry of seen) compareEntry(entry, format);
}

function compareEntry(entry: Seen, format: string): void {
  const path = Buffer.concat([Buffer.from(`${tree}/`), Buffer.from(entry.path, 'latin1')]);
  const real = fs.lstatSync(entry.path.endsWith('/') ? path.subarray(0, -1) : path, { bigint: true });
  assert.deepEqual(
    [BigInt(entry.mode), BigInt(entry.uid), BigInt(entry.gid)],
    [real.mode & 0o7777n, real.uid, real.gid],
    entry.path,
  );
  const ns = BigInt(entry.mtime) * 1_000_000_000n + BigInt(entry.mtimeNs);
  assert.equal(ns, format === 'posix' ? real.mtimeNs : real.mtimeNs - (real.mtimeNs % 1_000_000_000n), entry.path);
  const kind = kindOf(real);
  if (entry.type === 'hardlink') assert.equal(fs.lstatSync(join(tree, entry.link), { bigint: true }).ino, real.ino);
  else assert.equal(entry.type, kind, entry.path);
  if (entry.type === 'symlink') assert.equal(entry.link, fs.readlinkSync(path, 'latin1'));
  if (entry.type === 'file') assert.ok(fs.readFileSync(path).equals(Buffer.from(entry.content, 'latin1')), entry.path);
  if (entry.type === 'character') assert.deepEqual([entry.devMajor, entry.devMinor], [700, 70_000]);
}

function kindOf(real: fs.BigIntStats): string {
  if (real.isFile()) return 'file';
  if (real.isDirectory()) return 'directory';
  if (real.isSymbolicLink()) return 'symlink';
  return real.isFIFO() ? 'fifo' : 'character';
}

function checkSparse(archive: Buffer): void {
  const seen = readTar(archive, { chunk: 1000 });
  const entry = seen.find(({ path }) => path === './sparse');
  assert.ok(entry?.sparse !== undefined && entry.stored < entry.size);
  assert.ok(expand(entry).equals(fs.readFileSync(join(tree, 'sparse'))));
  assert.equal(seen.at(-1)?.path.startsWith('./plain/'), true);
}
