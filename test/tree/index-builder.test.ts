import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import { ENTRY, type LayerLimits } from '../../src/tar/entry.js';
import { KIND } from '../../src/tree/types.js';
import {
  blockDevice,
  buildLines,
  bytes,
  charDevice,
  dir,
  fifo,
  file,
  hardlink,
  type Line,
  layer,
  symlink,
  xattr,
} from './entries.js';

function paths(...lines: Line[]): string[] {
  const { index } = buildLines(lines);
  return Array.from({ length: index.count }, (_, i) => {
    const start = index.pathStart[i] ?? 0;
    const text = Buffer.from(index.pool.subarray(start, start + (index.pathLength[i] ?? 0))).toString('latin1');
    return `${index.kind[i] ?? 0} ${text}`;
  });
}

const names: readonly [id: string, given: string, cleaned: string][] = [
  ['T03 absolute', '/abs', 'abs'],
  ['T05 dots and slashes', 'a/./b//c', 'a/b/c'],
  ['trailing slashes', 'a/b//', 'a/b'],
  ['leading ./', './a', 'a'],
  ['three dots are a name', '.../a', '.../a'],
  ['a name that starts with two dots', '..a', '..a'],
  ['T32 case is kept', 'A', 'A'],
  ['T33 bytes that are not UTF-8', 'caf\xe9', 'caf\xe9'],
  ['T118 control characters and backslashes', 'C:\\x\n\x1b[31m-', 'C:\\x\n\x1b[31m-'],
  ['T77 a component of 255 bytes', 'x'.repeat(255), 'x'.repeat(255)],
  ['.wh. inside a path is a name (W47)', '.wh.d/f', '.wh.d/f'],
  ['.wh without the last dot', '.wh', '.wh'],
];
for (const [id, given, cleaned] of names) {
  test(`Name is cleaned: ${id}`, () => assert.deepEqual(paths(file(given)), [`${KIND.file} ${cleaned}`]));
}

const marks: readonly [id: string, given: string, shown: string[]][] = [
  ['T39 whiteout', '.wh.a', [`${KIND.whiteout} a`]],
  ['whiteout below directories', 'd/e/.wh.a', [`${KIND.whiteout} d/e/a`]],
  ['whiteout of a name with two dots in front', '.wh...a', [`${KIND.whiteout} ..a`]],
  ['opaque', 'd/.wh..wh..opq', [`${KIND.opaque} d`]],
  ['opaque root', '/.wh..wh..opq', [`${KIND.opaque} `]],
  ['W46 aufs plnk', '.wh..wh.plnk', []],
  ['W46 aufs', 'd/.wh..wh.aufs', []],
  ['W46 below aufs metadata', '.wh..wh.plnk/12.34', []],
  ['a longer name than the opaque mark', 'd/.wh..wh..opqx', []],
];
for (const [id, given, shown] of marks) {
  test(`Mark is recognised: ${id}`, () => assert.deepEqual(paths(file(given)), shown));
}

test('A whiteout may be an entry of any type', () => {
  assert.deepEqual(paths(dir('.wh.a/'), symlink('.wh.b', 'x'), charDevice('.wh.c')), ['8 a', '8 b', '8 c']);
});

test('A path of exactly the limits passes', () => {
  const limits = { maxPathBytes: 5, maxDepth: 3 };
  assert.equal(buildLines([file('/a/b/c/')], limits).index.count, 1);
});

type Refusal = readonly [id: string, line: Line, problem: RegExp, limits?: Partial<LayerLimits>];
const refused: readonly Refusal[] = [
  ['T01 climbs', file('../esc'), /"\.\." component/],
  ['T02 climbs later', file('a/../../esc'), /"\.\." component/],
  ['T04 absolute and climbs', file('//../abs'), /"\.\." component/],
  ['T06 dotdot inside', file('a/b/../c'), /"\.\." component/],
  ['dotdot at the end', dir('a/..'), /"\.\." component/],
  ['T15 root as a symlink', symlink('.', '/x'), /root of an image must be a directory/],
  ['T16 root as a file', file('/'), /root of an image must be a directory/],
  ['T17 root as a symlink with a slash', symlink('./', '/x'), /root of an image must be a directory/],
  ['root as a hardlink', hardlink('./', 'x'), /root of an image must be a directory/],
  ['T35 whiteout of the parent', file('.wh...'), /must name an entry/],
  ['T36 whiteout of the directory itself', file('.wh..'), /must name an entry/],
  ['T37 whiteout of the parent below', file('d/.wh...'), /must name an entry/],
  ['T38 whiteout of nothing', file('.wh.'), /must name an entry/],
  ['T43 empty name', file(''), /name is empty/],
  ['NUL in the name', file('a\0b'), /NUL/],
  ['T77 component of 256 bytes', file('x'.repeat(256)), /256 bytes/],
  ['T14 symlink target with NUL', symlink('l', 'a\0b'), /NUL/],
  ['T14 symlink target of 4,096 bytes', symlink('l', 'x'.repeat(4096)), /4096 bytes/],
  ['empty symlink target', symlink('l', ''), /without a target/],
  ['T19 hardlink target climbs', hardlink('h', '../../victim/secret'), /"\.\." component/],
  ['T25 hardlink to itself', hardlink('d/h', '/d/./h'), /to itself/],
  ['empty hardlink target', hardlink('h', ''), /without a target/],
  ['T65 uid 4294967295', file('f', 4_294_967_295), /owner/],
  ['gid out of range', file('f', 0, { gid: 2 ** 32 }), /owner/],
  ['fractional uid', file('f', 1.5), /owner/],
  ['nanoseconds', file('f', 0, { mtimeNs: 1e9 }), /nanoseconds/],
  ['time that is no number', file('f', 0, { mtime: Number.NaN }), /not a number/],
  ['device major', blockDevice('d', { devMajor: 4096 }), /outside/],
  ['device minor', charDevice('d', { devMinor: 1_048_576 }), /outside/],
  ['T63 xattr value', file('f', 0, { xattrs: [xattr('user.a', 'x'.repeat(65_536))] }), /65536 bytes/],
  ['xattr without a rest', file('f', 0, { xattrs: [xattr('user.', 'x')] }), /nothing after the prefix/],
  ['xattr name', file('f', 0, { xattrs: [xattr(`user.${'n'.repeat(251)}`, 'x')] }), /256 bytes/],
  ['T62 broken ACL', file('f', 0, { xattrs: [xattr('system.posix_acl_access', 'nonsense')] }), /POSIX ACL/],
  [
    'T63 too many xattrs',
    file('f', 0, { xattrs: Array.from({ length: 1000 }, (_, k) => xattr(`user.${String(k).padStart(80, '0')}`, '')) }),
    /names of its xattrs/,
  ],
  [
    'sparse runs out of order',
    file('f', 0, { size: 4096, stored: 1024, sparse: [run(512, 512), run(0, 512)] }),
    /out of order/,
  ],
  ['sparse run beyond the end', file('f', 0, { size: 512, stored: 1024, sparse: [run(0, 1024)] }), /outside/],
  [
    'runs that disagree with what is stored',
    file('f', 0, { size: 4096, stored: 512, sparse: [run(0, 1024)] }),
    /are stored/,
  ],
  ['T76 depth', file('a/b/c/d'), /4 components, the limit is 3/, { maxDepth: 3 }],
  ['T78 path', file('abcd/efgh'), /9 bytes, the limit is 8/, { maxPathBytes: 8 }],
  ['T73 entries', file('a'), /too many entries, the limit is 0/, { maxEntries: 0 }],
];
for (const [id, line, problem, limits] of refused) {
  const code = limits === undefined ? 'LARDER_LAYER_INVALID' : 'LARDER_LAYER_LIMIT';
  test(`Refused with ${code}: ${id}`, () => {
    assert.throws(
      () => buildLines([line], limits),
      (error) => isLarderError(error, code) && problem.test(error.message),
    );
  });
}

test('What an entry says is kept', () => {
  const index = layer(
    dir('./', 0o777, { uid: 1000 }),
    file('f', 2 ** 31, { mode: 0o6755, gid: 7, mtime: -5, mtimeNs: 999_999_999, size: 700, offset: 512 }),
    symlink('l', '../x//y'),
    charDevice('c', { devMajor: 4095, devMinor: 1_048_575 }),
    fifo('p'),
  );
  assert.equal(index.mode[0], 0o777);
  assert.equal(index.uid[0], 1000);
  assert.deepEqual([index.mode[1], index.uid[1], index.gid[1]], [0o6755, 2 ** 31, 7]);
  assert.deepEqual([index.mtime[1], index.mtimeNs[1], index.size[1], index.offset[1]], [-5, 999_999_999, 700, 512]);
  assert.equal(
    Buffer.from(index.pool)
      .subarray(index.linkStart[2], (index.linkStart[2] ?? 0) + 7)
      .toString(),
    '../x//y',
  );
  assert.deepEqual([index.size[3], index.offset[3]], [4095, 1_048_575]);
});

test('T64 A character device 0:0 is dropped and counted, other devices are kept', () => {
  const { index, ignored } = buildLines([charDevice('a'), charDevice('b', { devMinor: 1 }), blockDevice('c')]);
  assert.deepEqual([...index.kind], [KIND.character, KIND.block]);
  assert.equal(ignored.whiteoutDevices, 1);
});

test('T58 to T61 Xattrs are sorted, the last of one name wins, what overlayfs would obey is dropped', () => {
  const xattrs = [
    xattr('user.b', 'old'),
    xattr('trusted.overlay.opaque', 'y'),
    xattr('security.selinux', 'label\0'),
    xattr('user.overlay.redirect', '/etc'),
    xattr('user.b', 'new'),
    xattr('btrfs.compression', 'zstd'),
    xattr('trusted.overlayed', 'mine'),
  ];
  const { index, ignored } = buildLines([file('none'), file('some', 0, { xattrs }), file('same', 0, { xattrs })]);
  assert.equal(index.hasXattrs(0), false);
  assert.deepEqual(index.xattrs(0), []);
  const shown = [1, 2].map((i) =>
    index.xattrs(i).map(({ name, value }) => `${Buffer.from(name)}=${Buffer.from(value)}`),
  );
  const expected = ['security.selinux=label\0', 'trusted.overlayed=mine', 'user.b=new'];
  assert.deepEqual(shown, [expected, expected]);
  assert.equal(ignored.xattrs, 6);
});

test('T53 T62 Capabilities and valid ACLs are kept byte for byte', () => {
  const acl = [
    2,
    0,
    0,
    0,
    ...aclEntry(1, 7),
    ...aclEntry(2, 5, 1000),
    ...aclEntry(4, 5),
    ...aclEntry(16, 7),
    ...aclEntry(32, 4),
  ];
  const capability = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';
  const given = [
    xattr('system.posix_acl_access', String.fromCharCode(...acl)),
    xattr('security.capability', capability),
  ];
  const kept = layer(file('f', 0, { xattrs: given })).xattrs(0);
  assert.deepEqual(
    kept.map(({ value }) => Buffer.from(value)),
    [bytes(capability), Buffer.from(acl)],
  );
});

test('Attributes of a hardlink entry are not read', () => {
  const index = layer(file('f'), hardlink('h', 'f', { uid: 2 ** 40, mode: 0o777, xattrs: [xattr('user.', '')] }));
  assert.deepEqual([index.kind[1], index.uid[1], index.mode[1]], [KIND.hardlink, 0, 0]);
});

test('A file whose padding is not zero goes to the extra data, one without bytes does not', () => {
  const { index, extra } = buildLines([
    file('odd', 0, { size: 5, offset: 512, zeroPadded: false }),
    file('good', 0, { size: 5, offset: 1536 }),
    file('empty', 0, { size: 0, offset: 99, zeroPadded: false }),
    file('odd too', 0, { size: 600, offset: 2560, zeroPadded: false }),
  ]);
  assert.deepEqual(
    [0, 1, 2, 3].map((i) => index.inExtra(i)),
    [true, false, false, true],
  );
  assert.deepEqual([...index.offset], [0, 1536, 0, 512]);
  assert.equal(index.extraSize, 512 + 1024);
  assert.deepEqual(
    extra.map(({ entry, tarOffset, size }) => [entry, tarOffset, size]),
    [
      [0, 512, 5],
      [3, 2560, 600],
    ],
  );
});

test('A last file whose block the archive cuts goes to the extra data', () => {
  assert.equal(buildLines([file('f', 0, { size: 5, offset: 512 })], {}, 517).index.inExtra(0), true);
  assert.equal(buildLines([file('f', 0, { size: 5, offset: 512 })], {}, 1024).index.inExtra(0), false);
});

test('T72 A file beyond the end of the archive is refused', () => {
  assert.throws(() => buildLines([file('f', 0, { size: 600, offset: 512 })], {}, 1024), /beyond the archive's end/);
});

const MiB = 2 ** 20;
const sparse: readonly [what: string, size: number, runs: [number, number][], mapped: boolean][] = [
  [
    'aligned runs with a hole',
    8192,
    [
      [0, 512],
      [4096, 512],
    ],
    true,
  ],
  ['a last run that ends inside a block', 5000, [[4608, 392]], true],
  ['a last run that ends inside a block before a hole', 8192, [[512, 100]], true],
  ['a run that starts inside a block', 8192, [[100, 512]], false],
  [
    'a run in the middle that ends inside a block',
    8192,
    [
      [0, 100],
      [512, 512],
    ],
    false,
  ],
  [
    'touching runs that are aligned together',
    8192,
    [
      [0, 100],
      [100, 412],
    ],
    true,
  ],
  ['only a hole', 5 * 2 ** 40, [], true],
  ['more chunks than are reasonable', 64 * MiB, [[512, 512]], false],
  [
    'large pieces of a large file',
    64 * MiB,
    [
      [MiB, MiB],
      [8 * MiB, MiB],
    ],
    true,
  ],
];
for (const [what, size, runs, mapped] of sparse) {
  test(`T88 T89 Sparse file, ${mapped ? 'mapped from the tar' : 'written out'}: ${what}`, () => {
    const stored = runs.reduce((sum, [, length]) => sum + length, 0);
    const line = file('s', 0, {
      size,
      offset: 512,
      stored,
      sparse: runs.map(([offset, length]) => run(offset, length)),
    });
    const { index, extra } = buildLines([file('first'), line]);
    assert.equal(index.inExtra(1), !mapped);
    assert.equal(extra.length, mapped ? 0 : 1);
    assert.equal(index.sparse(1) !== undefined, mapped);
    assert.equal(index.size[1], size);
    assert.equal(index.sparse(0), undefined);
  });
}

test('T87 A sparse file that no data file can hold is refused', () => {
  const line = file('s', 0, { size: 2 ** 50, offset: 512, stored: 512, sparse: [run(512, 512)] });
  assert.throws(
    () => buildLines([line]),
    (error) => isLarderError(error, 'LARDER_LAYER_LIMIT'),
  );
});

test('Messages escape what a name contains', () => {
  assert.throws(
    () => buildLines([file('\x1b[31m/..')]),
    (error) => error instanceof Error && !error.message.includes('\x1b'),
  );
});

test('Every entry type has its kind', () => {
  const lines = [
    file('a'),
    dir('b'),
    symlink('c', 'x'),
    hardlink('d', 'a'),
    charDevice('e', { devMajor: 1 }),
    blockDevice('f'),
    fifo('g'),
  ];
  assert.deepEqual([...layer(...lines).kind], Object.values(ENTRY));
});

function run(offset: number, length: number) {
  return { offset, length };
}

function aclEntry(tag: number, permissions: number, id = 0xffff_ffff): number[] {
  return [tag, 0, permissions, 0, id & 255, (id >>> 8) & 255, (id >>> 16) & 255, id >>> 24];
}
