/**
 * The compressed half of the pipeline: pieces as the source gives them are gathered into blocks, and every block is
 * hashed, kept and inflated once. While one block is inflated the next ones are gathered. A block is handed on when it
 * is full or when there is nothing else to inflate: a slow source waits for nobody, a fast one gets large blocks. What is
 * gathered is kept meanwhile, as fast as the file takes it: a process that is killed loses what came a moment ago, however
 * long inflating takes.
 */
import type { Hash } from 'node:crypto';
import type { DownloadFile } from './download-file.js';

/** Inflates a block, which must stay as it is until then. Called for one block after the other. */
export type TakeBlock = (block: Uint8Array) => Promise<void>;

/** Large enough that the work between two blocks does not count. */
const BLOCK_BYTES = 512 << 10;
/** One is gathered, one is inflated, one waits: for the disk or for its turn. */
const BLOCKS = 3;

export class BlobInput {
  readonly #hash: Hash;
  readonly #take: TakeBlock;
  /** Where new blocks are kept. */
  #keepIn: DownloadFile | undefined;
  readonly #free: Buffer[] = [];
  #made = 0;
  /** Being gathered. */
  #block: Buffer | undefined;
  #filled = 0;
  /** How much of the block that is gathered was given to the file. */
  #kept = 0;
  /** Of the last bytes that were given to it; several are waited for in their order. */
  #keeping: Promise<void> | undefined;
  /** Blocks that are not inflated yet, and when the last of them is. */
  #waiting = 0;
  #inflated: Promise<void> = Promise.resolve();
  /** What is still done with blocks; these never reject. */
  readonly #busy = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #stopped = false;

  constructor(hash: Hash, take: TakeBlock) {
    this.#hash = hash;
    this.#take = take;
  }

  /** What comes from now on is appended to `file`. Only called when nothing is gathered. */
  keepIn(file: DownloadFile): void {
    this.#keepIn = file;
  }

  /**
   * Takes the next bytes by copying them; waits only where all blocks are in use. Rejects with what failed, in `take` or
   * in the file.
   */
  write(bytes: Uint8Array): Promise<void> | void {
    this.#throwFailure();
    const done = this.#fill(bytes);
    if (done < bytes.length) return this.#writeRest(bytes.subarray(done));
    if (this.#waiting === 0) this.#handOn();
    else this.#keep();
  }

  /** All that was written has been hashed, kept and inflated. */
  async flush(): Promise<void> {
    this.#handOn();
    await Promise.all(this.#busy);
    this.#throwFailure();
  }

  /** Inflates no more, but keeps what has come. Nothing is under way any more when it resolves. Never rejects. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#handOn();
    await Promise.all(this.#busy);
  }

  async #writeRest(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      await Promise.race(this.#busy);
      this.#throwFailure();
      rest = rest.subarray(this.#fill(rest));
    }
    if (this.#waiting === 0) this.#handOn();
  }

  /** How many bytes there was room for. */
  #fill(bytes: Uint8Array): number {
    let done = 0;
    while (done < bytes.length) {
      this.#block ??= this.#unusedBlock();
      if (this.#block === undefined) break;
      const some = bytes.subarray(done, done + this.#block.length - this.#filled);
      this.#block.set(some, this.#filled);
      this.#filled += some.length;
      done += some.length;
      if (this.#filled === this.#block.length) this.#handOn();
    }
    return done;
  }

  #unusedBlock(): Buffer | undefined {
    const block = this.#free.pop();
    if (block !== undefined || this.#made === BLOCKS) return block;
    this.#made++;
    return Buffer.allocUnsafeSlow(BLOCK_BYTES);
  }

  #handOn(): void {
    const block = this.#block;
    if (block === undefined || this.#filled === 0) return;
    const bytes = block.subarray(0, this.#filled);
    this.#block = undefined;
    this.#filled = 0;
    const kept = this.#keepRest(bytes);
    const inflated = this.#inflate(bytes);
    // Last, so that the others are at work meanwhile.
    this.#hash.update(bytes);
    const use: Promise<void> = this.#untilFree(block, kept, inflated).then(() => void this.#busy.delete(use));
    this.#busy.add(use);
  }

  /** What has been gathered since the file was last given something, when it has taken that. */
  #keep(): void {
    if (this.#keepIn === undefined || this.#keeping !== undefined || this.#block === undefined) return;
    if (this.#kept === this.#filled) return;
    const part = this.#block.subarray(this.#kept, this.#filled);
    this.#kept = this.#filled;
    this.#append(this.#keepIn, part);
  }

  /** Settles when the file has taken all of a block. */
  #keepRest(block: Uint8Array): Promise<void> | undefined {
    const rest = block.subarray(this.#kept);
    this.#kept = 0;
    if (this.#keepIn !== undefined && rest.length > 0) this.#append(this.#keepIn, rest);
    return this.#keeping;
  }

  #append(file: DownloadFile, bytes: Uint8Array): void {
    const appended = file.append(bytes);
    this.#keeping = appended;
    const done = (): void => {
      if (this.#keeping !== appended) return;
      this.#keeping = undefined;
      this.#keep();
    };
    appended.then(done, (error: unknown) => {
      this.#failure ??= { error };
      done();
    });
  }

  /** Starts at once where nothing else is inflated. */
  #inflate(bytes: Uint8Array): Promise<void> {
    const turn = this.#waiting++ === 0 ? this.#take(bytes) : this.#inflated.then(() => this.#takeNext(bytes));
    this.#inflated = turn.then(
      () => this.#afterBlock(),
      (error: unknown) => {
        // At once: the next block must not reach a decoder that has failed.
        this.#failure ??= { error };
        this.#afterBlock();
      },
    );
    return turn;
  }

  async #takeNext(bytes: Uint8Array): Promise<void> {
    if (!this.#stopped && this.#failure === undefined) await this.#take(bytes);
  }

  #afterBlock(): void {
    this.#waiting--;
    if (this.#waiting === 0 && this.#failure === undefined) this.#handOn();
  }

  async #untilFree(block: Buffer, ...uses: (Promise<void> | undefined)[]): Promise<void> {
    for (const outcome of await Promise.allSettled(uses)) {
      if (outcome.status === 'rejected') this.#failure ??= { error: outcome.reason };
    }
    this.#free.push(block);
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
