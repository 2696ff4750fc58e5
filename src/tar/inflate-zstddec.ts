/**
 * zstd through WebAssembly (zstddec), where libzstd is not there.
 *
 * zstddec's own streaming loop does not look at errors, and runs for ever on damaged input. So only its module is
 * taken, and driven here as zstd's manual says. Its window limit is zstd's default, which is 2^27.
 */
import { BlockInflater, type Decoder } from './block-inflater.js';
import { damagedStream, type Inflater, windowTooLarge } from './inflater.js';

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly malloc: (bytes: number) => number;
  readonly free: (address: number) => void;
  readonly ZSTD_createDCtx: () => number;
  readonly ZSTD_freeDCtx: (context: number) => number;
  readonly ZSTD_decompressStream: (context: number, output: number, input: number) => number;
}

/** Bytes that go in and out of the module's memory at a time. What comes out fits into a block. */
const IN_BYTES = 128 * 1024;
const OUT_BYTES = 512 * 1024;
/** Two structs of address, size, position. */
const STRUCT_BYTES = 12;
/** Results above 2^32 - 120 are errors (ZSTD_isError). */
const MAX_ERROR = 120;
/** ZSTD_error_frameParameter_windowTooLarge */
const WINDOW_TOO_LARGE = 16;

let module: Promise<Exports | undefined> | undefined;

export async function openZstddec(layer: string): Promise<Inflater | undefined> {
  module ??= load();
  const zstd = await module;
  return zstd === undefined ? undefined : new BlockInflater(new ZstddecDecoder(zstd, layer));
}

class ZstddecDecoder implements Decoder {
  readonly name = 'zstddec';
  readonly #zstd: Exports;
  readonly #layer: string;
  /** Addresses in the module's memory; 0 before the first bytes and after `close`. */
  #context = 0;
  #memory = 0;
  #started = false;
  #frameEnded = false;
  /** What the module has not been given yet. */
  #rest: Uint8Array = new Uint8Array(0);
  /** Bytes of the piece that it was given. */
  #given = 0;
  #more = false;

  constructor(zstd: Exports, layer: string) {
    this.#zstd = zstd;
    this.#layer = layer;
  }

  get hasMore(): boolean {
    return this.#more || this.#rest.length > 0;
  }

  feed(chunk: Uint8Array): void {
    if (!this.#started) this.#begin();
    this.#rest = chunk;
  }

  finish(): void {
    if (!this.#started) throw damagedStream(this.#layer, 'zstd', 'it is empty');
    if (!this.#frameEnded) throw damagedStream(this.#layer, 'zstd', 'it is cut off');
  }

  close(): void {
    if (this.#context === 0) return;
    this.#zstd.ZSTD_freeDCtx(this.#context);
    this.#zstd.free(this.#memory);
    this.#context = 0;
  }

  /** The module's memory may move during the call. */
  step(block: Uint8Array): number {
    const input = this.#memory + STRUCT_BYTES;
    const inBytes = input + STRUCT_BYTES;
    const outBytes = inBytes + IN_BYTES;
    if (!this.#more) this.#givePiece(input, inBytes);
    this.#setStruct(this.#memory, outBytes, OUT_BYTES);
    const result = this.#zstd.ZSTD_decompressStream(this.#context, this.#memory, input) >>> 0;
    if (result === 2 ** 32 - WINDOW_TOO_LARGE) throw windowTooLarge(this.#layer);
    if (result > 2 ** 32 - MAX_ERROR) {
      throw damagedStream(this.#layer, 'zstd', ERRORS[2 ** 32 - result] ?? `error ${2 ** 32 - result}`);
    }
    this.#frameEnded = result === 0;
    const produced = this.#positionOf(this.#memory);
    this.#more = this.#positionOf(input) < this.#given || (produced === OUT_BYTES && !this.#frameEnded);
    block.set(new Uint8Array(this.#zstd.memory.buffer, outBytes, produced));
    return produced;
  }

  #givePiece(input: number, inBytes: number): void {
    const piece = this.#rest.subarray(0, IN_BYTES);
    this.#rest = this.#rest.subarray(piece.length);
    this.#given = piece.length;
    new Uint8Array(this.#zstd.memory.buffer).set(piece, inBytes);
    this.#setStruct(input, inBytes, piece.length);
  }

  #begin(): void {
    this.#started = true;
    this.#context = this.#zstd.ZSTD_createDCtx();
    this.#memory = this.#zstd.malloc(2 * STRUCT_BYTES + IN_BYTES + OUT_BYTES);
  }

  #setStruct(address: number, bytes: number, size: number): void {
    const view = new DataView(this.#zstd.memory.buffer);
    view.setUint32(address, bytes, true);
    view.setUint32(address + 4, size, true);
    view.setUint32(address + 8, 0, true);
  }

  #positionOf(struct: number): number {
    return new DataView(this.#zstd.memory.buffer).getUint32(struct + 8, true);
  }
}

/** The likely ones of zstd_errors.h. */
const ERRORS: { readonly [code: number]: string } = {
  10: 'Unknown frame descriptor',
  14: 'Unsupported frame parameter',
  20: 'Data corruption detected',
  22: "Restored data doesn't match checksum",
  64: 'Allocation error : not enough memory',
};

async function load(): Promise<Exports | undefined> {
  try {
    const { ZSTDDecoder } = await import('zstddec/stream');
    let captured: Exports | undefined;
    const capturing = class extends ZSTDDecoder {
      override _init(result: { readonly instance: { readonly exports: unknown } }): void {
        // Its own state is needed too: the module calls back when its memory grows.
        super._init(result);
        captured = result.instance.exports as Exports;
      }
    };
    await new capturing().init();
    return captured;
  } catch {
    // No WebAssembly, or the package is not installed: then there is one decoder less.
    return undefined;
  }
}
