/** bzip2 through the host's libbz2. */
import { at } from '../bytes.js';
import { LarderError } from '../errors.js';
import { BlockInflater, type Decoder } from './block-inflater.js';
import { damagedStream, type Inflater } from './inflater.js';
import { isSmall, PoolCall } from './on-pool.js';
import { flipped, passesSelfTest, type SelfTest } from './self-test.js';

interface Library {
  readonly start: (stream: Uint8Array, verbosity: number, small: number) => number;
  readonly decompress: PoolCall<[stream: Uint8Array], number>;
  readonly end: (stream: Uint8Array) => number;
  readonly address: (bytes: Uint8Array) => bigint;
}

/** Debian and its kin know the library by its minor version, others do not. */
const LIBRARIES = ['libbz2.so.1.0', 'libbz2.so.1'];

/** `bz_stream` (bzlib.h): 80 bytes, as offsets into views of 8 and of 4 bytes. All zeros asks for malloc and free. */
const STREAM_BYTES = 128;
const NEXT_IN = 0;
const AVAIL_IN = 8 / 4;
const NEXT_OUT = 24 / 8;
const AVAIL_OUT = 32 / 4;
const OK = 0;
const STREAM_END = 4;
const NO_MEMORY = -3;
const WRONG_MAGIC = -5;

let library: Promise<Library | undefined> | undefined;

/** Undefined where libbz2 or koffi is missing, or the library does not pass its self-test. */
export async function openLibbz2(layer: string): Promise<Inflater | undefined> {
  library ??= load();
  const bzip2 = await library;
  return bzip2 === undefined ? undefined : openWith(bzip2, layer);
}

function openWith(bzip2: Library, layer: string): Inflater {
  return new BlockInflater(new Libbz2Decoder(bzip2, layer));
}

class Libbz2Decoder implements Decoder {
  readonly name = 'libbz2';
  readonly #bzip2: Library;
  readonly #layer: string;
  // An ArrayBuffer of its own: the library remembers the struct's address and refuses another one.
  readonly #pointers = new BigUint64Array(new ArrayBuffer(STREAM_BYTES));
  readonly #words = new Uint32Array(this.#pointers.buffer);
  readonly #stream = new Uint8Array(this.#pointers.buffer);
  #more = false;
  /** What was just done was small. */
  #small = false;
  /** The library holds memory from the first byte of a stream to its last. */
  #inStream = false;
  #streams = 0;

  constructor(bzip2: Library, layer: string) {
    this.#bzip2 = bzip2;
    this.#layer = layer;
  }

  get hasMore(): boolean {
    return this.#more;
  }

  feed(chunk: Uint8Array): void {
    this.#pointers[NEXT_IN] = this.#bzip2.address(chunk);
    this.#words[AVAIL_IN] = chunk.length;
    this.#more = true;
  }

  finish(): void {
    if (this.#streams === 0) throw damagedStream(this.#layer, 'bzip2', 'it is empty');
    if (this.#inStream) throw damagedStream(this.#layer, 'bzip2', 'it is cut off');
  }

  close(): void {
    if (this.#inStream) this.#bzip2.end(this.#stream);
    this.#inStream = false;
  }

  async step(block: Uint8Array): Promise<number> {
    if (!this.#inStream) this.#begin();
    const words = this.#words;
    const left = at(words, AVAIL_IN);
    this.#pointers[NEXT_OUT] = this.#bzip2.address(block);
    words[AVAIL_OUT] = block.length;
    const result = await this.#bzip2.decompress.run(this.#small || isSmall(left), this.#stream);
    if (result !== OK && result !== STREAM_END) throw this.#failure(result);
    const produced = block.length - at(words, AVAIL_OUT);
    if (result === STREAM_END) this.close();
    else if (produced === 0 && left > 0 && at(words, AVAIL_IN) === left) {
      throw damagedStream(this.#layer, 'bzip2', 'the decoder does not go on');
    }
    this.#small = isSmall(left - at(words, AVAIL_IN), produced);
    this.#more = at(words, AVAIL_IN) > 0 || (produced === block.length && this.#inStream);
    return produced;
  }

  #begin(): void {
    const result = this.#bzip2.start(this.#stream, 0, 0);
    if (result !== OK) {
      throw new LarderError('LARDER_INTERNAL', `inflating layer: ${this.#layer}: libbz2 does not start: ${result}`);
    }
    this.#inStream = true;
    this.#streams++;
  }

  #failure(result: number): LarderError {
    if (result === NO_MEMORY) {
      const message = `inflating layer: ${this.#layer}: its bzip2 stream needs more memory than there is`;
      return new LarderError('LARDER_LAYER_LIMIT', message);
    }
    const follows = result === WRONG_MAGIC && this.#streams > 1;
    const what = follows ? 'other bytes follow its end' : (ERRORS[result] ?? `error ${result}`);
    return damagedStream(this.#layer, 'bzip2', what);
  }
}

const ERRORS: { readonly [result: number]: string } = {
  [-4]: 'its data or a checksum is wrong',
  [WRONG_MAGIC]: 'it is no bzip2 stream',
};

async function load(): Promise<Library | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    const lib = loadFirst((name) => koffi.load(name));
    const bzip2: Library = {
      start: lib.func('int BZ2_bzDecompressInit(void*, int, int)'),
      decompress: new PoolCall<[Uint8Array], number>(lib.func('int BZ2_bzDecompress(void*)')),
      end: lib.func('int BZ2_bzDecompressEnd(void*)'),
      address: (bytes) => koffi.address(bytes),
    };
    return (await passesSelfTest(() => openWith(bzip2, 'self-test'), SELF_TEST)) ? bzip2 : undefined;
  } catch {
    // Not here, or not usable: the caller says which library is missing.
    return undefined;
  }
}

function loadFirst<T>(load: (name: string) => T): T {
  let failure: unknown;
  for (const name of LIBRARIES) {
    try {
      return load(name);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** "larder " five times and a newline, as `bzip2 -9` writes it. */
const SAMPLE = Buffer.from('QlpoOTFBWSZTWZP8s1sAAAxRgAAQQAAmBBAAIAAxDACKBpEiUnJobEieLuSKcKEhJ/lmtg==', 'base64');
/** Inside the checksum of the one block. */
const CHECK_AT = 11;

const TEXT = Buffer.from(`${Array.from({ length: 5 }, () => 'larder').join(' ')}\n`);

/** Two streams come out right; a wrong checksum and a cut stream do not. */
const SELF_TEST: SelfTest = {
  stream: Buffer.concat([SAMPLE, SAMPLE]),
  expected: Buffer.concat([TEXT, TEXT]),
  refused: [flipped(SAMPLE, CHECK_AT), SAMPLE.subarray(0, -2)],
  pieceBytes: 11,
};
