/** The uncompressed half of the pipeline: every byte of the tar is hashed, read and written here, once. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, fsyncSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { systemError } from '../errors.js';
import { makeDirectories } from '../linux/make-directories.js';
import type { LayerLimits } from '../tar/entry.js';
import { TarReader } from '../tar/reader.js';
import { type BuiltIndex, IndexBuilder } from '../tree/index-builder.js';
import { type DerivedFiles, writeDerivedFiles } from './derived-files.js';
import { NewFile } from './new-file.js';
import { WriteBack } from './write-back.js';

const DOING = 'write layer';

export interface TarOutputOptions {
  readonly outDir: string;
  readonly limits: LayerLimits;
  /** Says in messages which layer it is. */
  readonly name: string;
  /** Which digests of the bytes are to be made here. SHA-256 only where nobody else makes it. */
  readonly sha256: boolean;
  readonly sha512: boolean;
}

/** In hex, those that were asked for. */
export interface TarDigests {
  readonly sha256: string | undefined;
  readonly sha512: string | undefined;
}

export class TarOutput {
  readonly #options: TarOutputOptions;
  readonly #file: NewFile;
  readonly #reader: TarReader;
  readonly #builder: IndexBuilder;
  readonly #sha256: Hash | undefined;
  readonly #sha512: Hash | undefined;
  readonly #writeBack: WriteBack;
  #lastWrite: Promise<void> | undefined;

  constructor(options: TarOutputOptions, file: NewFile, builder: IndexBuilder) {
    this.#options = options;
    this.#file = file;
    this.#builder = builder;
    this.#reader = new TarReader(builder, options.limits, options.name);
    this.#sha256 = options.sha256 ? createHash('sha256') : undefined;
    this.#sha512 = options.sha512 ? createHash('sha512') : undefined;
    this.#writeBack = new WriteBack(file);
  }

  /** Creates `<outDir>/layer/layer.tar`. */
  static create(options: TarOutputOptions): TarOutput {
    const directory = join(options.outDir, 'layer');
    makeDirectories(directory);
    return new TarOutput(
      options,
      NewFile.create(join(directory, 'layer.tar'), DOING),
      new IndexBuilder(options.limits),
    );
  }

  get size(): number {
    return this.#file.size;
  }

  /**
   * Takes the next bytes, which stay as they are until the promise settles. Throws LARDER_LAYER_INVALID,
   * LARDER_LAYER_LIMIT, …; rejects with LARDER_NO_SPACE, ….
   */
  write(bytes: Uint8Array): Promise<void> {
    // The reader first: what is beyond the limits does not reach the disk.
    this.#reader.write(bytes);
    // Hashed while they are written.
    const written = this.#append(bytes);
    this.#lastWrite = written;
    this.#sha256?.update(bytes);
    this.#sha512?.update(bytes);
    return written;
  }

  /** No more bytes: refuses an archive that is cut off. Call once, when every write has settled. */
  end(): TarDigests {
    this.#reader.end();
    return { sha256: this.#sha256?.digest('hex'), sha512: this.#sha512?.digest('hex') };
  }

  /** Makes the tar and what is derived from it durable. Only after every digest was found right. */
  async finish(signal: AbortSignal): Promise<DerivedFiles & { readonly entries: number }> {
    // Every write has been waited for; one that failed must not get any further than here.
    await this.#lastWrite;
    await this.#writeBack.settled();
    const built: BuiltIndex = this.#builder.finish(this.#file.size);
    const derived = await writeDerivedFiles(built, this.#file.fd, this.#options.outDir, signal);
    this.#file.finish(0o400);
    syncDirectory(join(this.#options.outDir, 'layer'));
    return { ...derived, entries: built.index.count };
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const end = this.#file.size + bytes.length;
    await this.#file.appendAside(bytes);
    this.#writeBack.advance(end);
  }

  /** Nothing uses the file any more. Never rejects. */
  async #settled(): Promise<void> {
    await Promise.allSettled([this.#lastWrite]);
    await this.#writeBack.settled();
  }

  /** Removes the tar, when nothing writes to it any more. Idempotent. */
  async abandon(): Promise<void> {
    await this.#settled();
    this.#file.abandon();
  }
}

/** The name `layer.tar` is durable before the directory that holds it is renamed. */
function syncDirectory(path: string): void {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw systemError(`${DOING}: ${path}`, error);
  }
}
