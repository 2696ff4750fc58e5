/** What is around a tar: compression, its ends, and sizes that only come out when it is inflated. */
import { gzipSync } from 'node:zlib';
import { zstdFrame } from '../../src/testing/image-builder.js';
import { dir, file, hardlink, opaque, tar } from '../../src/testing/tar-builder.js';
import type { Blob, LayerCase } from './case.js';

const NO_LIMIT = 'has no limit';
const INVALID = 'LARDER_LAYER_INVALID';
const LIMIT = 'LARDER_LAYER_LIMIT';
const one = (...parts: readonly Buffer[]): readonly Buffer[] => [tar(parts)];
const small = () => one(file('f', 'x'));
const gzip = (...parts: readonly Uint8Array[]): Blob => ({ bytes: Buffer.concat(parts), compression: 'gzip' });
const zstd = (...parts: readonly Uint8Array[]): Blob => ({ bytes: Buffer.concat(parts), compression: 'zstd' });
const halves = (bytes: Uint8Array) => [bytes.subarray(0, 700), bytes.subarray(700)];
/** A frame that decoders skip (RFC 8878, 3.1.2). */
const SKIPPED = Buffer.from('502a4d1804000000deadbeef', 'hex');
/** Magic number, no content size, a window of 2^(10 + 21) bytes, one empty last block. */
const WINDOW = Buffer.from(`28b52ffd00${(21 << 3).toString(16)}010000`, 'hex');

/** More than the corpus's stores take (`max_layer_bytes`). */
export const MAX_LAYER_BYTES = 48 << 20;
/** As many entries as they take. */
export const MAX_LAYER_ENTRIES = 40_000;
const BOMB = 64 << 20;

export const streamCases: readonly LayerCase[] = [
  {
    id: 'T68',
    what: 'more bytes than are allowed, in a gzip of a thousandth',
    layers: () => one(file('bomb', Buffer.alloc(BOMB))),
    refused: LIMIT,
    noAci: true,
    umoci: NO_LIMIT,
    containerd: NO_LIMIT,
  },
  {
    id: 'T69',
    what: 'more bytes than are allowed, in a zstd of next to nothing',
    layers: () => one(file('bomb', Buffer.alloc(BOMB))),
    blob: (bytes) => zstd(zstdFrame(bytes)),
    refused: LIMIT,
    noAci: true,
    containerd: NO_LIMIT,
  },
  {
    id: 'T71',
    what: 'a gzip in a gzip',
    layers: small,
    blob: (bytes) => gzip(gzipSync(gzipSync(bytes))),
    refused: INVALID,
    noAci: true,
  },
  {
    id: 'T73',
    what: 'as many empty files as are allowed',
    layers: () => one(...Array.from({ length: MAX_LAYER_ENTRIES }, (_, i) => file(`f${i}`))),
    tree: { f0: 'file ' },
    noAci: true,
    long: true,
  },
  {
    id: 'T73',
    what: 'one empty file more than is allowed',
    layers: () => one(...Array.from({ length: MAX_LAYER_ENTRIES + 1 }, (_, i) => file(`f${i}`))),
    refused: LIMIT,
    noAci: true,
    umoci: NO_LIMIT,
    containerd: NO_LIMIT,
  },
  {
    id: 'T74',
    what: 'a zstd that wants a window of 2 GiB',
    layers: small,
    blob: () => zstd(WINDOW),
    refused: LIMIT,
    noAci: true,
  },
  {
    id: 'T75',
    what: 'ten thousand opaque marks over ten thousand directories',
    layers: () => {
      const names = Array.from({ length: 10_000 }, (_, i) => `d${i}`);
      return [tar(names.map((name) => dir(name))), tar(names.map((name) => opaque(name)))];
    },
    tree: { d0: 'dir', d9999: 'dir' },
    noAci: true,
    long: true,
  },
  {
    id: 'T76',
    what: 'a name of 2,000 directories',
    layers: ({ at }) => one(file(at(`${'d/'.repeat(2000)}f`))),
    refused: LIMIT,
    umoci: NO_LIMIT,
  },
  {
    id: 'T77',
    what: 'a component of 256 bytes',
    layers: ({ at }) => one(file(at('n'.repeat(256)))),
    refused: INVALID,
  },
  {
    id: 'T77',
    what: 'a component of 255 bytes',
    layers: ({ at }) => one(file(at('n'.repeat(255)), 'x')),
    tree: { ['n'.repeat(255)]: 'file x' },
  },
  {
    id: 'T78',
    what: 'a name of 5,000 bytes',
    layers: ({ at }) => one(file(at(`${`${'n'.repeat(200)}/`.repeat(25)}n`))),
    refused: LIMIT,
  },
  {
    id: 'T90',
    what: 'more names of one file than ext4 takes, fewer than entries are allowed',
    layers: ({ at }) =>
      one(file(at('f'), 'x'), ...Array.from({ length: 30_000 }, (_, i) => hardlink(at(`l${i}`), at('f')))),
    tree: { l29999: 'as f' },
    long: true,
  },
  {
    id: 'T91',
    what: 'zeros behind a gzip',
    layers: small,
    blob: (bytes) => gzip(gzipSync(bytes), Buffer.alloc(512)),
    tree: { f: 'file x' },
    noAci: true,
    umoci: 'refuses them',
  },
  {
    id: 'T92',
    what: 'junk behind a gzip',
    layers: small,
    blob: (bytes) => gzip(gzipSync(bytes), Buffer.alloc(512, 'junk')),
    refused: 'LARDER_LAYER_CORRUPT',
    by: { 'docker-archive': 'LARDER_ARCHIVE_INVALID', directory: 'LARDER_ARCHIVE_INVALID' },
    noAci: true,
    containerd: 'takes it',
  },
  {
    id: 'T93',
    what: 'a file behind the end of the tar',
    layers: () => [tar([file('f', 'x')], { trailing: tar([file('hidden', 'x')]) })],
    tree: { f: 'file x', hidden: 'missing' },
    noAci: true,
  },
  {
    id: 'T94',
    what: 'a tar without its end',
    layers: () => [tar([file('f', 'x')], { end: 0 })],
    tree: { f: 'file x' },
    noAci: true,
  },
  {
    id: 'T95',
    what: 'a gzip of several members',
    layers: small,
    blob: (bytes) => gzip(...halves(bytes).map((half) => gzipSync(half))),
    tree: { f: 'file x' },
    noAci: true,
  },
  {
    id: 'T96',
    what: 'a zstd of several frames, with frames to skip between',
    layers: small,
    blob: (bytes) => zstd(SKIPPED, ...halves(bytes).flatMap((half) => [zstdFrame(half), SKIPPED])),
    tree: { f: 'file x' },
    noAci: true,
    umoci: 'version 0.4 knows no zstd',
  },
  {
    id: 'T96',
    what: 'a zstd of a hundred thousand empty frames',
    layers: small,
    blob: (bytes) => zstd(...Array.from({ length: 100_000 }, () => zstdFrame(Buffer.alloc(0))), zstdFrame(bytes)),
    tree: { f: 'file x' },
    noAci: true,
    umoci: 'version 0.4 knows no zstd',
  },
];
