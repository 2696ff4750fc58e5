import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isLarderError } from '../../src/errors.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import {
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
import { ImageFs } from '../../src/tree/image-fs.js';
import { IndexBuilder } from '../../src/tree/index-builder.js';
import { mergeLayers } from '../../src/tree/merge.js';
import { whitelistSet } from '../../src/tree/path-whitelist.js';
import { aciFilesOf, rootfsView } from '../../src/tree/rootfs-view.js';
import { seenAs } from '../../src/tree/seen-as.js';
import type { LayerIndex } from '../../src/tree/types.js';
import { show } from './entries.js';

const MANIFEST = file('manifest', '{}');

function indexOf(archive: Uint8Array): LayerIndex {
  const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
  const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS, 'test');
  reader.write(archive);
  reader.end();
  return builder.finish(archive.length).index;
}

/** An Appc image: its manifest, then `parts`. */
function aci(...parts: readonly Uint8Array[]): LayerIndex {
  return indexOf(tar([MANIFEST, ...parts]));
}

function layer(...parts: readonly Uint8Array[]): LayerIndex {
  return indexOf(tar(parts));
}

/** The lines of the tree of one Appc image, less the root's. */
function shown(index: LayerIndex, only?: readonly string[]): string[] {
  return show(mergeLayers([rootfsView(index, only && whitelistSet(only))])).slice(1);
}

function fails(work: () => unknown, code: string, message: RegExp): void {
  assert.throws(work, (error) => isLarderError(error) && error.code === code && message.test(error.message));
}

describe('an Appc image seen as its root filesystem', () => {
  it('has the content of rootfs/ at its root, and no manifest', () => {
    const index = aci(
      dir('rootfs', { mode: 0o700 }),
      dir('rootfs/bin'),
      file('rootfs/bin/sh', 'x', { uid: 7 }),
      symlink('rootfs/lib', '/rootfs/lib'),
      char('rootfs/null', 1, 3),
      fifo('rootfs/pipe'),
    );
    assert.deepEqual(show(mergeLayers([rootfsView(index)])), [
      '/ d 700',
      'bin d 755',
      'bin/sh f 7',
      'lib l /rootfs/lib',
      'null c 0',
      'pipe p 0',
    ]);
  });

  it('takes names however they begin, and a rootfs that only its entries imply', () => {
    const index = indexOf(tar([dir('./'), file('./manifest', '{}'), file('./rootfs/etc/f', '', { uid: 1 })]));
    assert.deepEqual(show(mergeLayers([rootfsView(index)])), ['/ d implied', 'etc d implied', 'etc/f f 1']);
  });

  it('keeps every entry’s number, attributes, xattrs and bytes', () => {
    const index = aci(
      dir('rootfs'),
      file('rootfs/a', 'some bytes', { uid: 3, gid: 4, mode: 0o4711, mtime: 99, xattrs: { 'user.x': 'y' } }),
      sparse('rootfs/s', 1 << 20, [{ offset: 512 * 16, data: Buffer.alloc(512, 1) }]),
    );
    const view = rootfsView(index);
    assert.equal(view.count, index.count);
    for (const column of ['mode', 'uid', 'gid', 'mtime', 'mtimeNs', 'size', 'offset', 'pool'] as const) {
      assert.equal(view[column], index[column], column);
    }
    for (let i = 0; i < index.count; i++) {
      assert.deepEqual(view.xattrs(i), index.xattrs(i));
      assert.deepEqual(view.sparse(i), index.sparse(i));
      assert.deepEqual([view.hasXattrs(i), view.inExtra(i)], [index.hasXattrs(i), index.inExtra(i)]);
    }
    assert.equal(view.xattrs(2).length, 1);
    assert.equal(view.sparse(3)?.length, 1);
  });

  it('merges with ordinary layers below and above it', () => {
    const below = layer(
      dir('', { mode: 0o711 }),
      dir('etc', { mode: 0o750 }),
      file('etc/below', '', { uid: 1 }),
      file('etc/both', '', { uid: 1 }),
      file('manifest', '', { uid: 1 }),
      symlink('lib', 'usr/lib'),
    );
    const middle = aci(
      file('rootfs/etc/both', '', { uid: 2 }),
      file('rootfs/etc/gone', '', { uid: 2 }),
      file('rootfs/lib/x', '', { uid: 2 }),
      hardlink('rootfs/etc/link', 'rootfs/etc/below'),
    );
    const above = layer(whiteout('etc/gone'), hardlink('top', 'etc/both'));
    assert.deepEqual(show(mergeLayers([below, rootfsView(middle), above])), [
      '/ d 711',
      'etc d 750',
      'etc/below f 1',
      'etc/both f 2',
      'etc/link f 1 =etc/below',
      'lib l usr/lib',
      'manifest f 1',
      'top f 2 =etc/both',
      'usr d implied',
      'usr/lib d implied',
      'usr/lib/x f 2',
    ]);
  });

  it('puts a directory at the place of a symlink below, and does not follow that (ace.md, Filesystem Setup)', () => {
    const below = layer(dir('usr'), symlink('bin', 'usr'));
    const above = aci(dir('rootfs'), dir('rootfs/bin', { mode: 0o700 }), file('rootfs/bin/f', '', { uid: 1 }));
    const tree = show(mergeLayers([below, rootfsView(above)]));
    assert.deepEqual(tree, ['/ d 755', 'bin d 700', 'bin/f f 1', 'usr d 755']);
  });

  it('gives the root the attributes of the topmost rootfs', () => {
    const one = aci(dir('rootfs', { mode: 0o700 }));
    const two = aci(dir('rootfs', { mode: 0o555 }), file('rootfs/f'));
    assert.equal(show(mergeLayers([rootfsView(one), rootfsView(two)]))[0], '/ d 555');
  });

  it('reads the bytes of a file by its new name', async () => {
    const archive = tar([MANIFEST, file('rootfs/etc/motd', 'welcome'), hardlink('rootfs/m', 'rootfs/etc/motd')]);
    assert.equal(await contentOf(archive, undefined, '/etc/motd'), 'welcome');
    assert.equal(await contentOf(archive, undefined, '/m'), 'welcome');
  });

  it('follows hardlinks inside rootfs/, and refuses one that leaves it', () => {
    const good = aci(file('rootfs/a', '', { uid: 1 }), hardlink('rootfs/b/c', './rootfs/a'));
    assert.deepEqual(shown(good), ['a f 1', 'b d implied', 'b/c f 1 =a']);
    for (const target of ['manifest', 'a', 'rootfsx/a', 'rootf']) {
      const bad = aci(file('rootfs/a'), hardlink('rootfs/b', target));
      fails(() => rootfsView(bad), 'LARDER_LAYER_INVALID', /rootfs\/b.*outside the rootfs/);
      fails(() => aciFilesOf(bad), 'LARDER_LAYER_INVALID', /outside the rootfs/);
    }
    const root = aci(dir('rootfs'), hardlink('rootfs/b', 'rootfs'));
    fails(() => mergeLayers([rootfsView(root)]), 'LARDER_LAYER_INVALID', /is a directory/);
  });

  it('refuses whiteouts, which Appc does not know', () => {
    for (const mark of [whiteout('rootfs/etc/passwd'), opaque('rootfs/etc'), opaque('rootfs'), whiteout('rootfs')]) {
      const index = aci(dir('rootfs'), mark);
      fails(() => rootfsView(index), 'LARDER_ENTRY_UNSUPPORTED', /Appc has no whiteouts/);
      fails(() => aciFilesOf(index), 'LARDER_ENTRY_UNSUPPORTED', /Appc has no whiteouts/);
    }
  });

  it('refuses a rootfs that is no directory', () => {
    for (const entry of [file('rootfs'), symlink('rootfs', '/'), hardlink('rootfs', 'manifest')]) {
      fails(() => rootfsView(aci(entry)), 'LARDER_LAYER_INVALID', /must be a directory/);
      fails(() => aciFilesOf(aci(entry)), 'LARDER_LAYER_INVALID', /must be a directory/);
    }
  });
});

describe('the layout of an Appc image', () => {
  it('is one manifest and a rootfs, in any order, with a root entry or without', () => {
    assert.deepEqual(aciFilesOf(aci(dir('rootfs'), file('rootfs/manifest'))), { manifestEntry: 0 });
    const late = indexOf(tar([dir('./'), dir('./rootfs'), file('./rootfs/f'), file('./manifest', '{}')]));
    assert.deepEqual(aciFilesOf(late), { manifestEntry: 3 });
    assert.deepEqual(aciFilesOf(aci(file('rootfs/implied'))), { manifestEntry: 0 });
  });

  it('is refused without a manifest or a rootfs', () => {
    fails(() => aciFilesOf(layer(dir('rootfs'))), 'LARDER_LAYER_INVALID', /no file "manifest"/);
    fails(() => aciFilesOf(aci()), 'LARDER_LAYER_INVALID', /no directory "rootfs"/);
    fails(() => aciFilesOf(layer()), 'LARDER_LAYER_INVALID', /no file "manifest"/);
  });

  it('is refused with two manifests, or one that is no regular file', () => {
    fails(() => aciFilesOf(aci(dir('rootfs'), file('./manifest'))), 'LARDER_LAYER_INVALID', /one manifest/);
    for (const entry of [dir('manifest'), symlink('manifest', 'rootfs/m'), hardlink('manifest', 'rootfs/m')]) {
      const index = layer(file('rootfs/m'), entry);
      fails(() => aciFilesOf(index), 'LARDER_LAYER_INVALID', /regular file/);
    }
  });

  it('is refused with anything else at the top', () => {
    for (const path of ['other', 'rootfs2/f', 'rootf', 'manifest/f', 'ROOTFS/f', 'manifest2']) {
      fails(() => aciFilesOf(aci(dir('rootfs'), file(path))), 'LARDER_LAYER_INVALID', /only "manifest" and "rootfs"/);
    }
  });
});

describe('a path whitelist', () => {
  const index = aci(
    dir('rootfs', { mode: 0o711 }),
    dir('rootfs/etc', { mode: 0o750 }),
    file('rootfs/etc/a', '', { uid: 1 }),
    file('rootfs/etc/ab', '', { uid: 2 }),
    dir('rootfs/etc/d', { mode: 0o700 }),
    file('rootfs/etc/d/in', '', { uid: 3 }),
    dir('rootfs/etcetera', { mode: 0o700 }),
    symlink('rootfs/l', 'etc'),
    file('rootfs/zoë', '', { uid: 4 }),
  );

  it('leaves what it lists and the directories above, with their attributes', () => {
    assert.deepEqual(show(mergeLayers([rootfsView(index, whitelistSet(['/etc/a']))])), [
      '/ d 711',
      'etc d 750',
      'etc/a f 1',
    ]);
    assert.deepEqual(shown(index, ['/etc/d/in', '/l']), ['etc d 750', 'etc/d d 700', 'etc/d/in f 3', 'l l etc']);
  });

  it('does not take a directory’s content with the directory, with a slash at the end or without', () => {
    assert.deepEqual(shown(index, ['/etc/d']), ['etc d 750', 'etc/d d 700']);
    assert.deepEqual(shown(index, ['/etc//./d/']), ['etc d 750', 'etc/d d 700']);
  });

  it('follows no symlink', () => {
    assert.deepEqual(shown(index, ['/l/a']), []);
  });

  it('compares names as bytes', () => {
    assert.deepEqual(shown(index, ['/zoë']), [`${Buffer.from('zoë').toString('latin1')} f 4`]);
    assert.deepEqual(shown(index, ['/zoe\u0308', '/etc/']), ['etc d 750']);
  });

  it('that lists nothing of the image leaves the root', () => {
    assert.deepEqual(show(mergeLayers([rootfsView(index, whitelistSet(['/no', '/']))])), ['/ d 711']);
    assert.deepEqual(shown(index, []), []);
  });

  it('hides entries of its own layer only', () => {
    const below = layer(file('etc/ab', '', { uid: 9 }), file('other', '', { uid: 9 }));
    const view = seenAs(index, { only: ['/etc/a'] });
    assert.deepEqual(show(mergeLayers([below, view])).slice(1), ['etc d 750', 'etc/a f 1', 'etc/ab f 9', 'other f 9']);
  });

  it('that lists everything is no whitelist', () => {
    const all = ['/etc/a', '/etc/ab', '/etc/d/in', '/etcetera', '/l', '/zoë'];
    assert.deepEqual(shown(index, all), shown(index));
  });
});

describe('hardlinks under a path whitelist', () => {
  const archive = tar([
    MANIFEST,
    file('rootfs/a', 'content', { uid: 5, mode: 0o600, xattrs: { 'user.k': 'v' } }),
    hardlink('rootfs/b', 'rootfs/a'),
    hardlink('rootfs/c', 'rootfs/b'),
    hardlink('rootfs/d', 'rootfs/a'),
  ]);
  const index = indexOf(archive);

  it('stay links where their target is listed', () => {
    assert.deepEqual(shown(index, ['/a', '/b', '/d']), ['a f 5', 'b f 5 =a', 'd f 5 =a']);
  });

  it('whose target is hidden: the first becomes the file, the others its links', async () => {
    assert.deepEqual(shown(index, ['/b', '/c', '/d']), ['b f 5', 'c f 5 =b', 'd f 5 =b']);
    assert.deepEqual(shown(index, ['/c', '/d']), ['c f 5', 'd f 5 =c']);
    const view = rootfsView(index, whitelistSet(['/d']));
    const tree = mergeLayers([view]);
    const entry = tree.entry[1] ?? 0;
    assert.equal(view.mode[entry], 0o600);
    assert.equal(view.hasXattrs(entry), true);
    assert.equal(view.xattrs(entry).length, 1);
    assert.equal(await contentOf(archive, ['/d'], '/d'), 'content');
  });

  it('whose chain is broken by a hidden link still reach a listed file', () => {
    assert.deepEqual(shown(index, ['/a', '/c']), ['a f 5', 'c f 5 =a']);
  });

  it('are symlinks and devices, too, when these are hidden', () => {
    const odd = aci(
      symlink('rootfs/s', 'somewhere'),
      char('rootfs/n', 1, 3, { uid: 8 }),
      hardlink('rootfs/t', 'rootfs/s'),
      hardlink('rootfs/m', 'rootfs/n'),
    );
    assert.deepEqual(shown(odd, ['/t', '/m']), ['m c 8', 't l somewhere']);
  });

  it('find their target in a layer below', () => {
    const below = rootfsView(aci(file('rootfs/a', '', { uid: 1 })), whitelistSet(['/a']));
    const above = aci(hardlink('rootfs/h', 'rootfs/a'), hardlink('rootfs/i', 'rootfs/h'));
    for (const [only, name] of [
      [['/i'], 'i'],
      [['/a', '/i'], 'i'],
      [['/h'], 'h'],
    ] as const) {
      const tree = show(mergeLayers([below, rootfsView(above, whitelistSet(only))]));
      assert.deepEqual(tree.slice(1), ['a f 1', `${name} f 1 =a`]);
    }
  });

  it('to nothing or to a directory are refused, as without a whitelist', () => {
    const nothing = aci(dir('rootfs'), hardlink('rootfs/h', 'rootfs/no'), file('rootfs/no'));
    fails(() => shown(nothing, ['/h']), 'LARDER_LAYER_INVALID', /does not exist/);
    const late = aci(file('rootfs/a'), hardlink('rootfs/h', 'rootfs/g'), hardlink('rootfs/g', 'rootfs/a'));
    for (const only of [['/h'], ['/h', '/g'], ['/h', '/a']]) {
      fails(() => shown(late, only), 'LARDER_LAYER_INVALID', /"h".*"g" does not exist/);
    }
    const directory = aci(dir('rootfs/d'), hardlink('rootfs/h', 'rootfs/d'));
    fails(() => shown(directory, ['/h']), 'LARDER_LAYER_INVALID', /"h"/);
  });

  it('and everything else are what rendering all and removing the rest gives', () => {
    fc.assert(
      fc.property(renderings, ({ parts, only }) => {
        const index = aci(...parts);
        assert.deepEqual(shown(index, only), removed(shown(index), only));
      }),
      { numRuns: 500 },
    );
  });

  it('of a chain of 20,000 cost no more than others', { timeout: 10_000 }, () => {
    const links = Array.from({ length: 20_000 }, (_, i) => hardlink(`rootfs/${i + 1}`, `rootfs/${i}`));
    const chain = aci(file('rootfs/0', '', { uid: 1 }), ...links);
    const listed = Array.from({ length: 10_000 }, (_, i) => `/${2 * i + 1}`);
    const tree = mergeLayers([rootfsView(chain, whitelistSet(listed))]);
    assert.equal(tree.inodeCount, 2);
    assert.equal(tree.nlink[1], 10_000);
  });
});

const DIRECTORIES = ['d', 'd/e', 'x'];
const NAMES = ['', ...DIRECTORIES].flatMap((parent) =>
  ['1', '2', '3'].map((name) => `${parent}/${name}`.replace(/^\//, '')),
);

/** Images without duplicate names whose hardlinks name earlier entries, and whitelists that list some of the names. */
const renderings = fc
  .record({
    directories: fc.subarray(DIRECTORIES),
    names: fc.shuffledSubarray(NAMES),
    choices: fc.array(fc.nat(), { minLength: NAMES.length, maxLength: NAMES.length }),
    only: fc.subarray([...NAMES, ...DIRECTORIES]).map((paths) => paths.map((path) => `/${path}`)),
  })
  .map(({ directories, names, choices, only }) => {
    const parts = directories.map((path) => dir(`rootfs/${path}`, { mode: 0o700 }));
    for (const [i, name] of names.entries()) {
      const choice = choices[i] ?? 0;
      const target = names[(choice >> 3) % Math.max(1, i)];
      if (i > 0 && (choice & 7) > 3) parts.push(hardlink(`rootfs/${name}`, `rootfs/${target}`));
      else if ((choice & 7) === 3) parts.push(symlink(`rootfs/${name}`, `to-${i}`));
      else parts.push(file(`rootfs/${name}`, '', { uid: i }));
    }
    return { parts, only };
  });

/** The lines of {@link shown} that a whitelist leaves, links named anew. */
function removed(lines: readonly string[], only: readonly string[]): string[] {
  const names = lines.map((line) => {
    const [, path = '', what = '', first = path] = /^(\S+) (.*?)(?: =(\S+))?$/.exec(line) ?? [];
    return { path, what, first };
  });
  const stays = ({ path, what }: { path: string; what: string }): boolean =>
    only.includes(`/${path}`) || (what === 'd 700' && only.some((listed) => listed.startsWith(`/${path}/`)));
  const explicit = names.filter((name) => name.what !== 'd implied' && stays(name));
  const firstLeft = new Map<string, string>();
  return names.flatMap((name) => {
    const { path, what, first } = name;
    const implied = what === 'd implied' && explicit.some((other) => other.path.startsWith(`${path}/`));
    if (!implied && !explicit.includes(name)) return [];
    const again = firstLeft.get(first);
    firstLeft.set(first, again ?? path);
    return [`${path} ${what}${again === undefined ? '' : ` =${again}`}`];
  });
}

/** A file's text by `path`, read through the view from a tar on disk. */
async function contentOf(archive: Buffer, only: readonly string[] | undefined, path: string): Promise<string> {
  const tree = mergeLayers([rootfsView(indexOf(archive), only && whitelistSet(only))]);
  const directory = mkdtempSync(join(tmpdir(), 'larder-rootfs-view-'));
  try {
    writeFileSync(join(directory, 'layer.tar'), archive);
    await using image = new ImageFs(tree, { openData: () => open(join(directory, 'layer.tar'), 'r') });
    return Buffer.from(await image.readFile(path)).toString();
  } finally {
    rmSync(directory, { recursive: true });
  }
}
