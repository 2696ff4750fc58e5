/** gzip through Intel's ISA-L, where the host has it: about half the time of zlib. */
import { gzipSync } from 'node:zlib';
import { at } from '../bytes.js';
import { BlockInflater, type Decoder } from './block-inflater.js';
import { damagedStream, type Inflater, isZero } from './inflater.js';
import { isSmall, PoolCall } from './on-pool.js';
import { flipped, passesSelfTest, type SelfTest } from './self-test.js';

interface Library {
  readonly init: (state: Uint8Array) => void;
  readonly reset: (state: Uint8Array) => void;
  readonly inflate: PoolCall<[state: Uint8Array], number>;
  readonly address: (bytes: Uint8Array) => bigint;
}

/**
 * `struct inflate_state` of libisal.so.2 (igzip_lib.h), as offsets into views of 8 and of 4 bytes. The struct has
 * 87,368 bytes; more are given, so that a version with a larger one fails the self-test and not the process.
 */
const STATE_BYTES = 256 * 1024;
const NEXT_OUT = 0;
const AVAIL_OUT = 8 / 4;
const NEXT_IN = 16 / 8;
const AVAIL_IN = 32 / 4;
const BLOCK_STATE = 21_160 / 4;
const CRC_FLAG = 21_172 / 4;
const BLOCK_FINISH = 5;
const ISAL_GZIP = 1;

/** RFC 1952, 2.3.1: the fourth byte of a member; its upper bits must be zero, at which ISA-L does not look. */
const FLAGS_AT = 3;
const RESERVED_FLAGS = 0xe0;

let library: Promise<Library | undefined> | undefined;

/** Undefined where libisal.so.2 or koffi is missing, or the library does not pass its self-test. */
export async function openIsal(layer: string): Promise<Inflater | undefined> {
  library ??= load();
  const isal = await library;
  return isal === undefined ? undefined : openWith(isal, layer);
}

function openWith(isal: Library, layer: string): Inflater {
  return new BlockInflater(new IsalDecoder(isal, layer));
}

class IsalDecoder implements Decoder {
  readonly name = 'isa-l';
  readonly #isal: Library;
  readonly #layer: string;
  readonly #state = new Uint8Array(STATE_BYTES);
  readonly #words = new Uint32Array(this.#state.buffer);
  readonly #pointers = new BigUint64Array(this.#state.buffer);
  #chunk: Uint8Array = new Uint8Array(0);
  #more = false;
  /** What was just done was small. */
  #small = false;
  /** How many bytes into the next chunk a member's flags are; negative when they have been seen. */
  #flagsAt = FLAGS_AT;
  #phase: 'start' | 'member' | 'between' | 'zeros' = 'start';

  constructor(isal: Library, layer: string) {
    this.#isal = isal;
    this.#layer = layer;
  }

  get hasMore(): boolean {
    return this.#more;
  }

  feed(chunk: Uint8Array): void {
    if (this.#phase === 'start') this.#begin();
    if (this.#phase === 'zeros') {
      this.#checkZeros(chunk, 0);
      return;
    }
    this.#checkFlags(chunk, 0);
    this.#pointers[NEXT_IN] = this.#isal.address(chunk);
    this.#words[AVAIL_IN] = chunk.length;
    this.#chunk = chunk;
    this.#more = true;
  }

  finish(): void {
    if (this.#phase === 'start') throw damagedStream(this.#layer, 'gzip', 'it is empty');
    if (this.#phase === 'member') throw damagedStream(this.#layer, 'gzip', 'it is cut off');
  }

  close(): void {}

  step(block: Uint8Array): Promise<number> | number {
    const left = at(this.#words, AVAIL_IN);
    if (this.#phase === 'between' && !this.#beginMember(left)) {
      this.#more = false;
      return 0;
    }
    this.#phase = 'member';
    this.#pointers[NEXT_OUT] = this.#isal.address(block);
    this.#words[AVAIL_OUT] = block.length;
    const result = this.#isal.inflate.run(this.#small || isSmall(left), this.#state);
    if (typeof result === 'number') return this.#stepped(result, left, block);
    return result.then((settled) => this.#stepped(settled, left, block));
  }

  #stepped(result: number, left: number, block: Uint8Array): number {
    const words = this.#words;
    if (result < 0) throw damagedStream(this.#layer, 'gzip', ERRORS[result] ?? `error ${result}`);
    const produced = block.length - at(words, AVAIL_OUT);
    if (at(words, BLOCK_STATE) === BLOCK_FINISH) this.#phase = 'between';
    else if (at(words, AVAIL_IN) === left && produced === 0 && left > 0) {
      throw damagedStream(this.#layer, 'gzip', 'the decoder does not go on');
    }
    this.#small = isSmall(left - at(words, AVAIL_IN), produced);
    this.#more = at(words, AVAIL_IN) > 0 || (this.#phase === 'member' && produced === block.length);
    return produced;
  }

  #begin(): void {
    this.#isal.init(this.#state);
    this.#words[CRC_FLAG] = ISAL_GZIP;
    this.#phase = 'member';
  }

  /** Whether the last `left` bytes of the chunk begin another member. Zeros are padding, to the end of the stream. */
  #beginMember(left: number): boolean {
    const chunk = this.#chunk;
    if (left === 0) return false;
    const start = chunk.length - left;
    if (at(chunk, start) === 0) {
      this.#checkZeros(chunk, start);
      return false;
    }
    this.#isal.reset(this.#state);
    this.#words[CRC_FLAG] = ISAL_GZIP;
    this.#flagsAt = FLAGS_AT;
    this.#checkFlags(chunk, start);
    return true;
  }

  /** `from` is where the member, or what is left of its start, begins. */
  #checkFlags(chunk: Uint8Array, from: number): void {
    if (this.#flagsAt < 0) return;
    const i = from + this.#flagsAt;
    this.#flagsAt = i - chunk.length;
    if (i < chunk.length && (at(chunk, i) & RESERVED_FLAGS) !== 0) {
      throw damagedStream(this.#layer, 'gzip', 'a header has unknown flags');
    }
  }

  #checkZeros(chunk: Uint8Array, from: number): void {
    this.#phase = 'zeros';
    if (!isZero(chunk, from)) throw damagedStream(this.#layer, 'gzip', 'other bytes follow its end');
  }
}

const ERRORS: { readonly [result: number]: string } = {
  [-1]: 'a block is invalid',
  [-2]: 'a symbol is invalid',
  [-3]: 'a match points before the start',
  [-4]: 'a header is invalid',
  [-5]: 'a compression method is not known',
  [-6]: 'a checksum is wrong',
};

async function load(): Promise<Library | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    const lib = koffi.load('libisal.so.2');
    const isal: Library = {
      init: lib.func('void isal_inflate_init(void*)'),
      reset: lib.func('void isal_inflate_reset(void*)'),
      inflate: new PoolCall<[Uint8Array], number>(lib.func('int isal_inflate(void*)')),
      address: (bytes) => koffi.address(bytes),
    };
    return (await passesSelfTest(() => openWith(isal, 'self-test'), selfTest())) ? isal : undefined;
  } catch {
    // Not here, or not usable: an accelerator that is missing is no failure.
    return undefined;
  }
}

/** Two members and zeros come out right; a wrong checksum and a cut stream do not. */
function selfTest(): SelfTest {
  const text = Buffer.from(Array.from({ length: 3000 }, (_, i) => `${i * i} larder\n`).join(''));
  const single = gzipSync(text);
  return {
    stream: Buffer.concat([single, gzipSync(text.subarray(7)), Buffer.alloc(600)]),
    expected: Buffer.concat([text, text.subarray(7)]),
    refused: [flipped(single, single.length - 6), single.subarray(0, -9)],
    pieceBytes: 997,
  };
}
