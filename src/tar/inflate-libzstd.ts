/** zstd through the host's libzstd.so.1. */
import { BlockInflater, type Decoder } from './block-inflater.js';
import { damagedStream, type Inflater, WINDOW_LOG_MAX, windowTooLarge } from './inflater.js';
import { isSmall, PoolCall } from './on-pool.js';
import { flipped, passesSelfTest, type SelfTest } from './self-test.js';

interface Library {
  readonly create: () => unknown;
  readonly free: (context: unknown) => number | bigint;
  readonly setParameter: (context: unknown, parameter: number, value: number) => number | bigint;
  readonly decompress: PoolCall<[context: unknown, output: Uint8Array, input: Uint8Array], number | bigint>;
  readonly isError: (result: number | bigint) => number;
  readonly errorName: (result: number | bigint) => string;
  readonly address: (bytes: Uint8Array) => bigint;
}

const WINDOW_LOG_PARAMETER = 100;
/** ZSTD_error_frameParameter_windowTooLarge; errors are returned as negative sizes. */
const WINDOW_TOO_LARGE = 16n;

let library: Promise<Library | undefined> | undefined;

/** Undefined where libzstd.so.1 or koffi is missing, or the library does not pass its self-test. */
export async function openLibzstd(layer: string): Promise<Inflater | undefined> {
  library ??= load();
  const zstd = await library;
  return zstd === undefined ? undefined : openWith(zstd, layer);
}

function openWith(zstd: Library, layer: string): Inflater {
  return new BlockInflater(new LibzstdDecoder(zstd, layer));
}

class LibzstdDecoder implements Decoder {
  readonly name = 'libzstd';
  readonly #zstd: Library;
  readonly #layer: string;
  #context: unknown;
  /** ZSTD_outBuffer and ZSTD_inBuffer: address, size, position. */
  readonly #output = new BigUint64Array(3);
  readonly #input = new BigUint64Array(3);
  readonly #outputBytes = new Uint8Array(this.#output.buffer);
  readonly #inputBytes = new Uint8Array(this.#input.buffer);
  #started = false;
  #frameEnded = false;
  #more = false;
  /** What was just done was small. */
  #small = false;

  constructor(zstd: Library, layer: string) {
    this.#zstd = zstd;
    this.#layer = layer;
  }

  get hasMore(): boolean {
    return this.#more;
  }

  feed(chunk: Uint8Array): void {
    if (!this.#started) this.#begin();
    this.#input[0] = this.#zstd.address(chunk);
    this.#input[1] = BigInt(chunk.length);
    this.#input[2] = 0n;
    this.#more = true;
  }

  finish(): void {
    if (!this.#started) throw damagedStream(this.#layer, 'zstd', 'it is empty');
    if (!this.#frameEnded) throw damagedStream(this.#layer, 'zstd', 'it is cut off');
  }

  close(): void {
    if (this.#context !== undefined) this.#zstd.free(this.#context);
    this.#context = undefined;
  }

  async step(block: Uint8Array): Promise<number> {
    const [output, input] = [this.#output, this.#input];
    output[0] = this.#zstd.address(block);
    output[1] = BigInt(block.length);
    output[2] = 0n;
    const before = Number(input[2]);
    const small = this.#small || isSmall(Number(input[1]) - before);
    const result = await this.#zstd.decompress.run(small, this.#context, this.#outputBytes, this.#inputBytes);
    if (BigInt.asUintN(64, -BigInt(result)) === WINDOW_TOO_LARGE) throw windowTooLarge(this.#layer);
    if (this.#zstd.isError(result) !== 0) throw damagedStream(this.#layer, 'zstd', this.#zstd.errorName(result));
    const produced = Number(output[2]);
    this.#frameEnded = Number(result) === 0;
    this.#small = isSmall(Number(input[2]) - before, produced);
    // Full at a frame's end is complete; full inside a frame hides more.
    this.#more = (input[2] ?? 0n) < (input[1] ?? 0n) || (produced === block.length && !this.#frameEnded);
    return produced;
  }

  #begin(): void {
    this.#started = true;
    this.#context = this.#zstd.create();
    this.#zstd.setParameter(this.#context, WINDOW_LOG_PARAMETER, WINDOW_LOG_MAX);
  }
}

async function load(): Promise<Library | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    const lib = koffi.load('libzstd.so.1');
    const zstd: Library = {
      create: lib.func('void* ZSTD_createDCtx()'),
      free: lib.func('size_t ZSTD_freeDCtx(void*)'),
      setParameter: lib.func('size_t ZSTD_DCtx_setParameter(void*, int, int)'),
      decompress: new PoolCall<[unknown, Uint8Array, Uint8Array], number | bigint>(
        lib.func('size_t ZSTD_decompressStream(void*, void*, void*)'),
      ),
      isError: lib.func('unsigned int ZSTD_isError(size_t)'),
      errorName: lib.func('const char* ZSTD_getErrorName(size_t)'),
      address: (bytes) => koffi.address(bytes),
    };
    return (await passesSelfTest(() => openWith(zstd, 'self-test'), SELF_TEST)) ? zstd : undefined;
  } catch {
    // Not here, or not usable: an accelerator that is missing is no failure.
    return undefined;
  }
}

/** "larder " five times and a newline, with a checksum, as `zstd -19 --check` writes it. */
const SAMPLE = Buffer.from('KLUv/QRodQAAQGxhcmRlciAKAQAKixGGvcaF', 'base64');

const TEXT = Buffer.from(`${Array.from({ length: 5 }, () => 'larder').join(' ')}\n`);

/** Two frames come out right; a wrong checksum and a cut stream do not. */
const SELF_TEST: SelfTest = {
  stream: Buffer.concat([SAMPLE, SAMPLE]),
  expected: Buffer.concat([TEXT, TEXT]),
  refused: [flipped(SAMPLE, SAMPLE.length - 1), SAMPLE.subarray(0, -2)],
  pieceBytes: 11,
};
