/**
 * One download of a blob that any number of callers read while it runs: the registry is asked once. Its bytes go into a
 * file, and each caller reads that file as it grows: who is slow holds up nobody, and nothing waits in memory. The last byte
 * is read by nobody before the digest is proven.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { systemError, throwIfAborted } from '../errors.js';
import type { AskGrant } from '../registry/blob.js';
import { fetchBlob } from '../registry/fetch-blob.js';
import { algorithmOf, type Digest } from '../spec/digest.js';
import { PIECE_BYTES, requireHash } from './body.js';

export interface DownloadFile {
  readonly handle: FileHandle;
  /** Bytes of an earlier download in it, of the same repository; not hashed yet. What is behind them is dropped. */
  readonly size: number;
  /** The bytes are the digest's; or it ended otherwise, with so many. Called once. */
  readonly done: (outcome: 'proven' | 'wrong' | 'unfinished', bytes: number) => Promise<void>;
}

export class Download {
  readonly digest: Digest;
  readonly size: number;
  readonly #stop = new AbortController();
  readonly #waiting = new Set<() => void>();
  #file: FileHandle | undefined;
  #readers = 0;
  /** How far callers may read. */
  #released = 0;
  #ended = false;
  #failure: unknown;

  constructor(digest: Digest, size: number) {
    this.digest = digest;
    this.size = size;
  }

  /** Settles when it has ended; who reads hears of failures. Called once. */
  async run(open: () => Promise<DownloadFile>, ask: AskGrant): Promise<void> {
    try {
      const file = await open();
      this.#file = file.handle;
      await this.#fill(file, ask);
    } catch (error) {
      this.#failure = error;
    }
    this.#ended = true;
    this.#wake();
    await this.#closeWhenUnused();
  }

  /** Whether it can be joined. */
  get isOpen(): boolean {
    return !this.#ended && !this.#stop.signal.aborted;
  }

  /** What it fetches is not wanted any more. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** To be called before the first byte is read, `signal`: who reads is gone; the last that leaves ends the download. */
  join(signal: AbortSignal): AsyncDisposable {
    this.#readers++;
    let joined = true;
    // He may be waiting for a byte that does not come.
    const wake = (): void => this.#wake();
    signal.addEventListener('abort', wake);
    return {
      [Symbol.asyncDispose]: async () => {
        if (!joined) return;
        joined = false;
        signal.removeEventListener('abort', wake);
        this.#readers--;
        if (this.#readers > 0) return;
        this.#stop.abort();
        if (this.#ended) await this.#closeWhenUnused();
      },
    };
  }

  /** The first byte is here; rejects with what ended the download before, and with LARDER_ABORTED. For who has joined, as `read`. */
  async begun(signal: AbortSignal): Promise<void> {
    while (this.#released === 0 && !this.#ended) await this.#change(signal);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async *read(start: number, end: number, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
    for (let at = start; at < end; ) {
      if (this.#failure !== undefined) throw this.#failure;
      const length = Math.min(PIECE_BYTES, Math.min(end, this.#released) - at);
      const file = this.#file;
      if (length <= 0 || file === undefined) {
        await this.#change(signal);
        continue;
      }
      const piece = Buffer.allocUnsafe(length);
      const { bytesRead } = await file.read(piece, 0, length, at);
      at += bytesRead;
      yield piece.subarray(0, bytesRead);
    }
  }

  async #fill(file: DownloadFile, ask: AskGrant): Promise<void> {
    const { digest, size } = this;
    const { handle } = file;
    const hash = createHash(algorithmOf(digest));
    let outcome: 'proven' | 'wrong' | 'unfinished' = 'unfinished';
    let at = 0;
    try {
      for (const have = file.size > size ? 0 : file.size; at < have; ) {
        this.#stop.signal.throwIfAborted();
        const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, have - at));
        const { bytesRead } = await handle.read(piece, 0, piece.length, at);
        if (bytesRead === 0) break;
        hash.update(piece.subarray(0, bytesRead));
        at += bytesRead;
        this.#release(at);
      }
      await handle.truncate(at);
      for await (const piece of fetchBlob({ digest, size }, at, ask, { signal: this.#stop.signal })) {
        await writeAll(handle, piece, at);
        hash.update(piece);
        at += piece.byteLength;
        this.#release(at);
      }
      outcome = 'wrong';
      requireHash(hash.digest('hex'), digest);
      outcome = 'proven';
      this.#released = size;
    } finally {
      await file.done(outcome, at);
    }
  }

  #release(position: number): void {
    this.#released = Math.min(position, this.size - 1);
    this.#wake();
  }

  async #change(signal: AbortSignal): Promise<void> {
    throwIfAborted(signal, `serve ${this.digest}`);
    await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  async #closeWhenUnused(): Promise<void> {
    const file = this.#file;
    if (!this.#ended || this.#readers > 0 || file === undefined) return;
    this.#file = undefined;
    await file.close();
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
      done += bytesWritten;
    }
  } catch (error) {
    throw systemError('write what is downloaded', error);
  }
}
