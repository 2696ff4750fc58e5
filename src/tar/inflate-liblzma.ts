import { LarderError } from '../errors.js';
import { BlockInflater, type Decoder } from './block-inflater.js';
import { damagedStream, type Inflater } from './inflater.js';
import { isSmall, PoolCall } from './on-pool.js';
import { flipped, passesSelfTest, type SelfTest } from './self-test.js';

interface Library {
  readonly start: (stream: Uint8Array, memoryLimit: bigint, flags: number) => number;
  readonly code: PoolCall<[stream: Uint8Array, action: number], number>;
  readonly end: (stream: Uint8Array) => void;
  readonly address: (bytes: Uint8Array) => bigint;
}

/** `lzma_stream` of liblzma 5 (lzma/base.h): 136 bytes, as offsets into a view of 8. All zeros is LZMA_STREAM_INIT. */
const STREAM_BYTES = 256;
const NEXT_IN = 0;
const AVAIL_IN = 1;
const NEXT_OUT = 3;
const AVAIL_OUT = 4;

/** `xz -9` makes streams that need 65 MiB; what needs much more is made to take memory. */
const MEMORY_LIMIT = 256n << 20n;
/** A check that this library cannot make is refused, not skipped. */
const TELL_UNSUPPORTED_CHECK = 0x02;
/** Several streams, each followed by padding of a multiple of four zeros. */
const CONCATENATED = 0x08;
const RUN = 0;
const FINISH = 3;
const OK = 0;
const STREAM_END = 1;
const NO_MEMORY = 5;
const MEMORY_LIMIT_REACHED = 6;
const NO_PROGRESS = 10;

let library: Promise<Library | undefined> | undefined;

/** Undefined where liblzma.so.5 or koffi is missing, or the library does not pass its self-test. */
export async function openLiblzma(layer: string): Promise<Inflater | undefined> {
  library ??= load();
  const lzma = await library;
  return lzma === undefined ? undefined : openWith(lzma, layer);
}

function openWith(lzma: Library, layer: string): Inflater {
  return new BlockInflater(new LiblzmaDecoder(lzma, layer));
}

class LiblzmaDecoder implements Decoder {
  readonly name = 'liblzma';
  readonly #lzma: Library;
  readonly #layer: string;
  // An ArrayBuffer of its own: the library keeps pointers in it between calls, and its bytes must not move.
  readonly #fields = new BigUint64Array(new ArrayBuffer(STREAM_BYTES));
  readonly #stream = new Uint8Array(this.#fields.buffer);
  #action = RUN;
  #more = false;
  #phase: 'new' | 'open' | 'closed' = 'new';

  constructor(lzma: Library, layer: string) {
    this.#lzma = lzma;
    this.#layer = layer;
  }

  get hasMore(): boolean {
    return this.#more;
  }

  feed(chunk: Uint8Array): void {
    if (this.#phase === 'new') this.#begin();
    this.#fields[NEXT_IN] = this.#lzma.address(chunk);
    this.#fields[AVAIL_IN] = BigInt(chunk.length);
    this.#more = true;
  }

  finish(): void {
    if (this.#phase === 'new') throw damagedStream(this.#layer, 'xz', 'it is empty');
    this.#action = FINISH;
    this.#more = true;
  }

  close(): void {
    if (this.#phase === 'open') this.#lzma.end(this.#stream);
    this.#phase = 'closed';
  }

  /** The library answers NO_PROGRESS when called a second time for nothing, so no loop over this is endless. */
  async step(block: Uint8Array): Promise<number> {
    const fields = this.#fields;
    fields[NEXT_OUT] = this.#lzma.address(block);
    fields[AVAIL_OUT] = BigInt(block.length);
    const small = isSmall(Number(fields[AVAIL_IN]));
    const result = await this.#lzma.code.run(small, this.#stream, this.#action);
    if (result !== OK && result !== STREAM_END) throw this.#failure(result, this.#action);
    const produced = block.length - Number(fields[AVAIL_OUT]);
    if (this.#action === FINISH) this.#more = result !== STREAM_END;
    else this.#more = (fields[AVAIL_IN] ?? 0n) > 0n || produced === block.length;
    return produced;
  }

  #begin(): void {
    const result = this.#lzma.start(this.#stream, MEMORY_LIMIT, TELL_UNSUPPORTED_CHECK | CONCATENATED);
    if (result !== OK) {
      throw new LarderError('LARDER_INTERNAL', `inflating layer: ${this.#layer}: liblzma does not start: ${result}`);
    }
    this.#phase = 'open';
  }

  #failure(result: number, action: number): LarderError {
    if (result === MEMORY_LIMIT_REACHED || result === NO_MEMORY) {
      const limit = result === NO_MEMORY ? 'there is' : `the limit of ${MEMORY_LIMIT >> 20n} MiB`;
      return new LarderError(
        'LARDER_LAYER_LIMIT',
        `inflating layer: ${this.#layer}: its xz stream needs more memory than ${limit}`,
      );
    }
    if (result === NO_PROGRESS && action === FINISH) return damagedStream(this.#layer, 'xz', 'it is cut off');
    return damagedStream(this.#layer, 'xz', ERRORS[result] ?? `error ${result}`);
  }
}

/** `lzma_ret`. */
const ERRORS: { readonly [result: number]: string } = {
  3: 'its kind of check is not known',
  7: 'it is no xz stream',
  8: 'it uses options that are not known',
  9: 'its data is wrong, or other bytes follow its end',
  10: 'the decoder does not go on',
};

async function load(): Promise<Library | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    const lib = koffi.load('liblzma.so.5');
    const lzma: Library = {
      start: lib.func('int lzma_stream_decoder(void*, uint64_t, uint32_t)'),
      code: new PoolCall<[Uint8Array, number], number>(lib.func('int lzma_code(void*, int)')),
      end: lib.func('void lzma_end(void*)'),
      address: (bytes) => koffi.address(bytes),
    };
    return (await passesSelfTest(() => openWith(lzma, 'self-test'), SELF_TEST)) ? lzma : undefined;
  } catch {
    // Not here, or not usable: the caller says which library is missing.
    return undefined;
  }
}

/** "larder " five times and a newline, as `xz -9` writes it. */
const SAMPLE = Buffer.from(
  '/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4AAiAA9dADYYSqrbzb63JkCdY/QAAAAAGhnof/iJpoMAASsjMDmR9B+2830BAAAAAARZWg==',
  'base64',
);
/** Inside the check of the one block. */
const CHECK_AT = 50;

const TEXT = Buffer.from(`${Array.from({ length: 5 }, () => 'larder').join(' ')}\n`);

/** Two streams with padding come out right; a wrong check and a cut stream do not. */
const SELF_TEST: SelfTest = {
  stream: Buffer.concat([SAMPLE, Buffer.alloc(4), SAMPLE]),
  expected: Buffer.concat([TEXT, TEXT]),
  refused: [flipped(SAMPLE, CHECK_AT), SAMPLE.subarray(0, -2)],
  pieceBytes: 11,
};
