/** The uncompressed half of the pipeline: every byte of the tar is hashed, read and written here, once. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { systemError } from '../errors.js';
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
  /** Whether the bytes are to be hashed here; else somebody else does. */
  readonly hash: boolean;
}

export class TarOutput {
  readonly #options: TarOutputOptions;
  readonly #file: NewFile;
  readonly #reader: TarReader;
  readonly #builder: IndexBuilder;
  readonly #hash: Hash | undefined;
  readonly #writeBack: WriteBack;

  constructor(options: TarOutputOptions, file: NewFile, builder: IndexBuilder) {
    this.#options = options;
    this.#file = file;
    this.#builder = builder;
    this.#reader = new TarReader(builder, options.limits, options.name);
    this.#hash = options.hash ? createHash('sha256') : undefined;
    this.#writeBack = new WriteBack(file);
  }

  /** Creates `<outDir>/layer/layer.tar`. */
  static create(options: TarOutputOptions): TarOutput {
    const directory = join(options.outDir, 'layer');
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw systemError(`${DOING}: ${directory}`, error);
    }
    return new TarOutput(
      options,
      NewFile.create(join(directory, 'layer.tar'), DOING),
      new IndexBuilder(options.limits),
    );
  }

  get size(): number {
    return this.#file.size;
  }

  /** Takes the next bytes; they may change afterwards. LARDER_LAYER_INVALID, LARDER_LAYER_LIMIT, LARDER_NO_SPACE, …. */
  write(bytes: Uint8Array): void {
    // The reader first: what is beyond the limits does not reach the disk.
    this.#reader.write(bytes);
    this.#hash?.update(bytes);
    this.#file.append(bytes);
    this.#writeBack.advance();
  }

  /** No more bytes: refuses an archive that is cut off. Answers the SHA-256 of all, in hex, if it was to be made. Call once. */
  end(): string | undefined {
    this.#reader.end();
    return this.#hash?.digest('hex');
  }

  /** Makes the tar and what is derived from it durable. Only after every digest was found right. */
  async finish(signal: AbortSignal): Promise<DerivedFiles & { readonly entries: number }> {
    const built: BuiltIndex = this.#builder.finish(this.#file.size);
    const derived = await writeDerivedFiles(built, this.#file.fd, this.#options.outDir, signal);
    this.#file.finish(0o400);
    syncDirectory(join(this.#options.outDir, 'layer'));
    return { ...derived, entries: built.index.count };
  }

  /** Removes the tar. Idempotent. */
  abandon(): void {
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
