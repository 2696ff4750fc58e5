import { closeSync, constants, fchmodSync, fsyncSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { systemError } from '../errors.js';
import { OrderedWrites } from './ordered-writes.js';

/**
 * A file that is written once, from front to back: the kernel's write-back is what holds the writer, and through it the
 * source, to the speed of the disk. By synchronous calls, or on libuv's pool; nobody uses both on one file. Complete and durable after {@link finish}, and not
 * before. Errors: LARDER_NO_SPACE, LARDER_PERMISSION; after one the file is of no use and {@link abandon} removes it.
 */
export class NewFile {
  readonly path: string;
  /** Readable too, for those who need bytes back. -1 when closed. */
  #fd: number;
  readonly #doing: string;
  #size = 0;
  #writes: OrderedWrites | undefined;

  constructor(path: string, doing: string, fd: number) {
    this.path = path;
    this.#doing = doing;
    this.#fd = fd;
  }

  /** `doing` begins the messages of its errors. Refuses a file that is there. */
  static create(path: string, doing: string): NewFile {
    try {
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
      return new NewFile(path, doing, fd);
    } catch (error) {
      throw systemError(`${doing}: ${path}`, error);
    }
  }

  /** Creates it, lets `fill` write it, makes it durable with `mode`; what fails leaves no file and nothing open. */
  static async write(
    path: string,
    doing: string,
    mode: number,
    fill: (file: NewFile) => Promise<void> | void,
  ): Promise<void> {
    const file = NewFile.create(path, doing);
    try {
      await fill(file);
      file.finish(mode);
    } catch (error) {
      file.abandon();
      throw error;
    }
  }

  get fd(): number {
    return this.#fd;
  }

  get size(): number {
    return this.#size;
  }

  append(bytes: Uint8Array): void {
    this.#try(() => writeFully(this.#fd, bytes, this.#size));
    this.#size += bytes.length;
  }

  /** The same on libuv's pool: takes `bytes` until the promise settles, and is not finished or abandoned before. In the order of the calls. */
  async appendAside(bytes: Uint8Array): Promise<void> {
    this.#writes ??= new OrderedWrites(this.#fd, this.#size);
    this.#size += bytes.length;
    try {
      await this.#writes.append(bytes);
    } catch (error) {
      throw systemError(`${this.#doing}: ${this.path}`, error);
    }
  }

  /** Leaves a hole, which reads as zeros. */
  skip(bytes: number): void {
    this.#size += bytes;
  }

  /** An fsync error is final: the kernel may have dropped what it could not write. */
  finish(mode: number): void {
    this.#try(() => {
      ftruncateSync(this.#fd, this.#size);
      fchmodSync(this.#fd, mode);
      fsyncSync(this.#fd);
    });
    this.#close();
  }

  /** Closes and removes it. Idempotent. */
  abandon(): void {
    if (this.#fd >= 0) this.#close();
    this.#try(() => rmSync(this.path, { force: true }));
  }

  #close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    this.#try(() => closeSync(fd));
  }

  #try<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw systemError(`${this.#doing}: ${this.path}`, error);
    }
  }
}

/** Writes all of it; a write may be short. */
function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}
