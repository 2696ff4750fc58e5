/** Bytes that are not, or not quite, a tar: headers, extensions, sizes, ends. One archive each, read as it is. */
import type { ErrorCode } from '../../src/errors.js';
import * as t from '../../src/testing/tar-builder.js';
import type { ReadOptions } from '../tar/helpers.js';

const INVALID = 'LARDER_LAYER_INVALID';
const LIMIT = 'LARDER_LAYER_LIMIT';
const UNSUPPORTED = 'LARDER_ENTRY_UNSUPPORTED';

/** Size field as raw text of 12 bytes. */
function sizeField(text: string): Buffer {
  const patch = (header: Buffer) => {
    header.fill(0, 124, 136);
    header.write(text, 124, 12, 'latin1');
  };
  return t.tar([t.file('a', 'xyz', { patch })]);
}

function base256Size(value: bigint): Buffer {
  return t.tar([t.file('a', '', { patch: (header) => t.base256(header, 124, 12, value) })]);
}

function rawPax(records: string | Uint8Array): Buffer {
  return t.tar([t.paxHeader(typeof records === 'string' ? Buffer.from(records, 'latin1') : records), t.file('a')]);
}

function pax(records: t.PaxRecords): Buffer {
  return t.tar([t.file('a', '', { pax: records })]);
}

function sparseText(text: string, size = 1000): Buffer {
  const records = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': String(size) };
  return t.tar([t.file('a', t.padded(Buffer.from(text)), { pax: records })]);
}

const x = t.paxHeader({ uid: '1' });
const L = t.gnuLong('L', 'long');

/** Identifier and what it is, `ok` or the code that refuses it, the archive, and what the reader is to allow. */
export type ReaderCase = readonly [id: string, expected: 'ok' | ErrorCode, archive: Uint8Array, options?: ReadOptions];

export const readerCases: readonly ReaderCase[] = [
  ['T65 uid 4294967295', INVALID, pax({ uid: '4294967295' })],
  ['T65 gid 4294967295', INVALID, pax({ gid: '4294967295' })],
  ['T65 uid 4294967295 in base-256', INVALID, t.tar([t.file('a', '', { format: 'gnu', uid: 4_294_967_295 })])],
  ['T65 uid -2 in base-256', INVALID, t.tar([t.file('a', '', { format: 'gnu', uid: -2 })])],
  ['T66 uid 4294967294', 'ok', pax({ uid: '4294967294' })],
  ['T68 more bytes than allowed', LIMIT, t.tar([t.file('a', 'x'.repeat(9000))]), { limits: { maxTarBytes: 4096 } }],
  ['T68 more bytes than allowed after the end', LIMIT, Buffer.alloc(9000), { limits: { maxTarBytes: 4096 } }],
  ['T68 exactly as many bytes as allowed', 'ok', t.tar([t.file('a', 'x')]), { limits: { maxTarBytes: 2048 } }],
  ['T72 size of 1 TiB', LIMIT, t.tar([t.file('a', 'x', { size: 2 ** 40 })])],
  ['T72 size of 1 GiB, short body', INVALID, t.tar([t.file('a', 'x', { size: 2 ** 30 })])],
  ['T73 as many entries as allowed', 'ok', t.tar([t.file('a'), t.file('b')]), { limits: { maxEntries: 2 } }],
  ['T73 one entry more', LIMIT, t.tar([t.file('a'), t.file('b')]), { limits: { maxEntries: 1 } }],
  ['T79 empty', 'ok', Buffer.alloc(0)],
  ['T79 text', INVALID, Buffer.from('hello world\n'.repeat(100))],
  ['T79 511 bytes', INVALID, Buffer.alloc(511)],
  ['T79 511 bytes of a header', INVALID, t.file('a').subarray(0, 511)],
  ['T79 random', INVALID, Buffer.from(Array.from({ length: 2048 }, (_, i) => (i * i * 31 + 7) & 255))],
  ['T80 negative size', INVALID, base256Size(-512n)],
  ['T81 size 2^63', LIMIT, base256Size(1n << 63n)],
  ['T81 size 2^53', LIMIT, base256Size(1n << 53n)],
  ['T82 size with spaces and NUL', 'ok', sizeField('         3 \0')],
  ['T82 size with spaces after', 'ok', sizeField('3           ')],
  ['T82 size of 12 digits', 'ok', sizeField('000000000003')],
  ['T82 size with a letter', INVALID, sizeField('0000000000x3')],
  ['T82 size with an 8', INVALID, sizeField('00000000008')],
  ['T82 size with a sign', INVALID, sizeField('-3')],
  ['T82 size with junk after its NUL', INVALID, sizeField('3\x00junk')],
  ['T82 size with an inner space', INVALID, sizeField('3 4')],
  ['T84 pax size -1', INVALID, pax({ size: '-1' })],
  ['T84 pax size 0x3', INVALID, pax({ size: '0x3' })],
  ['T84 pax size 2^64', LIMIT, pax({ size: '18446744073709551616' })],
  ['T85 path with NUL', INVALID, pax({ path: 'a\0b' })],
  ['T85 linkpath with NUL', INVALID, t.tar([t.symlink('a', 'b', { pax: { linkpath: 'a\0b' } })])],
  ['T85 uid with NUL', INVALID, pax({ uid: '1\0' })],
  ['T85 xattr name with NUL', INVALID, pax({ 'SCHILY.xattr.user.\0': '1' })],
  ['T85 xattr without name', INVALID, pax({ 'SCHILY.xattr.': '1' })],
  ['T85 GNU name with NUL inside', INVALID, t.tar([t.gnuLong('L', 'a\0b'), t.file('a')])],
  ['T86 record too short', INVALID, rawPax('9 path=abc\n')],
  ['T86 record too long', INVALID, rawPax('99 path=abc\n')],
  ['T86 record length 0', INVALID, rawPax('0 path=abc\n')],
  ['T86 record length of 30 digits', INVALID, rawPax('999999999999999999999999999999 path=abc\n')],
  ['T86 record without length', INVALID, rawPax(' path=abc\n')],
  ['T86 record with a sign', INVALID, rawPax('+12 path=abc\n')],
  ['T86 record without newline', INVALID, rawPax('11 path=abc ')],
  ['T86 record without =', INVALID, rawPax('9 pathab\n')],
  ['T86 record without key', INVALID, rawPax('7 =abc\n')],
  ['T86 NUL behind the records', INVALID, rawPax('12 path=abc\n\0')],
  ['T86 global record too long', INVALID, t.tar([t.paxHeader(Buffer.from('99 a=b\n'), { global: true }), t.file('a')])],
  ['T87 sparse file of 8 EiB', LIMIT, t.tar([t.sparse('a', 2 ** 63, [{ offset: 0, data: 'x' }], '1.0')])],
  ['T87 sparse files that pretend much', LIMIT, t.tar([1, 2, 3].map(() => t.sparse('a', 2 ** 37, [], '0.1')))],
  ['T88 old GNU sparse', 'ok', t.tar([t.sparse('a', 9000, [{ offset: 512, data: 'x' }], 'gnu')])],
  ['T88 S without GNU magic', UNSUPPORTED, t.tar([t.file('a', '', { typeflag: 'S' })])],
  ['T89 pax sparse', 'ok', t.tar([t.sparse('a', 9000, [{ offset: 512, data: 'x' }], '0.1')])],
  ['T89 runs out of order', INVALID, pax({ 'GNU.sparse.size': '99', 'GNU.sparse.map': '9,0,5,0' })],
  [
    'T89 runs that overlap',
    INVALID,
    t.tar([
      t.sparse(
        'a',
        99,
        [0, 3].map((offset) => ({ offset, data: 'wxyz' })),
      ),
    ]),
  ],
  ['T89 run past the end', INVALID, t.tar([t.sparse('a', 9, [{ offset: 8, data: 'xy' }], '1.0')])],
  ['T89 runs that are not stored', INVALID, pax({ 'GNU.sparse.size': '99', 'GNU.sparse.map': '0,5' })],
  ['T89 map with an odd count', INVALID, pax({ 'GNU.sparse.size': '99', 'GNU.sparse.map': '0,0,5' })],
  ['T89 wrong number of runs', INVALID, pax({ 'GNU.sparse.numblocks': '2', 'GNU.sparse.size': '9' })],
  ['T89 sparse without a map', INVALID, pax({ 'GNU.sparse.size': '99' })],
  ['T89 sparse without a size', INVALID, pax({ 'GNU.sparse.map': '0,0' })],
  ['T89 sparse of version 2', UNSUPPORTED, pax({ 'GNU.sparse.major': '2', 'GNU.sparse.size': '9' })],
  ['T89 sparse record of no meaning', UNSUPPORTED, pax({ 'GNU.sparse.odd': '2' })],
  ['T89 sparse directory', INVALID, t.tar([t.dir('a', { pax: { 'GNU.sparse.size': '9', 'GNU.sparse.map': '0,0' } })])],
  ['T89 map text', 'ok', sparseText('1\n1000\n0\n')],
  ['T89 map text with a letter', INVALID, sparseText('1\n1000\nx\n')],
  ['T89 map text without a number', INVALID, sparseText('\n')],
  ['T89 map text longer than the content', INVALID, sparseText('9999\n1\n')],
  [
    'T89 map text of 2^50 runs',
    LIMIT,
    sparseText(`999999999999999\n${'1\n'.repeat(4000)}`),
    { limits: { maxExtensionBytes: 4096 } },
  ],
  ['T93 junk after the end', 'ok', t.tar([t.file('a')], { trailing: Buffer.alloc(700, 0x41) })],
  ['T94 no end mark', 'ok', t.tar([t.file('a', 'x')], { end: 0 })],
  ['T94b one zero block', 'ok', t.tar([t.file('a', 'x')], { end: 1 })],
  ['T94c one zero block, then an entry', INVALID, t.raw(t.tar([t.file('a')], { end: 1 }), t.tar([t.file('b')]))],
  ['T94d body without its padding', 'ok', t.file('a', 'x').subarray(0, 513)],
  ['T94e body cut short', INVALID, t.file('a', 'xy').subarray(0, 513)],
  ['T97 pax size against ustar size 0', 'ok', t.tar([t.file('a', 'xyz', { size: 0, pax: { size: '3' } })])],
  ['T97 pax size 0 over content', INVALID, t.tar([t.file('a', 'xyz', { pax: { size: '0' } })])],
  ['T98 pax before L', 'ok', t.tar([x, L, t.file('a')])],
  ['T99 L and pax path', INVALID, t.tar([L, t.file('a', '', { pax: { path: 'b' } })])],
  ['T99 pax path and L', INVALID, t.tar([t.paxHeader({ path: 'b' }), L, t.file('a')])],
  ['T99 K and pax linkpath', INVALID, t.tar([t.gnuLong('K', 'k'), t.symlink('a', '', { pax: { linkpath: 'b' } })])],
  ['T99 L and GNU.sparse.name', INVALID, t.tar([L, t.sparse('a', 9, [], '1.0')])],
  ['T100 two x', INVALID, t.tar([x, x, t.file('a')])],
  ['T100 two L', INVALID, t.tar([L, L, t.file('a')])],
  ['T101 x at the end', INVALID, t.tar([t.file('a'), x])],
  ['T101 x at the end, no end mark', INVALID, t.tar([x], { end: 0 })],
  ['T101 L at the end', INVALID, t.tar([L])],
  ['T101 x before a global header', INVALID, t.tar([x, t.paxHeader({}, { global: true }), t.file('a')])],
  ['T102 global header at the end', 'ok', t.tar([t.paxHeader({ path: 'x' }, { global: true })])],
  ['T105 uid with a fraction', INVALID, pax({ uid: '1.5' })],
  ['T105 uid with a sign', INVALID, pax({ uid: '+1' })],
  [
    'T106 equal keys',
    'ok',
    pax([
      ['path', 'b'],
      ['path', 'c'],
    ]),
  ],
  ['T107 bad checksum', INVALID, t.tar([t.file('a', '', { checksum: 'bad' })])],
  ['T107 bad checksum of the second header', INVALID, t.tar([t.file('a'), t.file('b', '', { checksum: 'bad' })])],
  ['T108 signed checksum', 'ok', t.tar([t.file(Buffer.from([0xff]), '', { checksum: 'signed' })])],
  ['T109 V7 header', 'ok', t.tar([t.file('a', 'x', { format: 'v7' })])],
  ['T110 GNU magic', 'ok', t.tar([t.file('a', 'x', { format: 'gnu' })])],
  ...[...'8XADMNIEZ\x01\xff'].map(
    (flag): ReaderCase => [
      `T111, T112 typeflag ${JSON.stringify(flag)}`,
      UNSUPPORTED,
      t.tar([t.file('a', '', { typeflag: flag, format: 'gnu' })]),
    ],
  ),
  ['T112 contiguous file', 'ok', t.tar([t.file('a', 'x', { typeflag: '7' })])],
  ['T112 socket', UNSUPPORTED, t.tar([t.file('a', '', { typeflag: 's' })])],
  [
    'pax header larger than allowed',
    LIMIT,
    pax({ comment: 'x'.repeat(5000) }),
    { limits: { maxExtensionBytes: 4096 } },
  ],
  [
    'long name larger than allowed',
    LIMIT,
    t.tar([t.gnuLong('L', 'x'.repeat(5000)), t.file('a')]),
    { limits: { maxExtensionBytes: 4096 } },
  ],
  [
    'sparse blocks beyond what is allowed',
    LIMIT,
    t.tar([
      t.sparse(
        'a',
        9000,
        Array.from({ length: 400 }, (_, i) => ({ offset: i * 2, data: 'x' })),
      ),
    ]),
    { limits: { maxExtensionBytes: 4096 } },
  ],
  ['LIBARCHIVE value that is not base64', INVALID, pax({ 'LIBARCHIVE.xattr.user.a': '*' })],
  ['LIBARCHIVE name with half an escape', INVALID, pax({ 'LIBARCHIVE.xattr.user.%4': 'AAAA' })],
  ['device number of 2^32', INVALID, t.tar([t.char('c', 0, 0, { pax: { 'SCHILY.devmajor': '4294967296' } })])],
  ['mode with junk', INVALID, t.tar([t.file('a', '', { patch: (h) => h.write('zzz', 100, 'latin1') })])],
];
