/**
 * A seeded mutation fuzzer of the tar reader. Long form: `node …/test/fuzz/tar.js <seconds> [seed]`.
 *
 * The oracle: whatever the bytes, the reader ends with entries or with a LarderError of three codes; the same bytes
 * give the same answer twice and however they are cut; entries are inside the archive; time grows with the bytes only.
 */
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { isLarderError } from '../../src/errors.js';
import { DEFAULT_LAYER_LIMITS, type LayerLimits, type TarEntry } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import * as t from '../../src/testing/tar-builder.js';

const LIMITS: LayerLimits = { ...DEFAULT_LAYER_LIMITS, maxTarBytes: 1 << 20, maxEntries: 200, maxExtensionBytes: 8192 };
const INTERESTING = [0, 1, 0x20, 0x2d, 0x2f, 0x30, 0x37, 0x39, 0x3d, 0x0a, 0x7f, 0x80, 0xff, 0x53, 0x4c, 0x78, 0x67];

export interface FuzzResult {
  readonly runs: number;
  /** How often each answer was given: `ok` or a code. */
  readonly verdicts: Readonly<Record<string, number>>;
}

/** Runs for `ms`; throws at the first broken promise, naming the seed that shows it. */
export function fuzzTar(seed: number, ms: number): FuzzResult {
  const verdicts: Record<string, number> = {};
  const end = performance.now() + ms;
  let runs = 0;
  for (; performance.now() < end; runs++) {
    const verdict = fuzzOne(seed + runs);
    verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
  }
  return { runs, verdicts };
}

/** One mutated archive, by its seed. */
export function fuzzOne(seed: number): string {
  const random = randomOf(seed);
  const archive = mutate(random);
  const before = process.cpuUsage();
  const whole = answerOf(archive, () => archive.length);
  // Of the processor: what else runs on the machine is no matter.
  const { user, system } = process.cpuUsage(before);
  const elapsed = (user + system) / 1000;
  const cut = answerOf(archive, () => 1 + Math.floor(random() ** 3 * 1500));
  assert.deepEqual(cut, whole, `seed ${seed}: another answer when cut`);
  assert.deepEqual(
    answerOf(archive, () => archive.length),
    whole,
    `seed ${seed}: another answer the second time`,
  );
  assert.ok(elapsed < 250 + archive.length / 1000, `seed ${seed}: ${elapsed} ms for ${archive.length} bytes`);
  return whole.verdict;
}

interface Answer {
  readonly verdict: string;
  readonly message: string;
  readonly entries: readonly string[];
}

function answerOf(archive: Buffer, nextCut: () => number): Answer {
  const entries: string[] = [];
  const reader = new TarReader({ entry: (entry) => entries.push(check(entry, archive.length)) }, LIMITS);
  try {
    for (let i = 0; i < archive.length; ) {
      const cut = Math.min(archive.length, i + Math.max(1, nextCut()));
      reader.write(archive.subarray(i, cut));
      i = cut;
    }
    reader.end();
    return { verdict: 'ok', message: '', entries };
  } catch (error) {
    if (!isLarderError(error, 'LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT', 'LARDER_ENTRY_UNSUPPORTED')) throw error;
    return { verdict: error.code, message: `${error.message.replace(/after \d+ bytes/, '')}`, entries };
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

function mutate(random: () => number): Buffer {
  const below = (n: number) => Math.floor(random() * n);
  const parts = Array.from({ length: 1 + below(6) }, () => PARTS[below(PARTS.length)] ?? Buffer.alloc(0));
  let archive = t.tar(parts, { end: below(3) });
  for (let n = below(5); n > 0 && archive.length > 0; n--) archive = mutateOnce(archive, below);
  return archive;
}

function mutateOnce(archive: Buffer, below: (n: number) => number): Buffer {
  const at = below(archive.length);
  const block = at - (at % 512);
  switch (below(8)) {
    case 0:
      return archive.subarray(0, at);
    case 1:
      return Buffer.concat([archive.subarray(0, block), archive.subarray(block + 512)]);
    case 2:
      return Buffer.concat([archive.subarray(0, block + 512), archive.subarray(block)]);
    case 3:
      archive.writeUInt8(archive.readUInt8(at) ^ (1 << below(8)), at);
      break;
    case 4:
      archive.writeUInt8(INTERESTING[below(INTERESTING.length)] ?? 0, at);
      break;
    default: {
      // Most mutations go to where fields and records are.
      const field = [100, 108, 116, 124, 135, 136, 156, 157, 257, 263, 345, 386, 482, 483, 0, 1, 2, 5][below(18)] ?? 0;
      if (block + field < archive.length) {
        archive.writeUInt8(INTERESTING[below(INTERESTING.length)] ?? 0, block + field);
      }
    }
  }
  // A wrong checksum ends everything at once: usually make it right.
  if (below(8) > 0 && block + 512 <= archive.length && archive.readUInt8(block + 148) === 0x30) {
    t.setChecksum(archive.subarray(block, block + 512));
  }
  return archive;
}

/** mulberry32 */
function randomOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [seconds = '60', seed = '1'] = process.argv.slice(2);
  console.log(fuzzTar(Number(seed), Number(seconds) * 1000));
}
