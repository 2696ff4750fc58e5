/** Everything that an image can hold, written, mounted and looked at through the kernel. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { kernel } from '../../src/linux/syscalls.js';
import { getXattr } from '../../src/linux/xattr.js';
import { assertSame, mounted, needsRoot } from './kernel-view.js';
import { LabImage, type LabNode } from './lab-image.js';

const bytes = (length: number, seed = 1) =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 9) * 7 + seed) & 0xff);
const xattr = (name: string, value: string | Uint8Array) => ({
  name: Buffer.from(name),
  value: typeof value === 'string' ? Buffer.from(value) : value,
});
/** Version 2, then {tag u16, permissions u16, id u32}. */
const acl = (...entries: readonly [number, number, number][]) => {
  const value = Buffer.alloc(4 + 8 * entries.length);
  value.writeUInt32LE(2);
  entries.forEach(([tag, permissions, id], i) => {
    value.writeUInt16LE(tag, 4 + 8 * i);
    value.writeUInt16LE(permissions, 6 + 8 * i);
    value.writeUInt32LE(id, 8 + 8 * i);
  });
  return value;
};
const NO_ID = 0xffffffff;
const ACL = acl([0x01, 7, NO_ID], [0x02, 6, 1000], [0x04, 5, NO_ID], [0x10, 7, NO_ID], [0x20, 4, NO_ID]);
const CAPABILITY = Buffer.from('0100000200040000000000000000000000000000', 'hex');

describe('a mounted image', needsRoot, () => {
  let lab: LabImage;
  before(() => {
    lab = new LabImage();
  });
  after(() => lab.remove());
  const same = (children: Record<string, LabNode> | Map<string, LabNode>) => assertSame(lab, lab.directory(children));

  test('shows files of every length around a block and a page', () => {
    const lengths = [0, 1, 511, 512, 513, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1_000_000];
    same(Object.fromEntries(lengths.map((length) => [`f${length}`, lab.file(bytes(length, length))])));
  });

  test('shows every type of file', () => {
    same({
      file: lab.file('x', { mode: 0o4755 }),
      directory: lab.directory({}, { mode: 0o1777 }),
      link: lab.symlink('file'),
      fifo: lab.fifo({ mode: 0o600 }),
      null: lab.device('character', 1, 3, { mode: 0o666 }),
      disk: lab.device('block', 8, 0),
    });
  });

  test('shows devices up to 4095:1048575', () => {
    same({
      a: lab.device('character', 4095, 1_048_575),
      b: lab.device('block', 4095, 255),
      c: lab.device('block', 0, 256),
      d: lab.device('character', 2048, 524_288),
    });
  });

  test('shows times before 1970 and after 2200, with nanoseconds', () => {
    const times = [-1, -2_208_988_800, 7_258_118_400, 2 ** 32, 2 ** 40, -(2 ** 40), 0];
    same(Object.fromEntries(times.map((mtime, i) => [`t${i}`, lab.file('x', { mtime, mtimeNs: 999_999_999 - i })])));
  });

  test('shows owners up to 4294967294', () => {
    same({
      a: lab.file('', { uid: 4_294_967_294, gid: 4_294_967_294 }),
      b: lab.file('', { uid: 65_536, gid: 65_535 }),
    });
  });

  test('shows xattrs of all namespaces, file capabilities and ACLs', () => {
    const xattrs = [
      xattr('security.capability', CAPABILITY),
      xattr('security.selinux', 'system_u:object_r:bin_t:s0\0'),
      xattr('system.posix_acl_access', ACL),
      xattr('trusted.t', 'trusted'),
      xattr('user.empty', ''),
      xattr('user.mime', 'text/plain'),
    ];
    same({
      file: lab.file('content', { xattrs }),
      empty: lab.file('', { xattrs }),
      directory: lab.directory(
        { inside: lab.file('x') },
        { xattrs: [xattr('system.posix_acl_access', ACL), xattr('system.posix_acl_default', ACL)] },
      ),
      link: lab.symlink('file', { xattrs: [xattr('security.selinux', 's'), xattr('trusted.l', 'l')] }),
      null: lab.device('character', 1, 3, { xattrs: [xattr('trusted.d', 'd')] }),
      fifo: lab.fifo({ xattrs: [xattr('security.selinux', 'f')] }),
    });
  });

  test('shows xattrs with the longest value, the longest name, and some hundreds on one file', () => {
    same({
      value: lab.file('v', { xattrs: [xattr('user.large', bytes(65_535))] }),
      name: lab.file('n', { xattrs: [xattr(`trusted.${'n'.repeat(247)}`, 'v')] }),
      many: lab.file('m', { xattrs: Array.from({ length: 400 }, (_, i) => xattr(`user.${1000 + i}`, bytes(i))) }),
    });
  });

  test('leaves out xattrs of namespaces that EROFS does not have', () => {
    const xattrs = [xattr('system.nfs4_acl', 'x'), xattr('user.kept', 'k'), xattr('weird', 'y')];
    mounted(lab, lab.directory({ f: lab.file('x', { xattrs }) }), (path) => {
      assert.deepEqual(getXattr(join(path, 'f'), 'user.kept'), new Uint8Array(Buffer.from('k')));
      assert.equal(getXattr(join(path, 'f'), 'system.nfs4_acl'), undefined);
    });
  });

  test('shows links of every length up to 4095 bytes, behind xattrs of every length too', () => {
    const lengths = [1, 63, 64, 65, 383, 384, 385, 447, 448, 449, 480, 511, 512, 513, 1023, 1024, 4094, 4095];
    const links = lengths.flatMap((length): [string, LabNode][] => [
      [`plain${length}`, lab.symlink('x'.repeat(length))],
      [`with${length}`, lab.symlink('y'.repeat(length), { xattrs: [xattr('trusted.x', bytes(length % 97))] })],
    ]);
    same(Object.fromEntries(links));
  });

  test('shows names of 255 bytes, that are not UTF-8, with newlines, and that sort around the dots', () => {
    const names = ['n'.repeat(255), '\xff\xfe', '\x01', '\n', ' ', '!', '-', '.!', '.-', '...', '.a', '..a'];
    names.push('\xc3\xa9', '\x7f', '.\x01', '..\x01', '.\xff', 'a', 'A', '0');
    same(new Map(names.map((name) => [name, lab.file(name)])));
  });

  test('shows a directory in which all names sort before the dots', () => {
    same(new Map(Array.from({ length: 100 }, (_, i) => [`!${i}`, lab.file('')])));
  });

  test('shows directories of every size around a block', () => {
    // `.` and `..` take 27 bytes, each of these names 12 + 13.
    const sizes = Array.from({ length: 45 }, (_, i) => i);
    const names = (count: number) =>
      new Map(Array.from({ length: count }, (_, i) => [`name-${10_000_000 + i}`, lab.fifo()]));
    same(Object.fromEntries(sizes.map((count) => [`d${count}`, lab.directory(names(count))])));
  });

  test('shows directories whose last block is exactly full', () => {
    const full = (length: number) => lab.directory({ ['f'.repeat(length)]: lab.fifo(), ['g'.repeat(206)]: lab.fifo() });
    const lengths = [253, 254, 255];
    same(Object.fromEntries(lengths.map((length) => [`${length}`, full(length)])));
  });

  test('shows 5,000 entries in a directory and finds each', () => {
    same(new Map(Array.from({ length: 5000 }, (_, i) => [`entry ${(i * 7919) % 5000}`, lab.file(`${i}`)])));
  });

  test('shows 1,000 names of 255 bytes in a directory', () => {
    same(new Map(Array.from({ length: 1000 }, (_, i) => [`${i}`.padStart(255, 'x'), lab.fifo()])));
  });

  test('shows a tree 300 directories deep', () => {
    let node = lab.file('bottom');
    for (let depth = 0; depth < 300; depth++) node = lab.directory({ d: node }, { mode: 0o700 + (depth % 8) });
    assertSame(lab, node);
  });

  test('shows the names of one inode as hardlinks, in several directories and of several types', () => {
    const file = lab.file('shared');
    const link = lab.symlink('target');
    const fifo = lab.fifo();
    same({ a: file, b: file, d: lab.directory({ c: file, l: link, f: fifo }), l: link, f: fifo });
  });

  test('shows 70,000 names of one inode', () => {
    const file = lab.file('x');
    mounted(lab, lab.directory(new Map(Array.from({ length: 70_000 }, (_, i) => [`${i}`, file]))), (path) => {
      assert.equal(statSync(join(path, '69999')).nlink, 70_000);
      assert.equal(readdirSync(path).length, 70_000);
    });
  });

  test('shows directories that no layer lists as 0755 of root', () => {
    same({ usr: lab.implied({ share: lab.implied({ doc: lab.file('x') }) }) });
  });

  test('shows a root that no layer lists, and an empty image', () => {
    assertSame(lab, lab.implied({ f: lab.file('x') }));
    assertSame(lab, lab.implied({}));
  });

  test('shows files of several tars and extra files, in whatever order the tree has them', () => {
    const where = [0, 3, 1, 5, 3, 2];
    const files = where.flatMap((layer, i): [string, LabNode][] => [
      [`t${i}`, lab.file(bytes(2000, i), { layer })],
      [`e${i}`, lab.file(bytes(3001, 99 + i), { layer, source: i % 2 === 0 ? 'extra' : 'tar' })],
    ]);
    same(Object.fromEntries(files));
  });

  test('is the same through loop devices', () => {
    const files = {
      a: lab.file(bytes(5000), { layer: 0 }),
      b: lab.file(bytes(513), { layer: 1, source: 'extra' }),
      hole: lab.sparseFile(8192, [{ at: 4096, bytes: bytes(4096) }], { layer: 2 }),
      link: lab.symlink('x'.repeat(4095)),
    };
    assertSame(lab, lab.directory(files), 'loop');
    assertSame(lab, lab.directory({}), 'loop');
  });

  test('shows files of 130 layers', () => {
    const many = new LabImage();
    try {
      const files = Array.from({ length: 130 }, (_, i): [string, LabNode] => [
        `layer${i}`,
        many.file(bytes(700, i), { layer: i }),
      ]);
      assertSame(many, many.directory(Object.fromEntries(files)));
    } finally {
      many.remove();
    }
  });

  test('shows sparse files with holes of all sizes, in front, between and at the end', () => {
    const run = (at: number, length: number) => ({ at, bytes: bytes(length, at) });
    same({
      allHole: lab.sparseFile(100_000, []),
      front: lab.sparseFile(8192, [run(4096, 4096)]),
      back: lab.sparseFile(10_000, [run(0, 512)]),
      between: lab.sparseFile(65_536 * 3, [run(0, 65_536), run(131_072, 65_536)]),
      odd: lab.sparseFile(5000, [run(512, 1024), run(2048, 512), run(4608, 392)]),
      tailInHole: lab.sparseFile(40_960, [run(4096, 4096), run(20_480, 100)]),
      touching: lab.sparseFile(4096, [run(0, 512), run(512, 1024), run(3584, 512)]),
      whole: lab.sparseFile(4000, [run(0, 4000)]),
      blocks: lab.sparseFile(
        512 * 400,
        Array.from({ length: 200 }, (_, i) => run(i * 1024, 512)),
      ),
      empty: lab.sparseFile(4096, [run(2048, 0)]),
    });
  });

  test('shows the holes of a sparse file as holes', () => {
    const file = lab.sparseFile(3 * 65_536, [{ at: 65_536, bytes: bytes(65_536) }]);
    mounted(lab, lab.directory({ file }), (path) => {
      const fd = openSync(join(path, 'file'), 'r');
      try {
        const SEEK_DATA = 3;
        const SEEK_HOLE = 4;
        assert.equal(Number(kernel().lseek(fd, 0, SEEK_DATA)), 65_536);
        assert.equal(Number(kernel().lseek(fd, 65_536, SEEK_HOLE)), 131_072);
      } finally {
        closeSync(fd);
      }
    });
  });

  test('shows files larger than 4 GiB, before and behind that offset, and of 5 TiB with holes', () => {
    const size = 5 * 2 ** 30 + 123;
    const ends = [
      { at: 0, bytes: bytes(1000, 5) },
      { at: 2 ** 32 - 300, bytes: bytes(1000, 6) },
      { at: size - 1000, bytes: bytes(1000, 7) },
    ];
    same({
      large: lab.largeFile(size, ends),
      behind: lab.file(bytes(5000, 8)),
      holes: lab.sparseFile(5 * 2 ** 40, []),
      tail: lab.sparseFile(2 ** 40 + 4096, [{ at: 2 ** 40, bytes: bytes(4096, 9) }]),
    });
  });
});
