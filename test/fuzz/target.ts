import type { ErrorCode } from '../../src/errors.js';
import type { Random } from './random.js';

/**
 * One thing that reads what somebody else wrote. An input is always bytes, so that all targets are mutated, minimised
 * and replayed by the same code; structure comes from `make` and `mutate`.
 */
export interface FuzzTarget {
  readonly name: string;
  /** What an input may be refused with; anything else that is thrown is a find. */
  readonly codes: readonly ErrorCode[];
  /** Those of the codes that a clock decides: which answer has one of them is not compared. */
  readonly timed?: readonly ErrorCode[];
  /** The short form of the test suite: how many inputs, and the verdicts (`ok` or a code) that these must meet. */
  readonly short: { readonly runs: number; readonly meets: readonly string[] };
  /** Pieces of the language of the input. */
  readonly words?: readonly string[];
  /** An input that is right, or nearly. */
  make(random: Random): Buffer;
  /** Changes it once, with an eye for its structure. Default: bytes alone. */
  mutate?(input: Buffer, random: Random): Buffer;
  /** What is made of the input; called twice, it must answer the same. Asserts what holds whatever the input is. */
  run(input: Buffer): unknown;
  /** Milliseconds of the processor that an input may take. Default: a quarter of a second and 4 µs a byte. */
  budgetMs?(input: Buffer): number;
  close?(): Promise<void> | void;
}

/** Opened when it is its turn: some hold a server, or a thread. Undefined where this machine cannot run it. */
export type OpenTarget = () => FuzzTarget | undefined | Promise<FuzzTarget | undefined>;
