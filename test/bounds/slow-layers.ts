/** Layers that take long where a program looks again and again at what it has seen. */
import { dir, file, hardlink, opaque, symlink, tar } from '../../src/testing/tar-builder.js';
import { headerMaker } from './hostile-layers.js';

export interface SlowLayers {
  /** Of the layer that is measured, at most. */
  readonly entries: number;
  /** Tars, base first. */
  make(entries: number): readonly Buffer[];
}

const DEEPEST = 250;

export const SLOW_LAYERS: Readonly<Record<string, SlowLayers>> = {
  'files of many directories': {
    entries: 1e6,
    make: (n) => [tar(many(n, file('x'), (i) => `d${i >> 8}/f${i}`))],
  },
  'files of one directory': { entries: 1e6, make: (n) => [tar(many(n, file('x'), (i) => `d/f${i}`))] },
  'directories in no order': {
    entries: 500_000,
    make: (n) => [tar(many(n, dir('x'), (i) => `d${(i * 7919) % 997}/d${(i * 104_729) % n}/`))],
  },
  'hard links to one file': {
    entries: 1e6,
    make: (n) => [tar([file('f'), ...many(n, hardlink('x', 'f'), (i) => `l${i}`, 'f')])],
  },
  'hard links to hard links': {
    entries: 500_000,
    make: (n) => [
      tar([
        file('l-1'),
        ...many(
          n,
          hardlink('x', 'f'),
          (i) => `l${i}`,
          (i) => `l${i - 1}`,
        ),
      ]),
    ],
  },
  'whiteouts of a lower layer': {
    entries: 500_000,
    make: (n) => [tar(many(n, file('x'), (i) => `d/f${i}`)), tar(many(n, file('x'), (i) => `d/.wh.f${i}`))],
  },
  'whiteouts of nothing': { entries: 1e6, make: (n) => [tar(many(n, file('x'), (i) => `d/.wh.f${i}`))] },
  'opaque marks of as many directories': {
    entries: 500_000,
    make: (n) => [tar(many(n, file('x'), (i) => `d${i}/f`)), tar(many(n, file('x'), (i) => `d${i}/.wh..wh..opq`))],
  },
  'one directory, opaque again and again over a large one': {
    entries: 500_000,
    make: (n) => [tar(many(n, file('x'), (i) => `d/f${i}`)), tar(many(n, file('x'), () => 'd/.wh..wh..opq'))],
  },
  'opaque marks between the files that they leave': {
    entries: 500_000,
    make: (n) => [
      tar(many(n, file('x'), (i) => `d/f${i}`)),
      tar(many(n, file('x'), (i) => (i % 2 === 0 ? 'd/.wh..wh..opq' : `d/g${i}`))),
    ],
  },
  'opaque marks at every depth over a large directory': {
    entries: 500_000,
    make: (n) => {
      const depths = Array.from({ length: 45 }, (_, i) => 'd/'.repeat(i + 1));
      const deep = depths.at(-1) ?? '';
      return [
        tar(many(n, file('x'), (i) => `${deep}${i}`)),
        tar([...depths.map((path) => opaque(path.slice(0, -1))), ...many(n, file('x'), (i) => `${deep}n${i}`)]),
      ];
    },
  },
  'one name again and again': { entries: 1e6, make: (n) => [tar(many(n, file('x'), () => 'd/f'))] },
  'a full directory that becomes a file and a directory again': {
    entries: 500_000,
    make: (n) => {
      const [asDirectory, asFile] = [headerMaker(dir('x')), headerMaker(file('x'))];
      const each = (i: number): Buffer =>
        i % 3 === 0 ? asDirectory('d/') : i % 3 === 1 ? asFile(`d/f${i}`) : asFile('d');
      return [tar(many(n, file('x'), (i) => `d/f${i}`)), tar(Array.from({ length: n }, (_, i) => each(i)))];
    },
  },
  'files through forty links': {
    entries: 500_000,
    make: (n) => {
      const links = Array.from({ length: 40 }, (_, i) => symlink(`l${i}`, i === 0 ? 'd' : `l${i - 1}`));
      return [tar([dir('d'), ...links, ...many(n, file('x'), (i) => `l38/f${i}`)])];
    },
  },
  'files at a depth of 250, each in directories of its own': {
    entries: 2000,
    make: (n) => [tar(Array.from({ length: n }, (_, i) => file(`${`${i}/`.repeat(DEEPEST)}f`)))],
  },
  'files at a depth of 250 of one directory': {
    entries: 100_000,
    make: (n) => [tar(Array.from({ length: n }, (_, i) => file(`${'d/'.repeat(DEEPEST)}${i}`)))],
  },
  'files with attributes of their own': {
    entries: 100_000,
    make: (n) => [
      tar(Array.from({ length: n }, (_, i) => file(`f${i}`, '', { xattrs: { 'user.n': `${i}`, 'user.m': `${-i}` } }))),
    ],
  },
  'two hundred layers that hide each other’s files': {
    entries: 500_000,
    make: (n) =>
      Array.from({ length: 200 }, (_, layer) => {
        const each = Math.ceil(n / 200);
        const hides = (i: number): string => `d/${i % 2 === 0 ? '.wh.' : ''}f${i - (i % 2) + (layer % 2)}`;
        return tar(many(each, file('x'), hides));
      }),
  },
};

function many(
  count: number,
  template: Buffer,
  nameOf: (i: number) => string,
  target: string | ((i: number) => string) = '',
): Buffer[] {
  const header = headerMaker(template);
  return Array.from({ length: count }, (_, i) => header(nameOf(i), typeof target === 'string' ? target : target(i)));
}
