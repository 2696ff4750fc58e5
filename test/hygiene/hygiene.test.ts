/** Who else is on the machine, and what he gets of a store that is in use: nothing. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type BackendName, type Larder, openLarder } from '../../src/index.js';
import { listXattrs } from '../../src/linux/xattr.js';
import { prepareRoot } from '../../src/store-root.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { char, dir, file, tar } from '../../src/testing/tar-builder.js';
import { startNode } from '../helpers/child.js';
import { DaemonHome } from '../helpers/daemon.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

const STRANGER = fileURLToPath(new URL('./stranger-child.js', import.meta.url));
const NOBODY = 65_534;
const BACKENDS = ['erofs', 'overlay', 'copy', 'bind'] as const satisfies readonly BackendName[];
const MOUNTED = BACKENDS.filter((name) => name !== 'copy');

/** One that is permitted, CAP_CHOWN, and not effective. */
const CAPABILITY = Buffer.from('0000000201000000000000000000000000000000', 'hex');

const IMAGE = tar([
  dir('open', { mode: 0o2777 }),
  file('open/all', 'for all', { mode: 0o666 }),
  file('suid', readFileSync('/usr/bin/id'), { mode: 0o4755, xattrs: { 'security.capability': CAPABILITY } }),
  char('null', 1, 3, { mode: 0o666 }),
]);

/** What another user gets of these paths. */
async function gotBy(uid: number, paths: readonly string[], socket?: string): Promise<string[]> {
  const args = socket === undefined ? [] : [socket];
  const options = { cwd: '/', input: JSON.stringify(paths), uid, gid: uid };
  const { status, stdout, stderr } = await startNode(STRANGER, args, options).ended;
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

describe('a store with containers of every backend and a daemon', { skip: needsRoot }, () => {
  let source: ImageSource;
  let home: DaemonHome;
  let larder: Larder;
  let daemon: number;

  before(async () => {
    source = await ImageSource.start();
    source.publish('a', [IMAGE]);
    home = new DaemonHome();
    // The way to it is open: the store sees to itself.
    chmodSync(home.directory, 0o755);
    daemon = (await home.start()).process.pid ?? 0;
    larder = await openLarder({ root: home.root });
    for (const backend of BACKENDS) await provision(backend, backend);
    await provision('strict', 'erofs', { nosuid: true });
    await provision('devices', 'erofs', { nodev: false });
  });
  after(async () => {
    for (const { container } of larder?.containers() ?? []) await larder.destroy(container);
    await larder?.close();
    await home?.dispose();
    await source?.[Symbol.asyncDispose]();
  });

  const provision = (id: string, backend: BackendName, flags: object = {}) =>
    larder.provision(source.reference('a'), { id, backend, ...flags });
  const rootfs = (id: string, ...path: readonly string[]): string =>
    join(larder.root, 'containers', id, 'rootfs', ...path);
  const everything = (): string[] => [
    larder.root,
    ...readdirSync(larder.root, { recursive: true, encoding: 'utf8' }).map((name) => join(larder.root, name)),
  ];

  test('gives another user no path of it: not to look at, not to read, not to run; and no answer', async () => {
    const paths = everything();
    for (const id of BACKENDS) assert.ok(paths.includes(rootfs(id, 'open', 'all')), id);
    const process = ['root', 'cwd', 'environ', 'fd', 'maps', 'mem'].map((name) => `/proc/${daemon}/${name}`);
    const got = await gotBy(NOBODY, [...paths, home.socket, ...process], home.socket);
    // That a process is there, everybody knows; and which files it has in /proc.
    assert.deepEqual(
      got.filter((one) => !one.startsWith('stat /proc/') && one !== `stat ${larder.root}`),
      [],
    );
  });

  test('would give it, were its root not closed: that is what the walk sees', async () => {
    const reached = rootfs('erofs', 'open', 'all');
    await opened(async () =>
      assert.deepEqual(
        await gotBy(NOBODY, [reached]),
        ['stat', 'read', 'write'].map((way) => `${way} ${reached}`),
      ),
    );
  });

  test('keeps set-user-ID programs of images behind a directory that is root’s alone', async () => {
    const id = (path: string): string =>
      execFileSync(path, ['-u'], { uid: NOBODY, gid: NOBODY, encoding: 'utf8' }).trim();
    for (const backend of BACKENDS) assert.throws(() => id(rootfs(backend, 'suid')), { code: 'EACCES' }, backend);
    await opened(async () => {
      assert.equal(id(rootfs('erofs', 'suid')), '0', 'this is what it is kept from');
      assert.equal(id(rootfs('strict', 'suid')), String(NOBODY), 'nosuid takes the bit away');
    });
  });

  test('opens no device of an image where none is allowed', () => {
    for (const backend of MOUNTED) {
      assert.ok(lstatSync(rootfs(backend, 'null')).isCharacterDevice());
      assert.throws(() => openSync(rootfs(backend, 'null'), 'r'), { code: 'EACCES' }, backend);
    }
    closeSync(openSync(rootfs('devices', 'null'), 'r'));
  });

  test('leaves devices out of a copy where none is allowed, and says so', async () => {
    assert.equal(lstatSync(rootfs('copy', 'null'), { throwIfNoEntry: false }), undefined);
    const again = await provision('copied', 'copy');
    assert.deepEqual(again.warnings, ['1 device node was left out: a copy has them with --dev only.']);
    await provision('copied-devices', 'copy', { nodev: false });
    closeSync(openSync(rootfs('copied-devices', 'null'), 'r'));
    for (const id of ['copied', 'copied-devices']) await larder.destroy(id);
  });

  test('gives no program of a copy another user where that is forbidden, and says that it cannot forbid running', async () => {
    const { warnings } = await provision('strict-copy', 'copy', { nodev: false, nosuid: true, noexec: true });
    assert.deepEqual(
      ['suid', 'open'].map((name) => lstatSync(rootfs('strict-copy', name)).mode & 0o7777),
      [0o755, 0o2777],
    );
    assert.deepEqual(listXattrs(rootfs('strict-copy', 'suid')), []);
    assert.deepEqual(warnings, ['noexec is not in force: a copy has no mount of its own.']);
    await larder.destroy('strict-copy');
    // What is mounted over a read-only volume forbids it.
    const image = { type: 'docker', name: source.reference('a') };
    const volumes = [{ name: 'data', image, readOnly: true }];
    const more = await provision('with-volume', 'copy', { nodev: false, noexec: true, volumes });
    assert.deepEqual(more.warnings, warnings);
    const [volume = assert.fail()] = more.volumes;
    assert.throws(() => execFileSync(join(volume.rootfs, 'suid')), { code: 'EACCES' });
    await larder.destroy('with-volume');
  });

  test('has nothing in it that others may write to, and no file of its own that they may read', () => {
    const own = everything().filter(
      (path) => !/\/(?:rootfs|upper|mounts\/[0-9a-f]{64}|chains\/[0-9a-f]{64})(?:\/|$)/.test(path),
    );
    assert.ok(own.length > 30);
    const open = own.filter((path) => {
      const found = lstatSync(path);
      return !found.isSymbolicLink() && (found.mode & 0o077) !== 0;
    });
    assert.deepEqual(open, []);
  });

  /** With all that is above the containers passable for everybody meanwhile. */
  async function opened(work: () => Promise<void>): Promise<void> {
    const directories = ['', 'containers', ...['erofs', 'strict'].map((id) => `containers/${id}`)].map((name) =>
      join(larder.root, name),
    );
    for (const path of directories) chmodSync(path, 0o755);
    try {
      await work();
    } finally {
      for (const path of directories) chmodSync(path, 0o700);
    }
  }
});

describe('opening a store', () => {
  let directory: string;
  let root: string;
  before(async () => {
    directory = makeDirectory();
    root = join(directory, 'store');
    await using larder = await openLarder({ root });
    await larder.prune();
  });
  after(() => removeDirectory(directory));

  const isRefused = (message: RegExp, hint: string): Promise<void> =>
    assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE', message, hint });

  test('looks at each directory in it: none may be passable for others', async () => {
    const names = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    assert.ok(names.length >= 10, 'there are some');
    for (const { name } of names) {
      const path = join(root, name);
      for (const mode of [0o750, 0o705]) {
        chmodSync(path, mode);
        await isRefused(/other users can enter/, `run: chmod 700 ${path}`);
      }
      chmodSync(path, 0o700);
    }
    await prepareRoot(root);
  });

  test('looks at each file in it: none may be open to others’ writing', async () => {
    chmodSync(join(root, 'lock'), 0o666);
    await isRefused(/other users can write to/, `run: chmod 600 ${join(root, 'lock')}`);
    chmodSync(join(root, 'lock'), 0o600);
    await prepareRoot(root);
  });

  test('is refused where another user owns something in it, and says how to take it back', {
    skip: needsRoot,
  }, async () => {
    for (const name of ['blobs', 'format', 'layers']) {
      const path = join(root, name);
      lchownSync(path, NOBODY, NOBODY);
      await assert.rejects(prepareRoot(root), (error: Error & { hint?: string; code?: string }) => {
        assert.equal(error.code, 'LARDER_STORE_UNSAFE');
        assert.match(error.message, /belongs to user 65534/);
        assert.ok(error.hint?.endsWith(`run: chown -h 0 ${path}`), error.hint);
        return true;
      });
      lchownSync(path, 0, 0);
    }
    await prepareRoot(root);
  });

  test('is refused where another user’s link leads somewhere, or ours to what is his', {
    skip: needsRoot,
  }, async () => {
    const path = join(root, 'extra');
    const theirs = join(directory, 'theirs');
    mkdirSync(theirs, { mode: 0o700 });
    symlinkSync(theirs, path);
    await isRefusedFor(path);
    await isRefusedFor(theirs);
  });

  test('is refused where all of it is another user’s, or his link leads to it, before anything is written', {
    skip: needsRoot,
  }, async () => {
    const empty = join(directory, 'empty');
    mkdirSync(empty, { mode: 0o700 });
    lchownSync(empty, NOBODY, NOBODY);
    await assert.rejects(prepareRoot(empty), { code: 'LARDER_STORE_UNSAFE' });
    assert.deepEqual(readdirSync(empty), []);
    const link = join(directory, 'link');
    symlinkSync(root, link);
    lchownSync(link, NOBODY, NOBODY);
    await assert.rejects(prepareRoot(link), { code: 'LARDER_STORE_UNSAFE', message: /symbolic link of user 65534/ });
    lchownSync(link, 0, 0);
    await prepareRoot(link);
  });

  /** Until it is root's own. */
  async function isRefusedFor(path: string): Promise<void> {
    lchownSync(path, NOBODY, NOBODY);
    await assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE' });
    lchownSync(path, 0, 0);
    await prepareRoot(root);
  }
});
