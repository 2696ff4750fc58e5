/**
 * gzip through node:zlib, which is always there: a stream, driven one chunk at a time. It inflates on libuv's pool into
 * fresh memory, and goes on before this thread works on what has come.
 */
import { createGunzip } from 'node:zlib';
import { damagedStream, type Inflater, type InflaterOut, isZero, OUT_BYTES } from './inflater.js';

/** Blocks that the receiver may use at once. */
const MAX_LENT = 3;

export function openZlib(layer: string): Inflater {
  return new ZlibInflater(layer);
}

class ZlibInflater implements Inflater {
  readonly name = 'zlib';
  readonly #layer: string;
  readonly #stream = createGunzip({ chunkSize: OUT_BYTES });
  #started = false;
  /** Compressed bytes given. */
  #given = 0;
  #ended = false;
  #failure: unknown;
  /** Bytes that nobody has seen yet. */
  #held: Uint8Array[] = [];
  /** What the receiver still uses; they never reject. */
  readonly #lent = new Set<Promise<void>>();
  /** Of the call under way. */
  #out: InflaterOut | undefined;
  #settle: (() => void) | undefined;

  constructor(layer: string) {
    this.#layer = layer;
  }

  async write(chunk: Uint8Array, out: InflaterOut): Promise<void> {
    if (chunk.length === 0) return;
    if (!this.#started) this.#listen();
    const start = this.#given;
    this.#given += chunk.length;
    if (!this.#ended) await this.#during(out, (settle) => this.#stream.write(chunk, settle));
    // The stream goes on to a further member by itself, and ends before a zero byte. It counts the bytes it took.
    if (this.#ended && !isZero(chunk, Math.max(0, this.#stream.bytesWritten - start))) {
      throw damagedStream(this.#layer, 'gzip', 'other bytes follow its end');
    }
  }

  async end(out: InflaterOut): Promise<void> {
    if (!this.#started) throw damagedStream(this.#layer, 'gzip', 'it is empty');
    await this.#during(out, (settle) => (this.#ended ? settle() : this.#stream.end()));
    await Promise.all(this.#lent);
    this.#throwFailure();
  }

  close(): void {
    this.#stream.destroy();
  }

  /** Runs until the stream has taken what it was given, has ended, or has failed. */
  async #during(out: InflaterOut, start: (settle: () => void) => void): Promise<void> {
    // Between two calls, too, and a stream that was destroyed tells nobody that it does not end.
    this.#throwFailure();
    await new Promise<void>((resolve) => {
      this.#out = out;
      this.#settle = resolve;
      start(() => this.#settle?.());
    });
    this.#deliver();
    this.#out = undefined;
    this.#settle = undefined;
    this.#throwFailure();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #listen(): void {
    this.#started = true;
    this.#stream.on('data', (bytes: Uint8Array) => {
      this.#held.push(bytes);
      // The stream starts to inflate further when this returns.
      queueMicrotask(() => this.#deliver());
    });
    this.#stream.on('end', () => {
      this.#ended = true;
      this.#settle?.();
    });
    this.#stream.on('error', (error: NodeJS.ErrnoException) => {
      const what = error.code === 'Z_BUF_ERROR' ? 'it is cut off' : error.message;
      this.#failure ??= damagedStream(this.#layer, 'gzip', what, error);
      this.#settle?.();
    });
  }

  /**
   * A throw here would reach nobody: it is kept for the call under way. A stream that was paused may give bytes between
   * two calls, when the receiver has given others back: they wait for the next call.
   */
  #deliver(): void {
    const out = this.#out;
    if (out === undefined) return;
    for (const bytes of this.#held.splice(0)) {
      if (this.#failure !== undefined) return;
      try {
        const taken = out(bytes);
        if (taken !== undefined) this.#lend(taken);
      } catch (error) {
        this.#fail(error);
      }
    }
  }

  #lend(taken: Promise<void>): void {
    const lent: Promise<void> = taken
      .catch((error: unknown) => this.#fail(error))
      .then(() => {
        this.#lent.delete(lent);
        if (this.#lent.size < MAX_LENT) this.#stream.resume();
      });
    this.#lent.add(lent);
    if (this.#lent.size >= MAX_LENT) this.#stream.pause();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#stream.destroy();
    this.#settle?.();
  }
}
