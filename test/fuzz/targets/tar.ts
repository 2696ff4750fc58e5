/**
 * The tar reader. Besides what every target promises: it gives the same answer however the bytes are cut, and its entries
 * are inside the archive.
 */
import assert from 'node:assert/strict';
import { isLarderError } from '../../../src/errors.js';
import { DEFAULT_LAYER_LIMITS, type LayerLimits, type TarEntry } from '../../../src/tar/entry.js';
import { TarReader } from '../../../src/tar/reader.js';
import * as t from '../../../src/testing/tar-builder.js';
import { mutateBytes } from '../mutate.js';
import { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';

const LIMITS: LayerLimits = { ...DEFAULT_LAYER_LIMITS, maxTarBytes: 1 << 20, maxEntries: 200, maxExtensionBytes: 8192 };
const CODES = ['LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT', 'LARDER_ENTRY_UNSUPPORTED'] as const;
const INTERESTING = [0, 1, 0x20, 0x2d, 0x2f, 0x30, 0x37, 0x39, 0x3d, 0x0a, 0x7f, 0x80, 0xff, 0x53, 0x4c, 0x78, 0x67];
/** Most mutations go to where fields and records are. */
const FIELDS = [100, 108, 116, 124, 135, 136, 156, 157, 257, 263, 345, 386, 482, 483, 0, 1, 2, 5];

export const tarTarget: FuzzTarget = {
  name: 'tar',
  codes: CODES,
  short: { runs: 1200, meets: ['ok', ...CODES] },
  make: makeArchive,
  mutate: mutateArchive,
  run(archive) {
    const whole = entriesOf(archive, () => archive.length);
    const cuts = new Random(archive.length);
    const cut = entriesOf(archive, () => 1 + Math.floor(cuts.next() ** 3 * 1500));
    assert.deepEqual(cut, whole, 'another answer when cut');
    if (whole.refusal !== undefined) throw whole.refusal;
    return whole.entries;
  },
};

interface Answer {
  readonly entries: readonly string[];
  readonly says: string;
  readonly refusal?: Error;
}

function entriesOf(archive: Buffer, nextCut: () => number): Answer {
  const entries: string[] = [];
  const reader = new TarReader({ entry: (entry) => entries.push(check(entry, archive.length)) }, LIMITS);
  try {
    for (let i = 0; i < archive.length; ) {
      const cut = Math.min(archive.length, i + Math.max(1, nextCut()));
      reader.write(archive.subarray(i, cut));
      i = cut;
    }
    reader.end();
    return { entries, says: 'ok' };
  } catch (error) {
    if (!isLarderError(error, ...CODES)) throw error;
    // Where the end was noticed depends on the cuts.
    return { entries, says: `${error.code} ${error.message.replace(/after \d+ bytes/, '')}`, refusal: error };
  }
}

function check(entry: TarEntry, archiveBytes: number): string {
  assert.ok(entry.offset % 512 === 0 && entry.stored >= 0 && entry.size >= entry.stored);
  assert.ok(entry.offset + entry.stored <= archiveBytes);
  assert.ok(entry.mode >= 0 && entry.mode <= 0o7777 && entry.uid >= 0 && entry.uid < 2 ** 32 - 1);
  assert.ok(Number.isSafeInteger(entry.size) && Math.abs(entry.mtime) <= 2 ** 53);
  assert.ok(entry.mtimeNs >= 0 && entry.mtimeNs < 1e9);
  assert.ok(entry.sparse === undefined || entry.stored === entry.sparse.reduce((sum, run) => sum + run.length, 0));
  return JSON.stringify({
    ...entry,
    path: Buffer.from(entry.path).toString('latin1'),
    link: Buffer.from(entry.link).toString('latin1'),
    xattrs: entry.xattrs.map((x) => [Buffer.from(x.name).toString('hex'), Buffer.from(x.value).toString('hex')]),
  });
}

const PARTS: readonly Buffer[] = [
  t.dir('d', { xattrs: { 'user.x': 'y', 'security.capability': Buffer.from([1, 0, 2]) } }),
  t.file('d/f', 'x'.repeat(700), { mtime: -9, mtimeNs: 5 }),
  t.file('l'.repeat(300), 'abc'),
  t.file('g'.repeat(300), 'abc', { format: 'gnu', uid: 4e9, mtime: -3 }),
  t.symlink('s', 'k'.repeat(200), { format: 'gnu' }),
  t.hardlink('h', 'd/f', { size: 600 }),
  t.char('c', 1, 3),
  t.fifo('p'),
  t.file('v7', 'q', { format: 'v7' }),
  t.file('old/', '', { format: 'v7' }),
  t.paxHeader({ comment: 'x', path: 'never' }, { global: true }),
  t.sparse('sg', 90_000, sparseRuns(30), 'gnu'),
  t.sparse('s0', 9000, sparseRuns(3), '0.0'),
  t.sparse('s1', 9000, sparseRuns(3), '0.1'),
  t.sparse('s2', 9000, sparseRuns(3), '1.0'),
  t.file('lib', '', { pax: { 'LIBARCHIVE.xattr.user.a': 'AAAA', size: '0', linkpath: 'x', 'SCHILY.devmajor': '3' } }),
  Buffer.alloc(512),
];

function sparseRuns(count: number): t.BuiltRun[] {
  return Array.from({ length: count }, (_, i) => ({ offset: i * 2900, data: Buffer.alloc(90, 65 + i) }));
}

/** Some entries of every kind, one after the other. */
export function makeArchive(random: Random): Buffer {
  const parts = Array.from({ length: 1 + random.below(6) }, () => random.pick(PARTS));
  return t.tar(parts, { end: random.below(3) });
}

export function mutateArchive(archive: Buffer, random: Random): Buffer {
  if (archive.length === 0 || random.oneIn(10)) return mutateBytes(archive, random);
  if (random.oneIn(4)) return mutatePax(archive, random);
  return mutateOnce(Buffer.from(archive), random);
}

function mutateOnce(archive: Buffer, random: Random): Buffer {
  const at = random.below(archive.length);
  const block = at - (at % 512);
  switch (random.below(9)) {
    case 0:
      return archive.subarray(0, at);
    case 5: {
      const [offset, length] = random.pick(NUMBERS);
      if (block + 512 <= archive.length) t.base256(archive, block + offset, length, random.pick(LARGE));
      break;
    }
    case 1:
      return Buffer.concat([archive.subarray(0, block), archive.subarray(block + 512)]);
    case 2:
      return Buffer.concat([archive.subarray(0, block + 512), archive.subarray(block)]);
    case 3:
      archive.writeUInt8(archive.readUInt8(at) ^ (1 << random.below(8)), at);
      break;
    case 4:
      archive.writeUInt8(random.pick(INTERESTING), at);
      break;
    default: {
      const place = block + random.pick(FIELDS);
      if (place < archive.length) archive.writeUInt8(random.pick(INTERESTING), place);
    }
  }
  // A wrong checksum ends everything at once: usually make it right.
  if (!random.oneIn(8) && block + 512 <= archive.length && archive.readUInt8(block + 148) === 0x30) {
    t.setChecksum(archive.subarray(block, block + 512));
  }
  return archive;
}

/** Where numbers are, and how long. */
const NUMBERS = [
  [100, 8],
  [108, 8],
  [116, 8],
  [124, 12],
  [136, 12],
  [329, 8],
] as const;
const LARGE = [0n, 1n, -1n, 511n, 512n, 0o77777n, 2n ** 32n - 1n, 2n ** 53n, -(2n ** 40n)];
const KEYS = [
  'path',
  'linkpath',
  'size',
  'uid',
  'mtime',
  'hdrcharset',
  'comment',
  'SCHILY.xattr.',
  'SCHILY.xattr.user.a',
  'SCHILY.devminor',
  'LIBARCHIVE.xattr.user.%41',
  'GNU.sparse.major',
  'GNU.sparse.minor',
  'GNU.sparse.name',
  'GNU.sparse.map',
  'GNU.sparse.size',
  'GNU.sparse.realsize',
  'GNU.sparse.numblocks',
  'GNU.sparse.offset',
  'GNU.sparse.numbytes',
];
const VALUES = [
  '',
  '0',
  '1',
  '-1',
  '00',
  ' 1',
  '1.5',
  '1e3',
  '0x1',
  '9'.repeat(30),
  '9007199254740993',
  '18446744073709551615',
].concat(['/', '../x', 'a/b', 'x\0y', 'x\ny', 'x=y', '0,512', '512,1,0,5', '0,0,9,0', 'BINARY', 'p'.repeat(300)]);

/** A record more in a pax header, with a right length and size but seldom, or the header's end moved by a byte. */
function mutatePax(archive: Buffer, random: Random): Buffer {
  const headers: number[] = [];
  for (let at = 0; at + 512 <= archive.length; at += 512) {
    if (
      [0x78, 0x67].includes(archive.readUInt8(at + 156)) &&
      archive.toString('latin1', at + 257, at + 262) === 'ustar'
    )
      headers.push(at);
  }
  if (headers.length === 0) return Buffer.concat([t.paxHeader({ [random.pick(KEYS)]: random.pick(VALUES) }), archive]);
  const at = random.pick(headers);
  const size = Number.parseInt(archive.toString('latin1', at + 124, at + 135), 8) || 0;
  const records = archive.subarray(at + 512, Math.min(archive.length, at + 512 + size));
  const header = Buffer.from(archive.subarray(at, at + 512));
  const [key, value] = [random.pick(KEYS), random.pick(VALUES)];
  const right = t.paxRecord(key, value);
  const record = random.oneIn(5) ? t.paxRecord(key, value, right.length + random.pick([-1, 1, 512])) : right;
  const all = random.oneIn(2) ? Buffer.concat([records, record]) : Buffer.concat([record, records]);
  const said = Math.max(0, all.length + (random.oneIn(6) ? random.pick([-1, 1]) : 0));
  header.write(`${said.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  t.setChecksum(header);
  const rest = archive.subarray(at + 512 + Math.ceil(size / 512) * 512);
  return Buffer.concat([archive.subarray(0, at), header, t.padded(all), rest]);
}
