/** gzip and zstd through node:zlib: a stream, driven one chunk at a time. */
import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import { damagedStream, type Inflater, type InflaterOut, isZero, OUT_BYTES, WINDOW_LOG_MAX } from './inflater.js';

/** Always there. */
export function openZlib(layer: string): Inflater {
  return new StreamInflater('zlib', 'gzip', layer, zlib.createGunzip({ chunkSize: OUT_BYTES }));
}

interface ZstdStreams {
  readonly createZstdDecompress?: (options: { chunkSize: number; params: Record<number, number> }) => ZlibStream;
}

const WINDOW_LOG_PARAMETER = 100;

/** Undefined before Node 22.15. */
export function openNodeZstd(layer: string): Inflater | undefined {
  const { createZstdDecompress } = zlib as ZstdStreams;
  const stream = createZstdDecompress?.({
    chunkSize: OUT_BYTES,
    params: { [WINDOW_LOG_PARAMETER]: WINDOW_LOG_MAX },
  });
  return stream === undefined ? undefined : new StreamInflater('node-zstd', 'zstd', layer, stream);
}

/** `bytesWritten` counts what the decoder took. */
type ZlibStream = Transform & { readonly bytesWritten: number };

class StreamInflater implements Inflater {
  readonly name: string;
  readonly #compression: string;
  readonly #layer: string;
  readonly #stream: ZlibStream;
  #started = false;
  /** Compressed bytes given. */
  #given = 0;
  #ended = false;
  #failure: unknown;
  /** Of the call under way. */
  #out: InflaterOut | undefined;
  #settle: (() => void) | undefined;

  constructor(name: string, compression: string, layer: string, stream: ZlibStream) {
    this.name = name;
    this.#compression = compression;
    this.#layer = layer;
    this.#stream = stream;
  }

  async write(chunk: Uint8Array, out: InflaterOut): Promise<void> {
    if (chunk.length === 0) return;
    if (!this.#started) this.#listen();
    const start = this.#given;
    this.#given += chunk.length;
    if (!this.#ended) await this.#during(out, (settle) => this.#stream.write(chunk, settle));
    if (this.#ended) this.#checkTrailing(chunk, Math.max(0, this.#stream.bytesWritten - start));
  }

  async end(out: InflaterOut): Promise<void> {
    if (!this.#started) throw damagedStream(this.#layer, this.#compression, 'it is empty');
    if (!this.#ended) await this.#during(out, () => this.#stream.end());
  }

  close(): void {
    this.#stream.destroy();
  }

  /** Runs until the stream has taken what it was given, has ended, or has failed. */
  async #during(out: InflaterOut, start: (settle: () => void) => void): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#out = out;
      this.#settle = resolve;
      start(() => this.#settle?.());
    });
    this.#out = undefined;
    this.#settle = undefined;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #listen(): void {
    this.#started = true;
    this.#stream.on('data', (bytes: Uint8Array) => this.#deliver(bytes));
    this.#stream.on('end', () => {
      this.#ended = true;
      this.#settle?.();
    });
    this.#stream.on('error', (error: Error) => {
      this.#failure ??= damagedStream(this.#layer, this.#compression, describe(error), error);
      this.#settle?.();
    });
  }

  /** A throw here would reach nobody: it is kept for the call under way. */
  #deliver(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    try {
      this.#out?.(bytes);
    } catch (error) {
      this.#failure = error;
      this.#stream.destroy();
      this.#settle?.();
    }
  }

  #checkTrailing(chunk: Uint8Array, from: number): void {
    if (this.#compression === 'gzip' && isZero(chunk, from)) return;
    if (from >= chunk.length) return;
    throw damagedStream(this.#layer, this.#compression, 'other bytes follow its end');
  }
}

function describe(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'Z_BUF_ERROR' ? 'it is cut off' : error.message;
}
