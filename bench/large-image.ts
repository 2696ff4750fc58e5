/**
 * An image of any size that lies nowhere: its layers are made while they are sent, again and again the same. Run as a
 * program it serves `large:latest` over plain HTTP until its standard input ends, and prints its `host:port` first:
 *
 *     large-image.js LAYERS BYTES_EACH BYTES_OF_A_FILE
 *
 * A layer's gzip is one member of deflated pieces: a piece that ends with a full flush may be put behind any other, so
 * the content of each file is deflated once, and only the tar's headers differ from layer to layer.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { constants, crc32, deflateRawSync } from 'node:zlib';
import { digestOf } from '../src/spec/digest.js';
import { dir, file, padded } from '../src/testing/tar-builder.js';

const POOL = 64;
const FILES_IN_A_DIRECTORY = 40;
const HEADER_BYTES = 512;
const GZIP_HEADER = Buffer.from('1f8b08000000000000ff', 'hex');
/** An empty last block with fixed codes (RFC 1951, 3.2.6). */
const LAST_BLOCK = Buffer.from('0300', 'hex');
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

/** The same bytes of the tar, as they are and deflated. */
interface Piece {
  readonly plain: Buffer;
  readonly deflated: Buffer;
}

interface Content extends Piece {
  /** Of the file, whose last block is padded in `plain`. */
  readonly size: number;
}

interface Layer {
  readonly digest: string;
  readonly diffId: string;
  readonly size: number;
  /** CRC-32 and length of the tar: the end of a gzip member. */
  readonly trailer: Buffer;
}

export class LargeImage {
  readonly #bytesEach: number;
  readonly #pool: readonly Content[];
  readonly #layers: readonly Layer[];
  readonly #config: Buffer;
  readonly #manifest: Buffer;

  constructor(layers: number, bytesEach: number, bytesOfFile: number) {
    this.#bytesEach = bytesEach;
    this.#pool = contents(bytesOfFile);
    this.#layers = Array.from({ length: layers }, (_, i) => this.#describe(i));
    const diffIds = this.#layers.map(({ diffId }) => diffId);
    this.#config = json({
      architecture: 'amd64',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: diffIds },
    });
    this.#manifest = json({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: digestOf(this.#config),
        size: this.#config.length,
      },
      layers: this.#layers.map(({ digest, size }) => ({
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        digest,
        size,
      })),
    });
  }

  /** OCI distribution-spec, "Pulling manifests" and "Pulling blobs", with one range. */
  async serve({ url = '', method, headers }: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, kind, wanted] = /\/(manifests|blobs)\/([^/?]+)$/.exec(url) ?? [];
    const layer = this.#layers.find(({ digest }) => digest === wanted);
    const whole = kind === 'manifests' ? this.#manifest : this.#config;
    const size = layer?.size ?? whole.length;
    const [, from = '0', to = String(size - 1)] = /^bytes=(\d+)-(\d+)?$/.exec(headers.range ?? '') ?? [];
    const [start, end] = [Number(from), Number(to) + 1];
    response.writeHead(headers.range === undefined ? 200 : 206, {
      'content-length': end - start,
      'content-type': kind === 'manifests' ? MANIFEST_TYPE : 'application/octet-stream',
      'docker-content-digest': kind === 'manifests' ? digestOf(this.#manifest) : '',
      'accept-ranges': 'bytes',
      ...(headers.range === undefined ? {} : { 'content-range': `bytes ${start}-${end - 1}/${size}` }),
    });
    if (method === 'HEAD') response.end();
    else if (layer === undefined) response.end(whole.subarray(start, end));
    else await pipeline(cut(this.#blob(this.#layers.indexOf(layer), layer.trailer), start, end), response);
  }

  #describe(number: number): Layer {
    const [tar, blob] = [createHash('sha256'), createHash('sha256')];
    let [crc, length, size] = [0, 0, 0];
    for (const { plain } of this.#pieces(number)) {
      tar.update(plain);
      crc = crc32(plain, crc);
      length += plain.length;
    }
    const trailer = Buffer.alloc(8);
    trailer.writeUInt32LE(crc, 0);
    trailer.writeUInt32LE(length % 2 ** 32, 4);
    for (const bytes of this.#blob(number, trailer)) {
      blob.update(bytes);
      size += bytes.length;
    }
    return { digest: `sha256:${blob.digest('hex')}`, diffId: `sha256:${tar.digest('hex')}`, size, trailer };
  }

  *#blob(number: number, trailer: Buffer): Generator<Buffer> {
    yield GZIP_HEADER;
    for (const { deflated } of this.#pieces(number)) yield deflated;
    yield LAST_BLOCK;
    yield trailer;
  }

  *#pieces(number: number): Generator<Piece> {
    let length = 0;
    for (let i = 0; length < this.#bytesEach; i++) {
      const directory = `layer-${number}/package-${Math.floor(i / FILES_IN_A_DIRECTORY)}`;
      if (i % FILES_IN_A_DIRECTORY === 0) yield stored(dir(directory));
      const content = this.#pool[(i * 7) % POOL];
      if (content === undefined) throw new RangeError('no content');
      yield stored(file(`${directory}/file-${i}`, '', { size: content.size }).subarray(0, HEADER_BYTES));
      yield content;
      length += content.plain.length + HEADER_BYTES;
    }
    yield stored(Buffer.alloc(2 * HEADER_BYTES));
  }
}

/** Text of few words, files from half to one and a half times the mean. */
function contents(mean: number): Content[] {
  let state = 1;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const words = Array.from({ length: 3000 }, () => random(2 ** 31).toString(36));
  return Array.from({ length: POOL }, (_, i) => {
    const size = Math.floor(mean / 2 + (i * mean) / POOL);
    let text = '';
    while (text.length < size) text += `${words[random(random(2) === 0 ? 100 : words.length)]} `;
    const plain = padded(Buffer.from(text.slice(0, size)));
    return { plain, size, deflated: deflateRawSync(plain, { finishFlush: constants.Z_FULL_FLUSH }) };
  });
}

/** A block that is not compressed (RFC 1951, 3.2.4). */
function stored(plain: Buffer): Piece {
  const head = Buffer.alloc(5);
  head.writeUInt16LE(plain.length, 1);
  head.writeUInt16LE(~plain.length & 0xffff, 3);
  return { plain, deflated: Buffer.concat([head, plain]) };
}

function* cut(pieces: Iterable<Buffer>, start: number, end: number): Generator<Buffer> {
  let at = 0;
  for (const piece of pieces) {
    if (at >= end) return;
    const part = piece.subarray(Math.max(0, start - at), end - at);
    at += piece.length;
    if (at > start && part.length > 0) yield part;
  }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [layers = 0, bytesEach = 0, bytesOfFile = 0] = process.argv.slice(2).map(Number);
  const image = new LargeImage(layers, bytesEach, bytesOfFile);
  const server = createServer((request, response) => {
    image.serve(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1', () => {
    process.stdout.write(`127.0.0.1:${(server.address() as AddressInfo).port}\n`);
  });
  process.stdin.resume().on('end', () => process.exit());
}
