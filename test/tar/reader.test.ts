import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import * as t from '../../src/testing/tar-builder.js';
import { expand, readOne, readTar } from './helpers.js';

const LONG = `${'d'.repeat(120)}/${'f'.repeat(140)}`;

describe('tar reader: entries', () => {
  it('reads every kind of entry', () => {
    const seen = readTar(
      t.tar([
        t.dir('d'),
        t.file('d/f', 'hello'),
        t.symlink('d/s', '/target'),
        t.hardlink('d/h', 'd/f'),
        t.char('c', 1, 3),
        t.block('b', 8, 0),
        t.fifo('p'),
      ]),
    );
    assert.deepEqual(
      seen.map((e) => [e.type, e.path, e.link, e.devMajor, e.devMinor]),
      [
        ['directory', 'd/', '', 0, 0],
        ['file', 'd/f', '', 0, 0],
        ['symlink', 'd/s', '/target', 0, 0],
        ['hardlink', 'd/h', 'd/f', 0, 0],
        ['character', 'c', '', 1, 3],
        ['block', 'b', '', 8, 0],
        ['fifo', 'p', '', 0, 0],
      ],
    );
  });

  it('says where a file’s bytes are, always at a multiple of 512', () => {
    const archive = t.tar([t.file('a', 'x'.repeat(513)), t.file('b', 'yy'), t.file('c')]);
    const seen = readTar(archive);
    assert.deepEqual(
      seen.map((e) => [e.offset, e.size, e.stored]),
      [
        [512, 513, 513],
        [2048, 2, 2],
        [3072, 0, 0],
      ],
    );
    assert.equal(seen[0]?.content, 'x'.repeat(513));
  });

  it('tells whether the bytes after the content are zero', () => {
    const dirty = t.file('a', 'xyz');
    dirty[1023] = 1;
    const full = t.file('c', 'z'.repeat(512));
    assert.deepEqual(
      readTar(t.tar([dirty, t.file('b', 'xyz'), full, t.file('e')])).map((e) => e.zeroPadded),
      [false, true, true, true],
    );
  });

  it('keeps permission bits only, setuid, setgid and sticky included', () => {
    assert.equal(readOne(t.tar([t.file('a', '', { mode: 0o107755 })])).mode, 0o7755);
  });

  it('does not clean names', () => {
    assert.deepEqual(
      readTar(t.tar([t.file('/a/../b//./c'), t.file(''), t.file('..')])).map((e) => e.path),
      ['/a/../b//./c', '', '..'],
    );
  });

  it('keeps names that are not UTF-8', () => {
    const name = Buffer.from([0x66, 0xff, 0xfe, 0x0a]);
    for (const format of ['ustar', 'gnu', 'v7'] as const) {
      assert.equal(readOne(t.tar([t.file(name, '', { format })])).path, 'f\xff\xfe\n');
    }
    const long = Buffer.concat([name, Buffer.alloc(300, 0xe9)]);
    for (const format of ['ustar', 'gnu'] as const) {
      assert.equal(readOne(t.tar([t.file(long, '', { format })])).path, long.toString('latin1'));
    }
  });

  it('reads an archive the same however its chunks are cut', () => {
    const archive = everything();
    const whole = readTar(archive);
    for (const chunk of [1, 3, 511, 512, 513, 1000, 4096]) assert.deepEqual(readTar(archive, { chunk }), whole);
  });

  it('counts every byte in its position, those after the end too', () => {
    const reader = new TarReader({ entry: () => {} }, DEFAULT_LAYER_LIMITS);
    const archive = t.tar([t.file('a', 'x')], { trailing: Buffer.alloc(77, 1) });
    reader.write(archive);
    reader.end();
    assert.equal(reader.position, archive.length);
  });

  it('fails with what the sink throws', () => {
    const reader = new TarReader(
      {
        entry: () => {
          throw new RangeError('sink');
        },
      },
      DEFAULT_LAYER_LIMITS,
    );
    assert.throws(() => reader.write(t.tar([t.file('a')])), RangeError);
  });

  it('names the archive, the entry and the place when it refuses', () => {
    const archive = t.tar([t.file('ok', 'x'), t.file('usr/bad', '', { pax: { uid: '-1' } })]);
    assert.throws(
      () => readTar(archive),
      (error) =>
        isLarderError(error, 'LARDER_LAYER_INVALID') &&
        error.message === 'reading layer: test, at byte 1024: its pax uid is not a decimal number' &&
        error.details['offset'] === 1024,
    );
    const archive2 = t.tar([t.file('usr/bad', '', { typeflag: 'Z' })]);
    assert.throws(
      () => readTar(archive2),
      (error) => isLarderError(error, 'LARDER_ENTRY_UNSUPPORTED') && error.details['entry'] === 'usr/bad',
    );
  });
});

describe('tar reader: dialects', () => {
  it('joins the prefix of a ustar name', () => {
    const name = `${'p'.repeat(100)}/${'n'.repeat(90)}`;
    assert.equal(readOne(t.tar([t.file(name)])).path, name);
  });

  it('takes no prefix from V7 and old GNU headers', () => {
    const patch = (header: Buffer) => header.write('14000000000\0', 345, 'latin1');
    for (const format of ['v7', 'gnu'] as const) {
      assert.equal(readOne(t.tar([t.file('a', '', { format, patch })])).path, 'a');
    }
  });

  it('takes the misplaced prefix of Go before 1.8', () => {
    const patch = (header: Buffer) => header.write('usr/share/some-directory', 345, 'latin1');
    assert.equal(readOne(t.tar([t.file('a', '', { format: 'gnu', patch })])).path, 'usr/share/some-directory/a');
  });

  it('cuts the prefix of a star header before its times', () => {
    const patch = (header: Buffer) => {
      header.write('p'.repeat(131), 345, 'latin1');
      header.write('14000000000 14000000000 ', 476, 'latin1');
      header.write('tar\0', 508, 'latin1');
    };
    assert.equal(readOne(t.tar([t.file('a', '', { patch })])).path, `${'p'.repeat(131)}/a`);
  });

  it('reads old directories, whose name ends in a slash', () => {
    const seen = readTar(t.tar([t.file('d/', '', { format: 'v7', typeflag: '\0' }), t.file('f', 'x')]));
    assert.deepEqual(
      seen.map((e) => e.type),
      ['directory', 'file'],
    );
  });

  it('reads long names and targets of GNU and pax', () => {
    for (const format of ['gnu', 'ustar'] as const) {
      const seen = readOne(t.tar([t.symlink(LONG, `/${LONG}`, { format })]));
      assert.deepEqual([seen.path, seen.link], [LONG, `/${LONG}`]);
    }
  });

  it('reads names of thousands of bytes', () => {
    const name = 'n'.repeat(5000);
    assert.equal(readOne(t.tar([t.file(name)])).path, name);
    assert.equal(readOne(t.tar([t.file(name, '', { format: 'gnu' })])).path, name);
  });

  it('reads base-256 numbers, negative times included', () => {
    const seen = readOne(t.tar([t.file('a', '', { format: 'gnu', uid: 4_000_000_000, gid: 2 ** 31, mtime: -86_400 })]));
    assert.deepEqual([seen.uid, seen.gid, seen.mtime], [4_000_000_000, 2 ** 31, -86_400]);
  });

  it('reads a signed checksum', () => {
    const name = Buffer.from([0xe9, 0xff]);
    assert.equal(readOne(t.tar([t.file(name, '', { checksum: 'signed' })])).path, '\xe9\xff');
  });

  it('skips volume labels and ignores global headers', () => {
    const label = t.file('label', '', { typeflag: 'V', format: 'gnu' });
    const global = t.paxHeader({ path: 'evil', size: '99', uid: '7', comment: 'x' }, { global: true });
    const seen = readOne(t.tar([label, global, t.file('a', 'xy')]));
    assert.deepEqual([seen.path, seen.size, seen.uid], ['a', 2, 0]);
  });

  it('skips the content that may follow a hardlink, and does not expect it', () => {
    const without = t.hardlink('h', 'f', { size: 700 });
    const content = t.padded(Buffer.alloc(700, 'z'));
    for (const archive of [t.tar([without, t.file('a', 'x')]), t.tar([without, content, t.file('a', 'x')])]) {
      assert.deepEqual(
        readTar(archive).map((e) => [e.type, e.path, e.size]),
        [
          ['hardlink', 'h', 0],
          ['file', 'a', 1],
        ],
      );
    }
  });

  it('ignores the size of what has no content', () => {
    const seen = readTar(t.tar([t.dir('d', { size: 4096 }), t.symlink('s', 'd', { size: 9 }), t.file('a')]));
    assert.equal(seen.length, 3);
  });
});

describe('tar reader: pax', () => {
  it('prefers pax to the header', () => {
    const pax = { path: 'p', size: '3', uid: '5', gid: '6', mtime: '7.25' };
    const seen = readOne(t.tar([t.file('a', 'xyz', { size: 0, pax })]));
    assert.deepEqual(
      [seen.path, seen.content, seen.uid, seen.gid, seen.mtime, seen.mtimeNs],
      ['p', 'xyz', 5, 6, 7, 250_000_000],
    );
  });

  it('applies pax to the next entry only', () => {
    const seen = readTar(t.tar([t.file('a', '', { pax: { uid: '9', path: 'p' } }), t.file('b')]));
    assert.deepEqual(
      seen.map((e) => [e.path, e.uid]),
      [
        ['p', 9],
        ['b', 0],
      ],
    );
  });

  it('never applies pax to an extension header', () => {
    const archive = t.tar([t.paxHeader({ size: '3' }), t.gnuLong('L', LONG), t.file('short', 'xyz', { size: 0 })]);
    const seen = readOne(archive);
    assert.deepEqual([seen.path, seen.content], [LONG, 'xyz']);
  });

  it('lets the last of equal keys count, and an empty value withdraw', () => {
    const pax = [
      ['path', 'one'],
      ['path', 'two'],
      ['uid', '5'],
      ['uid', ''],
    ] as const;
    const seen = readOne(t.tar([t.file('a', '', { uid: 3, pax })]));
    assert.deepEqual([seen.path, seen.uid], ['two', 3]);
  });

  const times: [string, number, number][] = [
    ['-1.5', -2, 500_000_000],
    ['-0.000000001', -1, 999_999_999],
    ['-3', -3, 0],
    ['1700000000.123456789123', 1_700_000_000, 123_456_789],
    ['8589934592', 2 ** 33, 0],
    ['99999999999999999999', 2 ** 53, 0],
    ['-99999999999999999999.5', -(2 ** 53), 500_000_000],
    ['1e300', 2 ** 53, 0],
    ['1e3', 1000, 0],
    ['NaN', 42, 0],
    ['', 42, 0],
  ];
  for (const [text, seconds, ns] of times) {
    it(`reads the time '${text}' as ${seconds} s and ${ns} ns`, () => {
      const seen = readOne(t.tar([t.file('a', '', { mtime: 42, pax: { mtime: text } })]));
      assert.deepEqual([seen.mtime, seen.mtimeNs], [seconds, ns]);
    });
  }

  it('reads extended attributes byte for byte', () => {
    const value = Buffer.from([1, 0, 0, 2, 0xff, 0x0a, 0x3d]);
    const xattrs = [
      ['security.capability', value],
      [Buffer.from('user.\xff=', 'latin1').subarray(0, 6), 'x'],
      ['user.empty', ''],
    ] as const;
    assert.deepEqual(readOne(t.tar([t.file('a', 'z', { xattrs })])).xattrs, {
      'security.capability': value.toString('latin1'),
      'user.\xff': 'x',
      'user.empty': '',
    });
  });

  it('reads LIBARCHIVE attributes, and prefers SCHILY ones of the same name', () => {
    const pax = {
      'LIBARCHIVE.xattr.user.b%3d': Buffer.from('\x00\x01').toString('base64'),
      'LIBARCHIVE.xattr.user.a': Buffer.from('lib').toString('base64'),
      'SCHILY.xattr.user.a': 'schily',
    };
    assert.deepEqual(readOne(t.tar([t.file('a', '', { pax })])).xattrs, { 'user.a': 'schily', 'user.b=': '\x00\x01' });
  });

  it('reads device numbers that do not fit the header', () => {
    const pax = { 'SCHILY.devmajor': '4000000', 'SCHILY.devminor': '5000000' };
    const seen = readOne(t.tar([t.char('c', 0, 0, { pax })]));
    assert.deepEqual([seen.devMajor, seen.devMinor], [4_000_000, 5_000_000]);
  });

  it('ignores records that say nothing of the entry', () => {
    const pax = {
      hdrcharset: 'BINARY',
      comment: 'x',
      atime: '1',
      ctime: 'junk',
      'SCHILY.fflags': 'x',
      'VENDOR.k': '\0',
    };
    assert.equal(readOne(t.tar([t.file('a', 'b', { pax })])).content, 'b');
  });
});

describe('tar reader: sparse files', () => {
  const runs = Array.from({ length: 60 }, (_, i) => ({ offset: i * 4096 + 512, data: Buffer.alloc(1024, i + 1) }));
  const expected = Buffer.alloc(300_000);
  for (const { offset, data } of runs) data.copy(expected, offset);

  for (const encoding of ['gnu', '0.0', '0.1', '1.0'] as const) {
    it(`reads encoding ${encoding} whatever the chunks`, () => {
      const archive = t.tar([t.sparse('s', 300_000, runs, encoding), t.file('next', 'x')]);
      for (const chunk of [1, 700, archive.length]) {
        const [entry, next] = readTar(archive, { chunk });
        assert.ok(entry !== undefined && expand(entry).equals(expected));
        assert.deepEqual([entry.path, entry.size, entry.stored, entry.offset % 512], ['s', 300_000, 61_440, 0]);
        assert.equal(next?.path, 'next');
      }
    });

    it(`reads a file that is one hole in encoding ${encoding}`, () => {
      const entry = readOne(t.tar([t.sparse('s', 5000, [{ offset: 5000, data: '' }], encoding)]));
      assert.deepEqual([entry.size, entry.stored, entry.sparse], [5000, 0, []]);
    });
  }
});

function everything(): Buffer {
  return t.tar([
    t.paxHeader({ comment: 'x' }, { global: true }),
    t.dir('d', { xattrs: { 'user.x': 'y' } }),
    t.file('d/f', 'x'.repeat(1300), { mtimeNs: 5, mtime: -9 }),
    t.file(LONG, 'abc', { format: 'gnu' }),
    t.symlink('s', LONG),
    t.hardlink('h', 'd/f', { size: 1300 }),
    t.padded(Buffer.alloc(1300, 'q')),
    t.char('c', 1, 3),
    t.sparse('s0', 9000, [{ offset: 512, data: 'abc' }], 'gnu'),
    t.sparse('s1', 9000, [{ offset: 512, data: 'abc' }], '1.0'),
    t.whiteout('d/gone'),
    t.opaque('d'),
  ]);
}
