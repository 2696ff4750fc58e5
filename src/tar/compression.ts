/**
 * ▸ Decompression of layers: which compression the bytes show, and a decoder for it. It owns nothing on disk. The
 * layer pipeline calls it, in the thread that owns the layer.
 *
 * Several decoders exist for gzip and zstd; the fastest that works here is taken: libraries of the host through koffi
 * (ISA-L, libzstd), then Node's own zlib, and WebAssembly for zstd (Node's own zstd exists in few versions and stops
 * after the first frame). All give the same bytes and refuse the same inputs; the tests run every decoder over the same
 * inputs. bzip2 and xz, which no media type declares, have the host's library or nothing.
 *
 * Accepted: gzip of several members, followed by zeros; zstd of several frames, skippable ones among them, whose
 * window is at most 128 MiB; bzip2 of several streams; xz of several streams with padding, whose decoder needs at most
 * 256 MiB (more of either: LARDER_LAYER_LIMIT). Refused as LARDER_LAYER_CORRUPT: everything else, an empty stream and a cut one
 * included.
 * Nothing here limits the output: `out` throws when it has had enough, and that error is what `write` fails with. Not
 * more than a few blocks are inflated beyond what `out` has taken. Libraries work on libuv's pool where that pays, so
 * that one layer has more than one core.
 */
import { LarderError } from '../errors.js';
import { openIsal } from './inflate-isal.js';
import { openLibbz2 } from './inflate-libbz2.js';
import { openLiblzma } from './inflate-liblzma.js';
import { openLibzstd } from './inflate-libzstd.js';
import { openZlib } from './inflate-zlib.js';
import { openZstddec } from './inflate-zstddec.js';
import type { Inflater, InflaterOut } from './inflater.js';

export type { Inflater, InflaterOut } from './inflater.js';

export type Compression = 'gzip' | 'zstd' | 'bzip2' | 'xz' | 'none';
export type DecoderName = 'isa-l' | 'zlib' | 'libzstd' | 'zstddec' | 'libbz2' | 'liblzma' | 'none';

/** What the first bytes of a blob look like; the last ones only so that messages can name them. */
export type SniffedCompression = Compression | 'lz4' | 'zip';

export interface InflaterOptions {
  /** Says in messages which layer this is. */
  readonly name?: string;
  /** This decoder or none: LARDER_INTERNAL where it is not available. For tests and measurements. */
  readonly prefer?: DecoderName;
}

type Opener = (layer: string) => Inflater | undefined | Promise<Inflater | undefined>;

/** In order of preference. An opener answers undefined where its decoder does not exist or fails its self-test. */
const DECODERS: { readonly [C in Compression]: readonly (readonly [DecoderName, Opener])[] } = {
  gzip: [
    ['isa-l', openIsal],
    ['zlib', openZlib],
  ],
  zstd: [
    ['libzstd', openLibzstd],
    ['zstddec', openZstddec],
  ],
  bzip2: [['libbz2', openLibbz2]],
  xz: [['liblzma', openLiblzma]],
  none: [['none', () => new Uncompressed()]],
};

/** What the host must have, where there is no decoder in Node or in a package. */
const HOST_LIBRARY: { readonly [C in Compression]?: string } = { bzip2: 'libbz2.so.1', xz: 'liblzma.so.5' };

/** How many first bytes {@link sniffCompression} wants to see, unless the blob has fewer. */
export const SNIFF_BYTES = 6;

const MAGIC: readonly (readonly [SniffedCompression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['lz4', [0x04, 0x22, 0x4d, 0x18]],
  ['zip', [0x50, 0x4b, 0x03, 0x04]],
];

/**
 * A decoder that is to be closed, whatever happens. LARDER_MEDIA_TYPE_UNSUPPORTED where the host lacks the library
 * that the compression needs.
 */
export async function openInflater(compression: Compression, options: InflaterOptions = {}): Promise<Inflater> {
  const { name = 'layer', prefer } = options;
  for (const [decoder, open] of DECODERS[compression]) {
    if (prefer !== undefined && prefer !== decoder) continue;
    const inflater = await open(name);
    if (inflater !== undefined) return inflater;
  }
  const library = HOST_LIBRARY[compression];
  if (library !== undefined && prefer === undefined) throw noLibrary(name, compression, library);
  throw new LarderError('LARDER_INTERNAL', `inflating layer: ${name}: no decoder ${prefer ?? ''} for ${compression}`, {
    details: { compression },
  });
}

/** The decoders that work here, best first. */
export async function listDecoders(compression: Compression): Promise<DecoderName[]> {
  const names: DecoderName[] = [];
  for (const [decoder, open] of DECODERS[compression]) {
    const inflater = await open('self-test');
    if (inflater !== undefined) names.push(decoder);
    inflater?.close();
  }
  return names;
}

/** What the first {@link SNIFF_BYTES} bytes show; `none` when they are no magic that is known. */
export function sniffCompression(first: Uint8Array): SniffedCompression {
  if (isSkippableFrame(first)) return 'zstd';
  if (isBzip2(first)) return 'bzip2';
  for (const [found, magic] of MAGIC) {
    if (first.length >= magic.length && magic.every((byte, i) => first[i] === byte)) return found;
  }
  return 'none';
}

/**
 * Refuses a blob whose first bytes are not what its media type declares: LARDER_LAYER_INVALID. A registry and a
 * scanner that believed different ones would see different layers.
 */
export function checkCompression(declared: Compression, first: Uint8Array, name = 'layer'): void {
  const found = sniffCompression(first);
  if (found === declared) return;
  const what = first.length === 0 ? 'nothing' : found === 'none' ? 'no known compression' : found;
  throw new LarderError(
    'LARDER_LAYER_INVALID',
    `reading layer: ${name}: the media type says ${declared === 'none' ? 'uncompressed' : declared}, the bytes are ${what}`,
    { details: { declared, found: what } },
  );
}

function noLibrary(layer: string, compression: Compression, library: string): LarderError {
  const message = `inflating layer: ${layer}: ${compression} is not supported here: ${library} cannot be used`;
  return new LarderError('LARDER_MEDIA_TYPE_UNSUPPORTED', message, {
    details: { compression, library },
    hint: `install the package of this system that has ${library}, or compress the image with gzip`,
  });
}

/** Alone, the three letters are also how the name of an uncompressed tar's first file may begin. */
function isBzip2(first: Uint8Array): boolean {
  const [b, z, h, level = 0, block, after] = first;
  if (b !== 0x42 || z !== 0x5a || h !== 0x68 || level < 0x31 || level > 0x39) return false;
  return (block === 0x31 && after === 0x41) || (block === 0x17 && after === 0x72);
}

/** A zstd stream may begin with a frame for others: 0x184D2A50 to 0x184D2A5F (RFC 8878, 3.1.2). */
function isSkippableFrame(first: Uint8Array): boolean {
  return ((first[0] ?? 0) & 0xf0) === 0x50 && first[1] === 0x2a && first[2] === 0x4d && first[3] === 0x18;
}

class Uncompressed implements Inflater {
  readonly name = 'none';

  write(chunk: Uint8Array, out: InflaterOut): Promise<void> | void {
    if (chunk.length > 0) return out(chunk);
  }

  end(): void {}

  close(): void {}
}
