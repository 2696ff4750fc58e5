/** Several things at once: whiteouts with links, types that change from layer to layer, names that are equal to the eye. */
import { char, dir, file, hardlink, opaque, sparse, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import type { LayerCase } from './case.js';

const INVALID = 'LARDER_LAYER_INVALID';
/** As in the cases of names: a layer is unpacked into a directory of its own. */
const BELOW = 'does not find what is in the layers below';
const NFC = '\u00e9';
const NFD = 'e\u0301';

export const combinations: readonly LayerCase[] = [
  {
    id: 'X01',
    what: 'a hardlink to a file of the layer below, then the whiteout of that file',
    layers: () => [tar([file('f', 'x')]), tar([hardlink('l', 'f'), whiteout('f')])],
    refused: INVALID,
    noAci: true,
    umoci: 'does one after the other',
  },
  {
    id: 'X01',
    what: 'a whiteout of a file of the layer below, then a hardlink to it',
    layers: () => [tar([file('f', 'x')]), tar([whiteout('f'), hardlink('l', 'f')])],
    refused: INVALID,
    noAci: true,
    containerd: 'makes another name of the whiteout',
  },
  {
    id: 'X02',
    what: 'a hardlink to the name of a whiteout',
    layers: () => [tar([file('f', 'x')]), tar([whiteout('f'), hardlink('l', '.wh.f')])],
    refused: INVALID,
    noAci: true,
  },
  {
    id: 'X03',
    what: 'whiteouts that are a symlink to a file of the host, a hardlink, a directory and a device',
    layers: ({ victim }) => [
      tar(['a', 'b', 'c', 'd', 'kept'].map((name) => file(name, name))),
      tar([symlink('.wh.a', `${victim}/secret`), hardlink('.wh.b', 'kept'), dir('.wh.c'), char('.wh.d', 1, 3)]),
    ],
    tree: { a: 'missing', b: 'missing', c: 'missing', d: 'missing', kept: 'file kept' },
    noAci: true,
  },
  {
    id: 'X04',
    what: 'an opaque mark in a directory that a file of the same layer replaces',
    layers: () => [tar([file('d/old', 'x')]), tar([dir('d'), opaque('d'), file('d', 'y')])],
    tree: { d: 'file y' },
    noAci: true,
  },
  {
    id: 'X05',
    what: 'a whiteout of a symlink to a directory, then a file below its name',
    layers: () => [tar([file('t/f', 'x'), symlink('s', 't')]), tar([whiteout('s'), file('s/g', 'y')])],
    tree: { s: 'dir', 's/g': 'file y', 't/f': 'file x', 't/g': 'missing' },
    noAci: true,
    containerd: 'refuses it',
  },
  {
    id: 'X05',
    what: 'a file below a symlink to a directory, then the whiteout of the symlink',
    layers: () => [tar([file('t/f', 'x'), symlink('s', 't')]), tar([file('s/g', 'y'), whiteout('s')])],
    tree: { s: 'dir', 's/g': 'file y', 't/f': 'file x', 't/g': 'missing' },
    noAci: true,
    umoci: 'does one after the other',
    containerd: 'refuses it',
  },
  {
    id: 'X06',
    what: 'a whiteout of one of two names that look the same',
    layers: () => [tar([file(NFC, '1'), file(NFD, '2')]), tar([whiteout(NFC)])],
    tree: { [NFC]: 'missing', [NFD]: 'file 2' },
    noAci: true,
  },
  {
    id: 'X07',
    what: 'a second name of a sparse file, and a third in the next layer',
    layers: () => [
      tar([sparse('f', 100_000, [{ offset: 65_536, data: 'x' }], '1.0'), hardlink('l', 'f')]),
      tar([hardlink('m', 'l')]),
    ],
    tree: { l: 'as f', m: 'as f' },
    noAci: true,
    containerd: BELOW,
  },
  {
    id: 'X08',
    what: 'a name that is a file, a directory, a symlink, a device and a directory again',
    layers: ({ victim }) => [
      tar([file('n', '1')]),
      tar([dir('n'), file('n/secret', '2')]),
      tar([symlink('n', victim)]),
      tar([char('n', 1, 3)]),
      tar([dir('n'), file('n/new', '5')]),
    ],
    tree: { n: 'dir', 'n/new': 'file 5', 'n/secret': 'missing', VICTIM: 'missing' },
    noAci: true,
  },
  {
    id: 'X09',
    what: 'one of two names of a file that the next layer replaces, and the other that the third removes',
    layers: () => [
      tar([file('f', 'x'), hardlink('l', 'f'), hardlink('m', 'f')]),
      tar([file('f', 'y')]),
      tar([whiteout('l')]),
    ],
    tree: { f: 'file y', l: 'missing', m: 'file x' },
    noAci: true,
  },
  {
    id: 'X10',
    what: 'an opaque mark in the root',
    layers: () => [tar([file('a', 'x'), dir('d')]), tar([opaque(''), file('b', 'y')])],
    tree: { a: 'missing', d: 'missing', b: 'file y' },
    noAci: true,
    containerd: 'hides nothing by it',
  },
  {
    id: 'X11',
    what: 'a hardlink to a file below a symlink of the layer below',
    layers: () => [tar([file('t/f', 'x'), symlink('s', 't')]), tar([hardlink('l', 's/f')])],
    tree: { l: ['file x', 'as t/f'] },
    noAci: true,
    containerd: BELOW,
  },
  {
    id: 'X12',
    what: 'a hardlink to a file that the opaque mark of its directory hides',
    layers: () => [tar([file('d/f', 'x')]), tar([opaque('d'), hardlink('d/l', 'd/f')])],
    refused: INVALID,
    noAci: true,
  },
  {
    id: 'X13',
    what: 'a whiteout below what is a file in the layer below',
    layers: () => [tar([file('f', 'x')]), tar([whiteout('f/g')])],
    tree: { f: 'file x' },
    noAci: true,
    containerd: 'makes a directory in the place of the file below',
  },
  {
    id: 'X14',
    what: 'a file below what is a file',
    layers: ({ at }) => [tar([file(at('f'), 'x'), file(at('f/g'), 'y')])],
    tree: { 'f/g': 'file y' },
    umoci: 'refuses it',
    containerd: 'refuses it',
  },
  {
    id: 'X15',
    what: 'a whiteout, the directory again, and a whiteout in it, all in one layer',
    layers: () => [
      tar([file('d/e/old', 'x'), file('d/kept', 'x')]),
      tar([
        whiteout('d'),
        dir('d'),
        dir('d/e'),
        whiteout('d/e/old'),
        hardlink('d/e/l', 'd/e/new'),
        file('d/e/new', 'y'),
      ]),
    ],
    refused: INVALID,
    noAci: true,
  },
  {
    id: 'X16',
    what: 'a directory that the layer above makes a symlink to itself',
    layers: () => [tar([file('d/f', 'x')]), tar([symlink('d', 'd')])],
    tree: { d: 'link d' },
    noAci: true,
  },
];
