/** ▸ An image in a program's hands: its facts, its files, and the lease that keeps both until it is disposed. */
import { type ImageRecord, imageIdOf } from './metadata/records.js';
import type { ImageConfig } from './spec/image-config.js';
import { type RuntimeConfig, runtimeConfigOf } from './spec/runtime.js';
import type { HeldImage, ImageInfo } from './store/store.js';
import type { Xattr } from './tar/entry.js';
import type { ImageEntry, ImageFs, ImagePath, ImageStat, ReadOptions, WalkEntry } from './tree/image-fs.js';

/** The files of an image without mounting it; its tree is read from the store when it is first asked. */
export class LazyImageFs implements AsyncDisposable {
  readonly #open: () => Promise<ImageFs>;
  #opened: Promise<ImageFs> | undefined;

  constructor(open: () => Promise<ImageFs>) {
    this.#open = open;
  }

  /** A whole file; LARDER_LAYER_LIMIT when it is longer than `maxBytes` (64 MiB). With an encoding as text, else bytes. */
  async readFile(path: ImagePath, options?: ReadOptions & { readonly maxBytes?: number }): Promise<Buffer> {
    return (await this.#fs()).readFile(path, options);
  }

  /** A file's bytes piece by piece; holes read as zeros. */
  async *readStream(path: ImagePath, options?: ReadOptions): AsyncGenerator<Uint8Array, void, undefined> {
    yield* (await this.#fs()).open(path, options);
  }

  /** The entries of a directory in bytewise order. */
  async readdir(path: ImagePath): Promise<ImageEntry[]> {
    return (await this.#fs()).readdir(path);
  }

  /** What `path` leads to, symlinks followed inside the image. Rejects with LARDER_PATH_NOT_FOUND, as all methods do. */
  async stat(path: ImagePath): Promise<ImageStat> {
    return (await this.#fs()).stat(path);
  }

  async lstat(path: ImagePath): Promise<ImageStat> {
    return (await this.#fs()).lstat(path);
  }

  /** The target of a symlink, as its bytes. */
  async readlink(path: ImagePath): Promise<Buffer> {
    return (await this.#fs()).readlink(path);
  }

  async realpath(path: ImagePath): Promise<Buffer> {
    return (await this.#fs()).realpath(path);
  }

  async exists(path: ImagePath): Promise<boolean> {
    return (await this.#fs()).exists(path);
  }

  async xattrs(path: ImagePath): Promise<readonly Xattr[]> {
    return (await this.#fs()).xattrs(path);
  }

  /** Everything below `path`, parents before children, names in bytewise order. */
  async *walk(path: ImagePath, options?: ReadOptions): AsyncGenerator<WalkEntry, void, undefined> {
    yield* (await this.#fs()).walk(path, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What could not be opened has been reported to who asked for it, and holds nothing.
    const opened = await this.#opened?.catch(() => undefined);
    await opened?.[Symbol.asyncDispose]();
  }

  #fs(): Promise<ImageFs> {
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }
}

export interface PulledImageParts {
  readonly held: HeldImage;
  readonly config: ImageConfig | undefined;
  /** `docker_ignore_runtime` */
  readonly ignoreRuntime: boolean;
  readonly openFs: () => Promise<ImageFs>;
}

export class PulledImage implements AsyncDisposable {
  readonly record: ImageRecord;
  /** Layer paths, manifest and config, as the store's `get` answers them. */
  readonly info: ImageInfo;
  /** The image's config as it was received, parsed; an Appc image has none. */
  readonly config: ImageConfig | undefined;
  readonly fs: LazyImageFs;
  readonly #held: HeldImage;
  readonly #ignoreRuntime: boolean;

  constructor({ held, config, ignoreRuntime, openFs }: PulledImageParts) {
    this.record = held.record;
    this.info = held.info;
    this.config = config;
    this.fs = new LazyImageFs(openFs);
    this.#held = held;
    this.#ignoreRuntime = ignoreRuntime;
  }

  /** Canonical. */
  get reference(): string {
    return this.record.reference;
  }

  /** The digest of a Docker image's config, the id of an Appc image. */
  get imageId(): string {
    return imageIdOf(this.record);
  }

  /**
   * How the image asks to be run; undefined when the store was opened to ignore it. Throws LARDER_CONFIG_INVALID where it
   * asks for what cannot be.
   */
  get runtime(): RuntimeConfig | undefined {
    const { config, info } = this;
    if (info.runtime !== undefined || config === undefined || this.#ignoreRuntime) return info.runtime;
    return runtimeConfigOf(config, this.reference);
  }

  /** Gives up the lease and closes the layers' files. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.fs[Symbol.asyncDispose]();
    } finally {
      await this.#held[Symbol.asyncDispose]();
    }
  }
}
