import { write } from 'node:fs';

/**
 * Appends to a file on libuv's pool, one write at a time: several on one file would only wait for its lock. After a
 * failure nothing more is written, and every append rejects with it.
 */
export class OrderedWrites {
  readonly #fd: number;
  #position: number;
  /** Ends with what was appended last. Never rejects. */
  #last: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  constructor(fd: number, position: number) {
    this.#fd = fd;
    this.#position = position;
  }

  /** Takes `bytes` until the promise settles; rejects with the system's error. */
  append(bytes: Uint8Array): Promise<void> {
    const position = this.#position;
    this.#position += bytes.length;
    const written = this.#last.then(() => this.#write(bytes, position));
    this.#last = written.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    return written;
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    for (let done = 0; done < bytes.length; ) {
      done += await writeSome(this.#fd, bytes.subarray(done), position + done);
    }
  }
}

function writeSome(fd: number, bytes: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, position, (error, written) => {
      if (error === null) resolve(written);
      else reject(error);
    });
  });
}
