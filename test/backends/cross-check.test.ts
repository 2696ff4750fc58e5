/** The same image through every backend is the same tree. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { isLarderError } from '../../src/errors.js';
import {
  block,
  char,
  dir,
  fifo,
  file,
  hardlink,
  opaque,
  sparse,
  symlink,
  tar,
  whiteout,
} from '../../src/testing/tar-builder.js';
import { diffTrees } from '../../src/testing/tree-digest.js';
import { KINDS, makeBackend, makeStore, needsRoot, type StoreFixture } from './store-fixture.js';

/** user::rw- user:1000:r-- group::r-- mask::r-- other::r-- */
const acl = Buffer.from(
  '0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff',
  'hex',
);

const IMAGES: Record<string, readonly Uint8Array[]> = {
  'everything in one layer': [
    tar([
      dir('.', { mode: 0o750, uid: 1, gid: 2, mtime: 1e9, mtimeNs: 5, xattrs: { 'user.r': '1' } }),
      dir('etc', { mode: 0o2775, gid: 9, mtime: 11 }),
      file('etc/passwd', 'root', { mode: 0o4755, uid: 70000, mtime: -3, mtimeNs: 4 }),
      file('etc/acl', 'x', { xattrs: { 'system.posix_acl_access': acl, 'security.selinux': 'label\0' } }),
      hardlink('etc/passwd-', 'etc/passwd'),
      symlink('link', '/etc/../passwd', { uid: 8 }),
      hardlink('link2', 'link'),
      char('tty', 5, 1, { mode: 0o666 }),
      hardlink('tty2', 'tty'),
      block('disk', 259, 70000),
      fifo('pipe'),
      sparse('holes', 300_000, [
        { offset: 4096, data: Buffer.alloc(4096, 'a') },
        { offset: 200_704, data: 'end' },
      ]),
      sparse('odd', 10_000, [{ offset: 3333, data: 'x' }]),
      file('implied/deep/er/file', 'y'),
    ]),
  ],
  'changes of attributes only': [
    tar([dir('d', { mode: 0o700 }), dir('d/e'), file('d/e/f', 'x'), dir('kept'), file('kept/g')]),
    tar([dir('d', { mode: 0o777, mtime: 5, xattrs: { 'user.a': 'b' } })]),
    tar([dir('.', { mode: 0o711, uid: 6 })]),
  ],
  'types that replace each other, twice': [
    tar([dir('a'), file('a/1'), file('b'), symlink('c', 'a'), dir('d'), dir('d/x'), file('d/x/y')]),
    tar([file('a', 'file'), dir('b'), file('b/2'), dir('c'), file('c/3'), symlink('d', 'b')]),
    tar([dir('a'), file('a/4'), symlink('b', 'a'), whiteout('c'), dir('d'), file('d/5')]),
    tar([whiteout('b'), dir('c'), file('c/6')]),
  ],
  'link groups that grow, shrink and move': [
    tar([file('a', '1'), hardlink('b', 'a'), hardlink('c', 'a'), dir('d'), file('d/e', '2'), hardlink('f', 'd/e')]),
    tar([hardlink('d/a', 'a'), whiteout('b')]),
    tar([file('c', 'own'), whiteout('f')]),
    tar([hardlink('g', 'd/e'), hardlink('h', 'c'), file('a', 'own too')]),
  ],
  'whiteouts and opaque marks at all depths': [
    tar(
      ['p', 'p/q', 'p/q/r', 'p/q/r/s'].flatMap((path) => [dir(path), file(`${path}/f`, path), file(`${path}/g`, path)]),
    ),
    tar([opaque('p/q/r'), file('p/q/r/new'), whiteout('p/f')]),
    tar([whiteout('p/q/r'), file('p/f', 'again')]),
    tar([opaque(''), dir('p'), file('p/last')]),
    tar([dir('p/q'), file('p/q/after')]),
  ],
};

describe('every backend shows the same tree', { skip: needsRoot }, () => {
  let store: StoreFixture;
  beforeEach(() => {
    store = makeStore();
  });
  afterEach(() => store.dispose());

  for (const [name, tars] of Object.entries(IMAGES)) {
    it(`of ${name}`, async () => {
      await compareAll(store, tars);
    });
  }

  it('of any layers', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { minLength: 1, maxLength: 5 }), async (layers) => {
        const fresh = makeStore();
        try {
          const tars = layers.map((words) => tar(words.map(entryOf)));
          if (!isRefused(fresh, tars)) await compareAll(fresh, tars);
        } finally {
          fresh.dispose();
        }
      }),
      { numRuns: Number(process.env['LARDER_FUZZ_RUNS'] ?? 40) },
    );
  });
});

/** Images with symlink loops or links to directories are refused as a whole, before any backend sees them. */
function isRefused(store: StoreFixture, tars: readonly Uint8Array[]): boolean {
  try {
    store.layers.tree(tars.map((one) => store.layers.add(one)));
    return false;
  } catch (error) {
    if (isLarderError(error, 'LARDER_LAYER_INVALID')) return true;
    throw error;
  }
}

async function compareAll(store: StoreFixture, tars: readonly Uint8Array[]): Promise<void> {
  const layers = tars.map((one) => store.layers.add(one));
  const roots: string[] = [];
  for (const kind of KINDS) {
    const backendDir = join(store.directory, kind);
    mkdirSync(backendDir, { mode: 0o700 });
    const rootfs = join(backendDir, 'rootfs');
    await makeBackend(kind, store.layers.layout, store.layers).provision(layers, rootfs, backendDir);
    roots.push(rootfs);
  }
  const [reference = '', ...others] = roots;
  for (const other of others) assert.deepEqual(diffTrees(reference, other), [], other);
}

/** A few names at few depths, so that layers meet each other. */
const name = fc.constantFrom('a', 'b', 'c');
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
const attributes = fc.record({ mode: fc.constantFrom(0o600, 0o755, 0o4711), uid: fc.nat(3), mtime: fc.nat(5) });

/** Words instead of bytes: a counterexample can be read. */
type Word =
  | { readonly is: 'file' | 'dir' | 'whiteout' | 'opaque' | 'fifo'; readonly at: string; readonly options: object }
  | { readonly is: 'symlink' | 'linked'; readonly at: string; readonly to: string };

const word: fc.Arbitrary<Word> = fc.oneof(
  fc.record({ is: fc.constantFrom('file', 'dir', 'whiteout', 'opaque', 'fifo'), at: path, options: attributes }),
  fc.record({ is: fc.constant('symlink'), at: path, to: fc.constantFrom('zz', 'a', '/b') }),
  fc.record({ is: fc.constant('linked'), at: path, to: fc.constantFrom('x', 'y') }),
);
const layer = fc.array(word, { maxLength: 8 });

function entryOf(one: Word): Buffer {
  switch (one.is) {
    case 'file':
      return file(one.at, one.at, one.options);
    case 'dir':
      return dir(one.at, one.options);
    case 'whiteout':
      return whiteout(one.at);
    case 'opaque':
      return opaque(one.at);
    case 'fifo':
      return fifo(one.at, one.options);
    case 'symlink':
      return symlink(one.at, one.to);
    case 'linked':
      return Buffer.concat([file(one.at, 'linked'), hardlink(one.to, one.at)]);
  }
}
