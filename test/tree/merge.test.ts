import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import { charDevice, dir, fifo, file, hardlink, type Line, merged, show, symlink } from './entries.js';

type Layers = readonly (readonly Line[])[];

/** What merging gives, without the line of the root. */
const trees: readonly [id: string, layers: Layers, tree: string[]][] = [
  ['the empty image', [], []],
  ['an empty layer', [[], [file('a', 1)], []], ['a f 1']],
  [
    'every type',
    [[file('a', 1), dir('b'), symlink('c', 'x'), charDevice('d', { devMajor: 1 }), fifo('e'), hardlink('f', 'a')]],
    ['a f 1', 'b d 755', 'c l x', 'd c 0', 'e p 0', 'f f 1 =a'],
  ],
  [
    'T07 a file through an absolute symlink',
    [[symlink('d', '/victim'), file('d/f', 1)]],
    ['d l /victim', 'victim d implied', 'victim/f f 1'],
  ],
  [
    'T08 a file through a symlink that climbs',
    [[symlink('d', '../../victim'), file('d/f', 1)]],
    ['d l ../../victim', 'victim d implied', 'victim/f f 1'],
  ],
  [
    'T09 a chain of symlinks',
    [[symlink('a', 'b'), symlink('b', '/etc'), dir('etc'), file('a/x', 1)]],
    ['a l b', 'b l /etc', 'etc d 755', 'etc/x f 1'],
  ],
  [
    'T11 a dangling parent is made at its target',
    [[symlink('d', '/no/such'), file('d/f', 1)]],
    ['d l /no/such', 'no d implied', 'no/such d implied', 'no/such/f f 1'],
  ],
  [
    'a missing directory that a target leaves again is not made',
    [[symlink('d', 'no/../yes'), file('d/f', 1)]],
    ['d l no/../yes', 'yes d implied', 'yes/f f 1'],
  ],
  [
    'T12 a symlink replaced by a directory',
    [
      [dir('t'), symlink('d', 't')],
      [dir('d', 0o700), file('d/f', 2)],
    ],
    ['d d 700', 'd/f f 2', 't d 755'],
  ],
  [
    'T13 a directory replaced by a symlink, then a file below',
    [
      [dir('d'), file('d/old', 1), dir('t')],
      [symlink('d', 't'), file('d/f', 2)],
    ],
    ['d l t', 't d 755', 't/f f 2'],
  ],
  [
    'T20 an absolute hardlink target',
    [[dir('a'), file('a/f', 1), hardlink('h', '/a/f')]],
    ['a d 755', 'a/f f 1', 'h f 1 =a/f'],
  ],
  [
    'T21 a hardlink through a symlinked directory',
    [[dir('v'), file('v/f', 1), symlink('s', '/v'), hardlink('h', 's/f')]],
    ['h f 1', 's l /v', 'v d 755', 'v/f f 1 =h'],
  ],
  [
    'T22 T117 a hardlink to a symlink is the symlink',
    [[symlink('s', '/x'), hardlink('h', 's')]],
    ['h l /x', 's l /x =h'],
  ],
  [
    'T23 a hardlink to a symlink, then a file',
    [[file('t', 1), symlink('s', 't'), hardlink('h', 's'), file('h', 2)]],
    ['h f 2', 's l t', 't f 1'],
  ],
  ['T27 a hardlink to a device', [[charDevice('c', { devMajor: 1 }), hardlink('h', 'c')]], ['c c 0', 'h c 0 =c']],
  [
    'T28 attributes of a hardlink entry do not count',
    [[file('f', 1), hardlink('h', 'f', { uid: 9 })]],
    ['f f 1', 'h f 1 =f'],
  ],
  ['T29 a hardlink to a lower file', [[file('f', 1)], [hardlink('h', 'f')]], ['f f 1', 'h f 1 =f']],
  ['a replaced file keeps its other names', [[file('f', 1), hardlink('h', 'f')], [file('f', 2)]], ['f f 2', 'h f 1']],
  [
    'a hardlink onto a name of the same file changes nothing',
    [[file('f', 1), hardlink('h', 'f')], [hardlink('h', 'f')]],
    ['f f 1', 'h f 1 =f'],
  ],
  [
    'a hardlink replaces a directory',
    [[dir('d'), file('d/x', 1), file('f', 2)], [hardlink('d', 'f')]],
    ['d f 2', 'f f 2 =d'],
  ],
  [
    'T34 a symlink that climbs below, a file through it above',
    [[symlink('x', '../..')], [file('x/file', 2)]],
    ['file f 2', 'x l ../..'],
  ],
  ['T39 a whiteout of nothing', [[file('.wh.a'), file('x/y/.wh.z')]], []],
  ['T40 a whiteout before its name', [[file('a', 1)], [file('.wh.a'), file('a', 2)]], ['a f 2']],
  ['T40 a whiteout after its name', [[file('a', 1)], [file('a', 2), file('.wh.a')]], ['a f 2']],
  [
    'T41 a whiteout through a symlink',
    [[dir('v'), file('v/s', 1), symlink('d', '/v')], [file('d/.wh.s')]],
    ['d l /v', 'v d 755'],
  ],
  [
    'T42 an opaque mark through a symlink',
    [[dir('v'), file('v/s', 1), symlink('d', '/v')], [file('d/.wh..wh..opq')]],
    ['d l /v', 'v d 755'],
  ],
  [
    'a whiteout below a symlink that its own layer replaces',
    [
      [dir('v'), file('v/s', 1), symlink('d', '/v')],
      [dir('d'), file('d/.wh.s')],
    ],
    ['d d 755', 'v d 755', 'v/s f 1'],
  ],
  [
    'a whiteout below a symlink that its own layer removes',
    [
      [dir('v'), file('v/s', 1), symlink('d', '/v')],
      [file('d/.wh.s'), file('.wh.d')],
    ],
    ['v d 755', 'v/s f 1'],
  ],
  [
    'a whiteout below a symlink that its own layer gives again',
    [
      [dir('v'), file('v/s', 1), symlink('d', '/v')],
      [symlink('d', '/v'), file('d/.wh.s')],
    ],
    ['d l /v', 'v d 755'],
  ],
  [
    'an opaque mark below a symlink that its own layer replaces',
    [
      [dir('v'), file('v/s', 1), symlink('d', '/v')],
      [dir('d'), file('d/.wh..wh..opq'), file('d/n', 2)],
    ],
    ['d d 755', 'd/n f 2', 'v d 755', 'v/s f 1'],
  ],
  [
    'whiteouts through a loop of symlinks hide nothing',
    [
      [symlink('a', 'b'), symlink('b', 'a')],
      [file('a/.wh.x'), file('a/.wh..wh..opq')],
    ],
    ['a l b', 'b l a'],
  ],
  [
    'containerd WhiteoutSymlink: the link goes, its target stays',
    [[dir('etc'), file('etc/passwd', 1), symlink('l', '/etc')], [file('.wh.l')]],
    ['etc d 755', 'etc/passwd f 1'],
  ],
  [
    'W45 opaque after children',
    [
      [dir('d'), file('d/a', 1)],
      [file('d/n', 2), file('d/.wh..wh..opq')],
    ],
    ['d d 755', 'd/n f 2'],
  ],
  [
    'W45 opaque before children',
    [
      [dir('d'), file('d/a', 1)],
      [file('d/.wh..wh..opq'), file('d/n', 2)],
    ],
    ['d d 755', 'd/n f 2'],
  ],
  [
    'an opaque mark twice',
    [
      [dir('d', 0o700), file('d/a', 1)],
      [file('d/.wh..wh..opq'), file('d/.wh..wh..opq')],
    ],
    ['d d 700'],
  ],
  [
    'an opaque root',
    [
      [dir('d'), file('a', 1)],
      [file('.wh..wh..opq'), file('n', 2)],
    ],
    ['n f 2'],
  ],
  ['an opaque mark on a file', [[file('f', 1)], [file('f/.wh..wh..opq')]], ['f f 1']],
  [
    'W47 a directory named like a whiteout',
    [[dir('etc'), file('etc/passwd', 1)], [file('.wh.etc/somefile', 2)]],
    ['.wh.etc d implied', '.wh.etc/somefile f 2', 'etc d 755', 'etc/passwd f 1'],
  ],
  [
    'W48 a directory removed and made again',
    [
      [dir('d'), file('d/a', 1)],
      [file('.wh.d'), dir('d', 0o700), file('d/n', 2)],
    ],
    ['d d 700', 'd/n f 2'],
  ],
  [
    'W49 whiteouts below an opaque directory',
    [
      [dir('d'), dir('d/e'), file('d/e/x', 1)],
      [file('d/e/.wh.x'), file('d/.wh..wh..opq'), dir('d/e')],
    ],
    ['d d 755', 'd/e d 755'],
  ],
  [
    'a whiteout and an opaque mark of one directory',
    [
      [dir('d'), file('d/x', 1)],
      [file('d/.wh..wh..opq'), file('.wh.d')],
    ],
    [],
  ],
  ['T113 file, file', [[file('a', 1), file('a', 2)]], ['a f 2']],
  ['T113 file, directory', [[file('a', 1), dir('a')]], ['a d 755']],
  ['T113 directory, file', [[dir('a'), file('a/x', 1), file('a', 2)]], ['a f 2']],
  ['T113 symlink, directory', [[dir('t'), symlink('a', 't'), dir('a', 0o700)]], ['a d 700', 't d 755']],
  ['a directory twice keeps its content', [[dir('a'), file('a/x', 1), dir('a', 0o700)]], ['a d 700', 'a/x f 1']],
  ['T114 missing parents are implied', [[file('a/b/c', 1)]], ['a d implied', 'a/b d implied', 'a/b/c f 1']],
  [
    'an implied directory is what is below, with its attributes',
    [[dir('a', 0o700), dir('a/b', 0o711)], [file('a/b/c', 2)]],
    ['a d 700', 'a/b d 711', 'a/b/c f 2'],
  ],
  ['T115 a child before its directory', [[file('a/x', 1), dir('a', 0o700)]], ['a d 700', 'a/x f 1']],
  [
    'a parent that is a file becomes a directory',
    [[file('a', 1)], [file('a/b/c', 2)]],
    ['a d implied', 'a/b d implied', 'a/b/c f 2'],
  ],
  [
    'a parent that was replaced in between',
    [[dir('a'), file('a/x', 1), file('a', 2), file('a/y', 3)]],
    ['a d implied', 'a/y f 3'],
  ],
  [
    'T119 usrmerge: a lower symlink is followed',
    [[dir('usr'), dir('usr/bin'), symlink('bin', 'usr/bin')], [file('bin/x', 2)]],
    ['bin l usr/bin', 'usr d 755', 'usr/bin d 755', 'usr/bin/x f 2'],
  ],
  [
    'T118 T32 T33 names are bytes, in bytewise order',
    [[file('a\xff', 1), file('A', 2), file('a', 3), file('\xc3\xa9', 4), file('a-', 5), file('a\n', 6)]],
    ['A f 2', 'a f 3', 'a\n f 6', 'a- f 5', 'a\xff f 1', '\xc3\xa9 f 4'],
  ],
  [
    'names that differ after six bytes',
    [[file('commonb', 1), file('common', 2), file('commona', 3)]],
    ['common f 2', 'commona f 3', 'commonb f 1'],
  ],
];
for (const [id, layers, tree] of trees) {
  test(`Merging: ${id}`, () => assert.deepEqual(show(merged(...layers)).slice(1), tree));
}

test('T44 The root takes its attributes from the layers', () => {
  assert.deepEqual(show(merged([dir('./', 0o777)], [file('a', 1)])), ['/ d 777', 'a f 1']);
  assert.deepEqual(show(merged([file('a', 1)])), ['/ d implied', 'a f 1']);
});

const refused: readonly [id: string, layers: Layers, problem: RegExp][] = [
  [
    'T10 a loop of symlinks as a parent',
    [[symlink('a', 'b'), symlink('b', 'a'), file('a/x')]],
    /directory "a" of layer 1: too many symlinks/,
  ],
  [
    'T18 a hardlink to nothing',
    [[hardlink('h', '/victim/secret')]],
    /hardlink "h" of layer 1: its target "victim\/secret" does not exist/,
  ],
  ['T24 a hardlink to a directory', [[dir('d')], [hardlink('h', 'd')]], /layer 2: its target "d" is a directory/],
  ['a hardlink to the root', [[hardlink('h', '/')]], /is a directory/],
  ['T26 a hardlink to a later entry', [[hardlink('h', 'f'), file('f')]], /does not exist/],
  ['a hardlink to what its layer hides', [[file('f', 1)], [file('.wh.f'), hardlink('h', 'f')]], /does not exist/],
  [
    'a hardlink into the directory that it replaces',
    [[dir('d'), file('d/x')], [hardlink('d', 'd/x')]],
    /does not exist/,
  ],
  ['a hardlink through a loop', [[symlink('a', 'a'), hardlink('h', 'a/x')]], /too many symlinks/],
];
for (const [id, layers, problem] of refused) {
  test(`Refused: ${id}`, () => {
    assert.throws(
      () => merged(...layers),
      (error) => isLarderError(error, 'LARDER_LAYER_INVALID') && problem.test(error.message),
    );
  });
}

test('Forty symlinks in one path are followed, forty-one are not', () => {
  const chain = (length: number): Line[] => [
    ...Array.from({ length }, (_, k) => symlink(`l${k}`, k === 0 ? 'end' : `l${k - 1}`)),
    file(`l${length - 1}/f`, 1),
  ];
  assert.ok(show(merged(chain(40))).includes('end/f f 1'));
  assert.throws(() => merged(chain(41)), /too many symlinks/);
});

test('Symlinks cannot make a tree deeper than paths may be', () => {
  const deep = Array.from({ length: 600 }, () => 'd').join('/');
  assert.throws(
    () => merged([symlink('a', deep), symlink('a/b', deep), file('a/b/f')]),
    (error) => isLarderError(error, 'LARDER_LAYER_LIMIT'),
  );
});

test('A farm of long symlinks is given up on', () => {
  const long = './'.repeat(2047);
  const lines = Array.from({ length: 40 }, (_, k) =>
    symlink(`l${k}`, k === 0 ? long : `${long.slice(0, -10)}/l${k - 1}`),
  );
  // Two directories in turn, so that no remembered way helps.
  const files = Array.from({ length: 2000 }, (_, k) => file(k % 2 === 0 ? `l39/f${k}` : `g/f${k}`));
  assert.throws(
    () => merged([...lines, ...files]),
    (error) => isLarderError(error, 'LARDER_LAYER_LIMIT'),
  );
});

test('T75 Opaque marks cost the same however much they hide', () => {
  const below = Array.from({ length: 2000 }, (_, k) => file(`d${k % 20}/f${k}`, 1));
  const marks = Array.from({ length: 2000 }, (_, k) => file(`d${k % 20}/.wh..wh..opq`));
  assert.equal(merged(below, marks).nameCount, 21);
});

test('Five hundred layers merge', () => {
  const layers = Array.from({ length: 500 }, (_, k) => [file('same', k), file(`own-${k}`, k)]);
  const tree = merged(...layers);
  assert.equal(tree.nameCount, 502);
  assert.ok(show(tree).includes('same f 499'));
});
