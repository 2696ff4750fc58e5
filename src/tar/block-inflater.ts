/**
 * Drives a library that inflates call by call. While one call runs on libuv's pool, this thread works on what the call
 * before it gave: the next call is always started first. A ring of blocks bounds what is inflated and not yet taken.
 */
import { LarderError } from '../errors.js';
import { type Inflater, type InflaterOut, OUT_BYTES } from './inflater.js';

/** A library's single calls, which know nothing of blocks that others still use. */
export interface Decoder {
  readonly name: string;
  /** The next compressed bytes, one at least; they stay as they are until `hasMore` is false. */
  feed(chunk: Uint8Array): void;
  /** There are no more bytes. LARDER_LAYER_CORRUPT when there should be. */
  finish(): void;
  /** Whether {@link step} can do more with what it has. */
  readonly hasMore: boolean;
  /**
   * One call of the library: fills `block` from its start and answers with how much. Only called when `hasMore`, and
   * never before the last call is over. A call on the pool uses `block` until it has settled.
   */
  step(block: Uint8Array): Promise<number> | number;
  /** Idempotent; never during a step. */
  close(): void;
}

/** One is filled, one is worked on, and two may wait for the disk. */
const BLOCKS = 4;

export class BlockInflater implements Inflater {
  readonly #decoder: Decoder;
  /** Nobody uses these. */
  readonly #free: Uint8Array[] = [];
  /** One for each block that the receiver uses; they never reject. */
  readonly #lent = new Set<Promise<void>>();
  #made = 0;
  /** What the last step gave, and nobody has seen yet. */
  #held: { readonly block: Uint8Array; readonly length: number } | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(decoder: Decoder) {
    this.#decoder = decoder;
  }

  get name(): string {
    return this.#decoder.name;
  }

  async write(chunk: Uint8Array, out: InflaterOut): Promise<void> {
    if (chunk.length === 0) return;
    const { length } = chunk;
    this.#decoder.feed(chunk);
    await this.#drive(out);
    // A look at it here keeps it where it is while a call of the library has nothing but its address.
    if (chunk.length !== length)
      throw new LarderError('LARDER_INTERNAL', 'inflate: its input was taken away meanwhile');
  }

  async end(out: InflaterOut): Promise<void> {
    this.#decoder.finish();
    await this.#drive(out);
    this.#deliver(out);
    await Promise.all(this.#lent);
    this.#throwFailure();
  }

  close(): void {
    this.#decoder.close();
  }

  async #drive(out: InflaterOut): Promise<void> {
    while (this.#decoder.hasMore) {
      const block = this.#unusedBlock() ?? (await this.#nextBlock(out));
      this.#throwFailure();
      const stepping = this.#decoder.step(block);
      try {
        this.#deliver(out);
      } catch (error) {
        await settled(stepping);
        throw error;
      }
      const length = typeof stepping === 'number' ? stepping : await stepping;
      if (length > 0) this.#held = { block, length };
      else this.#free.push(block);
    }
  }

  #unusedBlock(): Uint8Array | undefined {
    const block = this.#free.pop();
    if (block !== undefined || this.#made === BLOCKS) return block;
    this.#made++;
    return new Uint8Array(OUT_BYTES);
  }

  /** Waits for the receiver, which meanwhile gets what there is. */
  async #nextBlock(out: InflaterOut): Promise<Uint8Array> {
    this.#deliver(out);
    for (;;) {
      const block = this.#free.pop();
      if (block !== undefined) return block;
      await Promise.race(this.#lent);
    }
  }

  #deliver(out: InflaterOut): void {
    if (this.#held === undefined) return;
    const { block, length } = this.#held;
    this.#held = undefined;
    const taken = out(block.subarray(0, length));
    if (taken === undefined) {
      this.#free.push(block);
      return;
    }
    const lent: Promise<void> = this.#untilGivenBack(block, taken).then(() => void this.#lent.delete(lent));
    this.#lent.add(lent);
  }

  async #untilGivenBack(block: Uint8Array, taken: Promise<void>): Promise<void> {
    try {
      await taken;
    } catch (error) {
      this.#failure ??= { error };
    }
    this.#free.push(block);
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/** Resolves when it is over, however it ended. */
async function settled(work: Promise<unknown> | unknown): Promise<void> {
  try {
    await work;
  } catch {
    // What happened before it is what counts.
  }
}
