/**
 * One pass over a layer's bytes, from the first to the last. Its two halves, {@link BlobInput} and {@link TarOutput},
 * and the decoder between them work at once: on this thread and on libuv's pool, with few blocks in between.
 */
import { createHash, type Hash } from 'node:crypto';
import { isLarderError, LarderError } from '../errors.js';
import { algorithmOf, type DiffId, type Digest, parseDiffId, parseDigest } from '../spec/digest.js';
import { layerCompressionOf } from '../spec/media-types.js';
import {
  type Compression,
  checkCompression,
  type Inflater,
  type InflaterOut,
  openInflater,
  SNIFF_BYTES,
  sniffCompression,
} from '../tar/compression.js';
import { refuseBomb } from '../tar/entry.js';
import { BlobInput } from './blob-input.js';
import type { DerivedFiles } from './derived-files.js';
import type { DownloadFile } from './download-file.js';
import type { LayerJob } from './layer-job.js';
import type { WaitClock } from './layer-waits.js';
import { TarOutput } from './tar-output.js';

export interface VerifiedLayer extends DerivedFiles {
  readonly digest: Digest;
  readonly size: number;
  readonly diffId: DiffId;
  readonly tarSize: number;
  readonly tarSha512?: string;
  readonly entries: number;
}

export class LayerPass {
  readonly #job: LayerJob;
  readonly #clock: WaitClock;
  readonly #hash: Hash;
  readonly #input: BlobInput;
  readonly #out: InflaterOut = (bytes) => this.#takeTar(bytes);
  /** What came before there were enough bytes to see the compression. */
  #head: Uint8Array | undefined = new Uint8Array(0);
  #inflater: Inflater | undefined;
  #output: TarOutput | undefined;
  /** Not compressed: one block after the other goes to the disk. */
  #isPlain = false;
  #received = 0;
  /** Bytes that the decoder was given, or will not be given. */
  #taken = 0;
  /** Why the layer cannot be used. The rest is only hashed then, to tell a damaged transfer from a bad layer. */
  #refusal: LarderError | undefined;

  constructor(job: LayerJob, clock: WaitClock) {
    this.#job = job;
    this.#clock = clock;
    this.#hash = createHash(job.digest === undefined ? 'sha256' : algorithmOf(job.digest));
    this.#input = new BlobInput(this.#hash, (block) => this.#takeBlock(block));
  }

  get name(): string {
    const { digest, expectedDiffId, source } = this.#job;
    return digest ?? expectedDiffId ?? (source.kind === 'file' ? source.path : 'layer');
  }

  /** Bytes of the layer as transferred that went through. */
  get received(): number {
    return this.#received;
  }

  /** Bytes of the tar so far. */
  get written(): number {
    return this.#output?.size ?? 0;
  }

  /** Takes the next bytes; they may change when it has settled. What is wrong with them may show later. */
  write(bytes: Uint8Array): Promise<void> | void {
    this.#received += bytes.length;
    return this.#input.write(bytes);
  }

  /** All that was written has gone through; what comes from now on is kept in `file`, too. */
  async keepIn(file: DownloadFile): Promise<void> {
    await this.#input.flush();
    this.#input.keepIn(file);
  }

  throwIfRefused(): void {
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  tooLong(): LarderError {
    return this.#sizeMismatch(`more than the ${this.#job.size} bytes that were announced`);
  }

  /**
   * The gates, in order: size, compressed digest, the archive, DiffID. Behind the last one the files become durable.
   * There is no other way to a result.
   */
  async verify(signal: AbortSignal): Promise<VerifiedLayer> {
    const { digest: expected, expectedDiffId, size } = this.#job;
    if (this.#received !== size) throw this.#sizeMismatch(`${this.#received} bytes instead of ${size}`);
    await this.#input.flush();
    const digest = this.#computedDigest();
    if (expected !== undefined && digest !== expected) throw this.#digestMismatch(expected, digest);
    this.throwIfRefused();
    const output = await this.#end();
    const { sha256, sha512 } = output.end();
    const diffId = parseDiffId(sha256 === undefined ? digest : `sha256:${sha256}`);
    if (expectedDiffId !== undefined && diffId !== expectedDiffId) throw this.#diffIdMismatch(expectedDiffId, diffId);
    const files = await this.#clock.writing(output.finish(signal), true);
    const id = sha512 === undefined ? {} : { tarSha512: sha512 };
    return { digest, size, diffId, tarSize: output.size, ...id, ...files };
  }

  /** Waits for what is under way, keeps what came, and removes the tar. Idempotent. */
  async abandon(): Promise<void> {
    await this.#input.stop();
    await this.#dropTar();
  }

  #computedDigest(): Digest {
    const algorithm = this.#job.digest === undefined ? 'sha256' : algorithmOf(this.#job.digest);
    return parseDigest(`${algorithm}:${this.#hash.digest('hex')}`);
  }

  async #takeBlock(block: Uint8Array): Promise<void> {
    this.#taken += block.length;
    if (this.#refusal !== undefined) return;
    try {
      await this.#inflate(block);
    } catch (error) {
      await this.#refuse(error);
    }
  }

  async #inflate(bytes: Uint8Array): Promise<void> {
    if (this.#head === undefined) {
      await this.#inflater?.write(bytes, this.#out);
      return;
    }
    const head = this.#head.length === 0 ? bytes : Buffer.concat([this.#head, bytes]);
    if (head.length >= SNIFF_BYTES || this.#taken >= this.#job.size) await this.#begin(head);
    // A copy: the block is used again.
    else this.#head = Uint8Array.from(head);
  }

  async #begin(head: Uint8Array): Promise<void> {
    this.#head = undefined;
    const compression = this.#compressionOf(head);
    this.#isPlain = compression === 'none';
    const { outDir, limits, digest, tarSha512 = false } = this.#job;
    // Of an uncompressed layer the digest is the DiffID: its bytes need not be hashed twice.
    const isDiffId = compression === 'none' && (digest === undefined || algorithmOf(digest) === 'sha256');
    const name = `layer ${this.name}`;
    this.#output = TarOutput.create({ outDir, limits, name, sha256: !isDiffId, sha512: tarSha512 });
    this.#inflater = await openInflater(compression, { name: this.name });
    await this.#inflater.write(head, this.#out);
  }

  #compressionOf(head: Uint8Array): Compression {
    const { mediaType } = this.#job;
    if (mediaType !== undefined) {
      const declared = layerCompressionOf(mediaType, `layer ${this.name}`);
      checkCompression(declared, head, this.name);
      return declared;
    }
    const found = sniffCompression(head);
    if (found !== 'lz4' && found !== 'zip') return found;
    throw new LarderError('LARDER_MEDIA_TYPE_UNSUPPORTED', `reading layer: ${this.name}: ${found} is not supported`);
  }

  async #end(): Promise<TarOutput> {
    if (this.#head !== undefined) await this.#begin(this.#head);
    await this.#inflater?.end(this.#out);
    this.#inflater?.close();
    if (this.#output === undefined) throw new LarderError('LARDER_INTERNAL', `layer ${this.name}: nothing was written`);
    return this.#output;
  }

  #takeTar(bytes: Uint8Array): Promise<void> | void {
    refuseBomb(`reading layer: ${this.name}`, this.#taken, this.written + bytes.length, this.#job.limits);
    const written = this.#output?.write(bytes);
    return written && this.#clock.writing(written, this.#isPlain);
  }

  /** What says nothing of the bytes, or must stop at once, is thrown. */
  async #refuse(error: unknown): Promise<void> {
    if (!isLarderError(error, ...REFUSALS)) throw error;
    this.#refusal = error;
    await this.#dropTar();
  }

  /** Only between calls of the decoder. Idempotent. */
  async #dropTar(): Promise<void> {
    this.#inflater?.close();
    await this.#output?.abandon();
  }

  #sizeMismatch(why: string): LarderError {
    return new LarderError('LARDER_SIZE_MISMATCH', `verify layer: ${this.name}: ${why}`, {
      details: { layer: this.name, expected: this.#job.size },
    });
  }

  #digestMismatch(expected: Digest, found: Digest): LarderError {
    return new LarderError('LARDER_DIGEST_MISMATCH', `verify layer: ${expected}: its bytes hash to ${found}`, {
      details: { expected, found },
      ...(this.#refusal === undefined ? {} : { cause: this.#refusal }),
    });
  }

  #diffIdMismatch(expected: DiffId, found: DiffId): LarderError {
    const message = `verify layer: ${this.name}: its tar hashes to ${found}, the image's config says ${expected}`;
    return new LarderError('LARDER_DIFF_ID_MISMATCH', message, { details: { layer: this.name, expected, found } });
  }
}

/** After these the rest of the bytes is still worth hashing. A limit is not among them: what is too large is not read. */
const REFUSALS = [
  'LARDER_LAYER_INVALID',
  'LARDER_LAYER_CORRUPT',
  'LARDER_ENTRY_UNSUPPORTED',
  'LARDER_MEDIA_TYPE_UNSUPPORTED',
] as const;
