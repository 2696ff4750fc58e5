/**
 * Layers that are too much: as tars that lie in memory, or as bombs that are made while they are sent. A bomb's digest,
 * DiffID and trailer are lies, so that whoever reads it to its end has to refuse it there.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants, deflateRawSync, gzipSync } from 'node:zlib';
import { digestOf } from '../../src/spec/digest.js';
import { file } from '../../src/testing/tar-builder.js';

/** What a registry serves as a layer. */
export interface ServedLayer {
  readonly mediaType: string;
  readonly digest: string;
  readonly diffId: string;
  readonly size: number;
  pieces(): Iterable<Uint8Array>;
}

const TYPE = 'application/vnd.oci.image.layer.v1.tar';
const BLOCK = 512;
const MIB = 2 ** 20;
const CHECKSUM_AT = 148;
const LINK_AT = 157;

/** A layer that is what it says. */
export function trueLayer(tar: Uint8Array, compression: 'none' | 'gzip' = 'none'): ServedLayer {
  const blob = compression === 'none' ? tar : gzipSync(tar, { level: 1 });
  return {
    mediaType: compression === 'none' ? TYPE : `${TYPE}+gzip`,
    digest: digestOf(blob),
    diffId: `sha256:${createHash('sha256').update(tar).digest('hex')}`,
    size: blob.length,
    *pieces() {
      for (let at = 0; at < blob.length; at += MIB) yield blob.subarray(at, at + MIB);
    },
  };
}

/** Files of a MiB of zeros, so many that they have `bytes` together; or one file of them all. */
export function zeroBomb(compression: 'gzip' | 'zstd', bytes: number, files: 'one' | 'many'): ServedLayer {
  const { head, body, tail } = compression === 'gzip' ? GZIP : ZSTD;
  const header = (size: number): Buffer => body(file('zeros', '', { size }));
  const zeros = body(Buffer.alloc(MIB));
  const [first, each] =
    files === 'one' ? [header(bytes), zeros] : [Buffer.alloc(0), Buffer.concat([header(MIB), zeros])];
  const times = Math.ceil(bytes / MIB);
  // Sent in pieces of about 64 KiB: the client is what is measured, not this.
  const atOnce = Math.ceil(65_536 / each.length);
  const batch = Buffer.concat(Array.from({ length: atOnce }, () => each));
  const batches = Math.ceil(times / atOnce);
  return {
    mediaType: `${TYPE}+${compression}`,
    digest: randomDigest(),
    diffId: randomDigest(),
    size: head.length + first.length + batches * batch.length + tail.length,
    *pieces() {
      yield Buffer.concat([head, first]);
      for (let i = 0; i < batches; i++) yield batch;
      yield tail;
    },
  };
}

/** Makes headers of a kind quickly, a million in some seconds: names and targets have at most 100 bytes. */
export function headerMaker(template: Buffer): (name: string, target?: string) => Buffer {
  const blank = Buffer.from(template.subarray(0, BLOCK));
  blank
    .fill(0, 0, 100)
    .fill(0, LINK_AT, LINK_AT + 100)
    .fill(0x20, CHECKSUM_AT, CHECKSUM_AT + 8);
  const sum = sumOf(blank, 0, BLOCK);
  return (name, target = '') => {
    const header = Buffer.from(blank);
    const nameEnd = header.write(name, 0, 100, 'latin1');
    const targetEnd = LINK_AT + header.write(target, LINK_AT, 100, 'latin1');
    const checksum = sum + sumOf(header, 0, nameEnd) + sumOf(header, LINK_AT, targetEnd);
    header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, CHECKSUM_AT, 'latin1');
    return header;
  };
}

function sumOf(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  for (let i = start; i < end; i++) sum += bytes[i] ?? 0;
  return sum;
}

interface Format {
  readonly head: Buffer;
  /** Whole blocks, which may follow each other in any order. */
  body(plain: Buffer): Buffer;
  readonly tail: Buffer;
}

/** RFC 1952: one member, an empty last block, and a trailer that is wrong. */
const GZIP: Format = {
  head: Buffer.from('1f8b08000000000000ff', 'hex'),
  body: (plain) => deflateRawSync(plain, { level: 9, finishFlush: constants.Z_FULL_FLUSH }),
  tail: Buffer.from('0300ffffffffffffffff', 'hex'),
};

/** RFC 8878: one frame with a window of 128 KiB, raw blocks and such that repeat a byte, and an empty last block. */
const ZSTD: Format = {
  head: Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3]),
  body(plain) {
    const blocks: Buffer[] = [];
    for (let at = 0; at < plain.length; at += 2 ** 17) {
      const block = plain.subarray(at, at + 2 ** 17);
      const repeats = block.every((byte) => byte === block[0]);
      const header = Buffer.alloc(3);
      header.writeUIntLE((block.length << 3) | (repeats ? 2 : 0), 0, 3);
      blocks.push(header, repeats ? block.subarray(0, 1) : block);
    }
    return Buffer.concat(blocks);
  },
  tail: Buffer.from([1, 0, 0]),
};

function randomDigest(): string {
  return `sha256:${randomBytes(32).toString('hex')}`;
}
