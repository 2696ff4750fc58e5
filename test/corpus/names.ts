/** Names, links and whiteouts: what a layer says about where its files go. */
import { dir, file, hardlink, opaque, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { VICTIM } from './canary.js';
import type { LayerCase, Scene } from './case.js';

const INVALID = 'LARDER_LAYER_INVALID';
/** From the root of a container (`containers/<id>/rootfs` in the store) and of an overlay directory to beside the store. */
const UPS = [4, 6].map((n) => `${'../'.repeat(n)}${VICTIM}`);

const one = (...parts: readonly Buffer[]): readonly Buffer[] => [tar(parts)];
const CLEANED = 'cleans the name and keeps the entry';
const ROOT = 'leaves out what would change the root';
/** Each layer is unpacked into a directory of its own, in which what is below is not seen. */
const APART = 'makes a directory in the place of the symlink below';
const PLNK = 'keeps `.wh..wh.plnk`';
const LISTED = 'leaves whiteouts in a directory that hides all below, where the kernel lists them';

export const nameCases: readonly LayerCase[] = [
  ...['../esc', 'a/../../esc', '..', 'a/..', './../x', 'a/b/../c'].map(
    (name): LayerCase => ({
      id: name === 'a/b/../c' ? 'T06' : name.startsWith('a/') ? 'T02' : 'T01',
      what: `a file called ${name}`,
      layers: ({ at }) => one(file(at(name), 'x')),
      refused: INVALID,
      // The root, that is, and umoci does not make a file of it.
      ...(name.endsWith('..') ? { containerd: ROOT } : { umoci: CLEANED, containerd: CLEANED }),
    }),
  ),
  {
    id: 'T04',
    what: 'an absolute name that climbs above the root',
    layers: ({ victim, at }) => one(file(at(`//..${victim}/secret`), 'mine')),
    refused: INVALID,
    umoci: CLEANED,
    containerd: CLEANED,
  },
  ...UPS.map(
    (up): LayerCase => ({
      id: 'T01',
      what: `names that climb ${up.split('/').length - 1} directories to a file of the host, and to a new one`,
      layers: ({ at }) => one(file(at(`${up}/secret`), 'overwritten'), file(at(`${up}/new`), 'new')),
      refused: INVALID,
      umoci: CLEANED,
      containerd: CLEANED,
    }),
  ),
  {
    id: 'T03',
    what: 'an absolute name is below the root',
    layers: ({ victim, at }) => one(file(at(`${victim}/secret`), 'mine'), file(at(`/${victim}/new`), 'new')),
    tree: { 'VICTIM/secret': 'file mine', 'VICTIM/new': 'file new' },
  },
  {
    id: 'T05',
    what: 'dots and empty components are nothing',
    layers: ({ at }) => one(file(at('a/./b//c'), 'x')),
    tree: { 'a/b/c': 'file x' },
  },
  {
    id: 'T07',
    what: 'a file below a symlink to an absolute directory of the host',
    layers: ({ victim, at }) => one(symlink(at('d'), victim), file(at('d/secret'), 'mine'), file(at('d/new'), 'x')),
    tree: { d: 'link VICTIM', 'VICTIM/secret': 'file mine', 'VICTIM/new': 'file x' },
  },
  ...UPS.map(
    (up): LayerCase => ({
      id: 'T08',
      what: `a file below a symlink that climbs ${up.split('/').length - 1} directories`,
      layers: ({ at }) => one(symlink(at('d'), up), file(at('d/secret'), 'mine')),
      tree: { d: `link ${up}`, [`${VICTIM}/secret`]: 'file mine' },
    }),
  ),
  {
    id: 'T09',
    what: 'a file below a chain of symlinks',
    layers: ({ victim, at }) => one(symlink(at('a'), 'b'), symlink(at('b'), victim), file(at('a/x'), 'x')),
    tree: { a: 'link b', 'VICTIM/x': 'file x' },
  },
  {
    id: 'T10',
    what: 'a file below symlinks that lead to each other',
    layers: ({ at }) => one(symlink(at('a'), 'b'), symlink(at('b'), 'a'), file(at('a/x'))),
    refused: INVALID,
  },
  {
    id: 'T11',
    what: 'a file below a dangling symlink makes its target, inside',
    layers: ({ victim, at }) => one(symlink(at('d'), `${victim}/nope`), file(at('d/f'), 'x')),
    tree: { d: 'link VICTIM/nope', 'VICTIM/nope/f': 'file x' },
  },
  {
    id: 'T12',
    what: 'a symlink that a directory replaces, with files',
    layers: ({ victim, at }) => one(symlink(at('d'), victim), dir(at('d')), file(at('d/secret'), 'mine')),
    tree: { d: 'dir', 'd/secret': 'file mine', VICTIM: 'missing' },
  },
  {
    id: 'T13',
    what: 'a directory that a symlink replaces, then a file below',
    layers: ({ victim, at }) =>
      one(dir(at('d')), file(at('d/old'), 'x'), symlink(at('d'), victim), file(at('d/secret'), 'mine')),
    tree: { d: 'link VICTIM', 'VICTIM/secret': 'file mine' },
  },
  {
    id: 'T14',
    what: 'a symlink with a newline in its target',
    layers: ({ at }) => one(symlink(at('l'), 'a\nb')),
    tree: { l: 'link a\nb' },
  },
  {
    id: 'T14',
    what: 'a symlink with a target of 4,096 bytes',
    layers: ({ at }) => one(symlink(at('l'), 'x'.repeat(4096))),
    refused: INVALID,
  },
  {
    id: 'T14',
    what: 'a symlink without a target',
    layers: ({ at }) => one(symlink(at('l'), '')),
    refused: INVALID,
  },
  ...['.', '/', './', '/.'].map(
    (name): LayerCase => ({
      id: 'T15',
      what: `the root as a symlink called ${name}`,
      layers: ({ victim }) => one(symlink(name, victim), file('secret', 'mine')),
      refused: INVALID,
      containerd: ROOT,
    }),
  ),
  { id: 'T16', what: 'the root as a file', layers: () => one(file('/', 'x')), refused: INVALID, containerd: ROOT },
  {
    id: 'T17',
    what: 'the root as a symlink, its files in the next layer',
    layers: ({ victim }) => [tar([symlink('./', victim)]), tar([file('secret', 'mine')])],
    refused: INVALID,
    noAci: true,
    containerd: ROOT,
  },
  ...(
    [
      ['T18', 'an absolute file of the host', ({ victim }: Scene) => `${victim}/secret`],
      ['T19', 'a file of the host, relative', () => `${UPS[0]}/secret`],
      ['T26', 'a file that comes later', () => 'later'],
      ['T25', 'itself', ({ at }: Scene) => at('l')],
      ['T24', 'a directory', ({ at }: Scene) => at('dir')],
      ['T24', 'the root', ({ at }: Scene) => at('/')],
    ] as const
  ).map(
    ([id, what, target]): LayerCase => ({
      id,
      what: `a hardlink to ${what}`,
      layers: (scene) =>
        one(
          dir(scene.at('dir')),
          hardlink(scene.at('l'), target(scene), { mode: 0o777, uid: 7 }),
          file(scene.at('later')),
        ),
      refused: INVALID,
      ...(id === 'T24' ? { noAci: true as const } : {}),
    }),
  ),
  {
    id: 'T20',
    what: 'a hardlink whose absolute target is in the image',
    layers: () => one(file('a/f', 'x'), hardlink('l', '/a/f')),
    tree: { l: ['as a/f', 'file x'] },
    noAci: true,
  },
  {
    id: 'T21',
    what: 'a hardlink through a symlink to a directory of the host',
    layers: ({ victim, at }) => one(symlink(at('s'), victim), hardlink(at('l'), at('s/secret'))),
    refused: INVALID,
  },
  {
    id: 'T22',
    what: 'a hardlink to a symlink is a name of the symlink',
    layers: ({ victim, at }) => one(symlink(at('s'), `${victim}/secret`), hardlink(at('l'), at('s'))),
    tree: { l: ['link VICTIM/secret', 'as s'] },
  },
  {
    id: 'T23',
    what: 'a hardlink to a symlink, then a file in its place',
    layers: ({ victim, at }) =>
      one(symlink(at('s'), `${victim}/secret`), hardlink(at('l'), at('s')), file(at('l'), 'mine')),
    tree: { l: 'file mine', s: 'link VICTIM/secret' },
  },
  {
    id: 'T28',
    what: 'a hardlink entry with another mode and owner changes neither',
    layers: ({ at }) =>
      one(file(at('f'), 'x', { mode: 0o600, uid: 1 }), hardlink(at('l'), at('f'), { mode: 0o777, uid: 2 })),
    tree: { l: ['as f', 'mode 600', 'owner 1:0'] },
    containerd: 'takes the mode and the owner of the last name',
  },
  {
    id: 'T29',
    what: 'a hardlink to a file of the layer below',
    layers: () => [tar([file('f', 'x')]), tar([hardlink('l', 'f')])],
    tree: { l: ['as f', 'file x'] },
    noAci: true,
    containerd: 'does not find what is in the layers below',
  },
  {
    id: 'T30',
    what: 'a hardlink by which a file of the host would get another mode',
    layers: ({ victim, at }) => one(hardlink(at('l'), `${victim}/readonly`, { mode: 0o777, uid: 5, mtime: 9 })),
    refused: INVALID,
  },
  {
    id: 'T32',
    what: 'names that differ in case only',
    layers: ({ at }) => one(file(at('A'), '1'), file(at('a'), '2')),
    tree: { A: 'file 1', a: 'file 2' },
  },
  {
    id: 'T33',
    what: 'names that differ in their Unicode form only, and one that is no UTF-8',
    layers: ({ at }) =>
      one(
        file(at('\u00e9'), '1'),
        file(at('e\u0301'), '2'),
        file(Buffer.concat([Buffer.from(at('x')), Buffer.of(0xff)]), '3'),
      ),
    tree: { '\u00e9': 'file 1', 'e\u0301': 'file 2' },
  },
  {
    id: 'T34',
    what: 'a symlink that climbs in one layer, a file below it in the next',
    layers: () => [tar([symlink('x', UPS[0] ?? '')]), tar([file('x/secret', 'mine')])],
    tree: { x: `link ${UPS[0]}`, [`${VICTIM}/secret`]: 'file mine' },
    noAci: true,
    containerd: APART,
  },
  ...(
    [
      ['T35', '.wh...'],
      ['T36', '.wh..'],
      ['T37', 'd/.wh...'],
      ['T38', '.wh.'],
    ] as const
  ).map(
    ([id, name]): LayerCase => ({
      id,
      what: `a whiteout called ${name}`,
      layers: () => [tar([file('d/f', 'x')]), tar([file(name)])],
      refused: INVALID,
      noAci: true,
    }),
  ),
  {
    id: 'T39',
    what: 'a whiteout of nothing',
    layers: () => one(dir('d'), whiteout('d/a')),
    tree: { 'd/a': 'missing', 'd/.wh.a': 'missing' },
    noAci: true,
  },
  ...[true, false].map(
    (first): LayerCase => ({
      id: 'T40',
      what: `a whiteout ${first ? 'before' : 'behind'} a file of its name in one layer hides only what is below`,
      layers: () => [
        tar([file('a', 'below')]),
        tar(first ? [whiteout('a'), file('a', 'above')] : [file('a', 'above'), whiteout('a')]),
      ],
      tree: { a: 'file above' },
      noAci: true,
      ...(first ? {} : { containerd: 'refuses it' }),
    }),
  ),
  {
    id: 'T41',
    what: 'a whiteout below a symlink to a directory of the host',
    layers: ({ victim }) => [
      tar([symlink('d', victim), file(`${victim}/secret`, 'inner'), file(`${victim}/other`, 'kept')]),
      tar([whiteout('d/secret')]),
    ],
    tree: { 'VICTIM/secret': 'missing', 'VICTIM/other': 'file kept' },
    noAci: true,
    containerd: APART,
  },
  {
    id: 'T42',
    what: 'an opaque mark below a symlink to a directory of the host',
    layers: ({ victim }) => [tar([symlink('d', victim), file(`${victim}/secret`, 'inner')]), tar([opaque('d')])],
    tree: { VICTIM: 'dir', 'VICTIM/secret': 'missing' },
    noAci: true,
    containerd: APART,
  },
  { id: 'T43', what: 'an empty name', layers: () => one(file('', 'x')), refused: INVALID, containerd: ROOT },
  {
    id: 'T44',
    what: 'the root with a mode and an owner',
    layers: () => one(dir('./', { mode: 0o777, uid: 1000, gid: 1000 })),
    tree: { '': ['mode 777', 'owner 1000:1000'] },
    noAci: true,
    containerd: ROOT,
  },
  ...(['first', 'last'] as const).map(
    (where): LayerCase => ({
      id: 'W45',
      what: `an opaque mark that comes ${where} in its directory`,
      layers: () => [
        tar([dir('d'), file('d/old', 'x')]),
        tar(where === 'first' ? [opaque('d'), file('d/new', 'y')] : [file('d/new', 'y'), opaque('d')]),
      ],
      tree: { 'd/old': 'missing', 'd/new': 'file y' },
      noAci: true,
    }),
  ),
  {
    id: 'W46',
    what: 'metadata of aufs',
    layers: () => one(dir('.wh..wh.plnk'), file('.wh..wh.plnk/1.2', 'x'), file('.wh..wh.aufs'), file('kept', 'x')),
    tree: { '.wh..wh.plnk': 'missing', '.wh..wh.aufs': 'missing', kept: 'file x' },
    noAci: true,
    umoci: PLNK,
    containerd: PLNK,
  },
  {
    id: 'W47',
    what: 'a directory whose name is that of a whiteout',
    layers: () => one(file('.wh.d/file', 'x')),
    tree: { '.wh.d/file': 'file x' },
    noAci: true,
  },
  {
    id: 'W48',
    what: 'a whiteout of a directory, and the directory again',
    layers: () => [
      tar([dir('d', { mode: 0o700 }), file('d/old', 'x')]),
      tar([whiteout('d'), dir('d', { mode: 0o755 }), file('d/new', 'y')]),
    ],
    tree: { d: 'mode 755', 'd/old': 'missing', 'd/new': 'file y' },
    noAci: true,
    containerd: 'shows what was below again',
  },
  {
    id: 'W49',
    what: 'whiteouts below an opaque directory',
    layers: () => [
      tar([file('d/e/old', 'x'), file('d/f', 'x')]),
      tar([opaque('d'), whiteout('d/f'), dir('d/e'), whiteout('d/e/old'), file('d/g', 'y')]),
    ],
    tree: { 'd/e': 'dir', 'd/e/old': 'missing', 'd/f': 'missing', 'd/g': 'file y' },
    noAci: true,
    containerd: LISTED,
  },
];
