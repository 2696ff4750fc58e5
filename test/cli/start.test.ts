/** How the command starts: from one file and V8's code cache of it, and what becomes of it where either is not right. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Script } from 'node:vm';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { CHECKOUT } from '../checkout.js';
import { CommandHome } from '../helpers/command.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const BUNDLE = join(CHECKOUT, 'dist', 'bundle');
const VERSION: string = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')).version;
const skip = existsSync(join(BUNDLE, 'command.cjs.cache')) ? false : 'dist/bundle is not built: npm run build';

interface Loader {
  load(name: string, onScript?: (script: Script) => void): object | undefined;
}

/** A package as it is installed, to be spoilt. */
function install({ modules = false } = {}): string {
  const root = makeDirectory();
  for (const name of ['bin', 'package.json']) cpSync(join(CHECKOUT, name), join(root, name), { recursive: true });
  cpSync(BUNDLE, join(root, 'dist', 'bundle'), { recursive: true });
  symlinkSync(join(CHECKOUT, 'node_modules'), join(root, 'node_modules'));
  if (modules) cpSync(join(CHECKOUT, 'dist', 'src'), join(root, 'dist', 'src'), { recursive: true });
  return root;
}

function versionOf(root: string, ...options: string[]): string {
  const { stdout, stderr, status, signal } = spawnSync(
    process.execPath,
    [...options, join(root, 'bin', 'larder.js'), '--version'],
    { encoding: 'utf8', cwd: '/' },
  );
  assert.deepEqual({ stderr, status, signal }, { stderr: '', status: 0, signal: null });
  return stdout.trim();
}

/** Whether V8 was given a cache and took it; undefined when it was given none. */
function tookCache(root: string): boolean | undefined {
  let rejected: boolean | undefined;
  const { load } = createRequire(join(root, 'bin', 'larder.js'))('./load.js') as Loader;
  assert.notEqual(
    load('command', (script) => {
      rejected = script.cachedDataRejected;
    }),
    undefined,
  );
  return rejected === undefined ? undefined : !rejected;
}

function change(path: string, edit: (bytes: Buffer) => void): void {
  const bytes = readFileSync(path);
  edit(bytes);
  writeFileSync(path, bytes);
}

describe('the start of the command', { skip }, () => {
  let root: string;
  let cache: string;
  let program: string;

  before(() => {
    root = install();
    program = join(root, 'dist', 'bundle', 'command.cjs');
    cache = `${program}.cache`;
  });
  after(() => removeDirectory(root));

  /** Spoils one file, and puts it back. */
  function spoilt(path: string, edit: (bytes: Buffer) => void, look: () => void): void {
    const whole = readFileSync(path);
    try {
      change(path, edit);
      look();
    } finally {
      writeFileSync(path, whole);
    }
  }

  test('needs one file, not the modules that it was made of, and takes its code cache', () => {
    assert.equal(tookCache(root), true);
    assert.equal(versionOf(root), VERSION);
  });

  test('does without a code cache', () => {
    const whole = readFileSync(cache);
    rmSync(cache);
    try {
      assert.equal(tookCache(root), undefined);
      assert.equal(versionOf(root), VERSION);
    } finally {
      writeFileSync(cache, whole);
    }
  });

  test('does not show V8 a damaged code cache, which it would run', () => {
    const flip = (bytes: Buffer): void => {
      const at = bytes.length >> 1;
      bytes.writeUInt32LE(~bytes.readUInt32LE(at) >>> 0, at);
    };
    spoilt(cache, flip, () => {
      assert.equal(tookCache(root), undefined);
      assert.equal(versionOf(root), VERSION);
    });
  });

  test('does not take the code cache of another program that is as long', () => {
    const rename = (bytes: Buffer): void => {
      bytes.write(bytes.toString('latin1', 2, 3) === '0' ? '1' : '0', 2);
    };
    spoilt(program, rename, () => {
      assert.equal(tookCache(root), undefined);
      assert.equal(versionOf(root), VERSION);
    });
  });

  test('does not take a code cache that somebody else put there', {
    skip: process.getuid?.() === 0 ? false : 'only root can give a file away',
  }, () => {
    chownSync(cache, 65534, 65534);
    try {
      assert.equal(tookCache(root), undefined);
      assert.equal(versionOf(root), VERSION);
    } finally {
      chownSync(cache, 0, 0);
    }
  });

  test('does not take the code cache of V8 with other flags', () => {
    assert.equal(versionOf(root, '--no-opt', '--max-lazy'), VERSION);
  });

  test('takes the modules where there is no bundle, and where tsc was run since', () => {
    const other = install({ modules: true });
    try {
      const stamp = join(other, 'dist', '.tsbuildinfo');
      writeFileSync(stamp, '');
      const later = new Date(Date.now() + 60_000);
      utimesSync(stamp, later, later);
      writeFileSync(join(other, 'dist', 'bundle', 'command.cjs'), 'throw new Error("stale")');
      assert.equal(versionOf(other), VERSION);
      rmSync(join(other, 'dist', 'bundle'), { recursive: true });
      assert.equal(versionOf(other), VERSION);
    } finally {
      removeDirectory(other);
    }
  });

  test('makes no file in the package', () => {
    const directory = join(root, 'dist', 'bundle');
    chmodSync(directory, 0o555);
    try {
      const before = spawnSync('ls', ['-l', '--full-time', directory], { encoding: 'utf8' }).stdout;
      versionOf(root);
      assert.equal(spawnSync('ls', ['-l', '--full-time', directory], { encoding: 'utf8' }).stdout, before);
    } finally {
      chmodSync(directory, 0o755);
    }
  });

  test('a secret resolver is a module of its own, found from the package', () => {
    const home = makeDirectory();
    try {
      const resolver = join(home, 'resolver.mjs');
      writeFileSync(resolver, 'await 0; process.stderr.write("the resolver was loaded");');
      mkdirSync(join(home, 'store'), { mode: 0o700 });
      writeFileSync(join(home, 'login.json'), '{}');
      const args = ['--root', join(home, 'store'), '--socket', 'none', '--secret-resolver', resolver];
      const pull = ['pull', '--registry-config', join(home, 'login.json'), '127.0.0.1:1/x'];
      const { stderr } = spawnSync(process.execPath, [join(root, 'bin', 'larder.js'), ...args, ...pull], {
        encoding: 'utf8',
        env: { PATH: process.env['PATH'], HOME: home },
      });
      assert.match(stderr, /the resolver was loaded/);
    } finally {
      removeDirectory(home);
    }
  });
});

test('a pull that finds nothing new starts no thread', async () => {
  const home = new CommandHome();
  const source = await ImageSource.start();
  try {
    source.publish('app', [{ tar: sampleLayer('app') }]);
    home.write('tell.cjs', "process.on('worker', () => process.stderr.write('THREAD'));");
    const env = { NODE_OPTIONS: `--require=${join(home.directory, 'tell.cjs')}` };
    const pull = async (...options: string[]): Promise<boolean> => {
      const { status, stderr } = await home.run(['pull', ...options, source.reference('app')], { env });
      assert.equal(status, 0, stderr);
      return stderr.includes('THREAD');
    };
    assert.deepEqual([await pull(), await pull(), await pull('--refresh')], [true, false, false]);
    source.publish('app', [{ tar: sampleLayer('another app') }]);
    assert.ok(await pull('--refresh'));
  } finally {
    await source.registry.close();
    home.dispose();
  }
});
