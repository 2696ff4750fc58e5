/**
 * The one driver of all targets. From one seed the inputs are the same on every machine, unless a run is guided: then
 * inputs that reached new code are kept and mutated on.
 *
 * The oracle of every target: an input ends with an answer, or with a LarderError of a documented code; nothing is thrown
 * outside; the same input gives the same answer twice; the processor's time grows with the bytes only.
 */

import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { isLarderError } from '../../src/errors.js';
import type { Coverage } from './coverage.js';
import { minimise } from './minimise.js';
import { mutateBytes } from './mutate.js';
import { Random } from './random.js';
import type { FuzzTarget } from './target.js';

export interface FuzzOptions {
  readonly seed: number;
  /** Which of the two comes first ends the run. */
  readonly runs?: number;
  readonly ms?: number;
  /** Guides the run. */
  readonly coverage?: Coverage;
}

export interface FuzzResult {
  readonly runs: number;
  readonly cpuMs: number;
  /** How often each answer was given: `ok` or a code. */
  readonly verdicts: Readonly<Record<string, number>>;
  /** Inputs that a guided run kept, and the characters of code that they reached. */
  readonly kept: number;
  readonly reached: number;
}

/** A broken promise, and the shortest input found that breaks it. */
export class FuzzFind extends Error {
  readonly target: string;
  readonly input: Buffer;

  constructor(target: string, input: Buffer, why: string, options?: ErrorOptions) {
    super(`${target}: ${why}`, options);
    this.target = target;
    this.input = input;
  }
}

const BATCH = 200;
/** So long a batch may be waited for. */
const BATCH_MS = 2000;
const MAX_KEPT = 2000;

/** Inputs among which is looked for the one that left something behind, and how long that may take to show. */
const RECENT = 100;
const LATE_MS = 300;

/** Throws a {@link FuzzFind} at the first broken promise. */
export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzResult> {
  const { seed, runs: most = Number.POSITIVE_INFINITY, ms = Number.POSITIVE_INFINITY, coverage } = options;
  const verdicts: Record<string, number> = {};
  const end = performance.now() + ms;
  const before = cpuMs();
  const corpus = coverage === undefined ? undefined : new Corpus(target, coverage);
  const recent: Buffer[] = [];
  const outside = new Outside();
  let runs = 0;
  try {
    for (; runs < most && performance.now() < end; runs++) {
      const random = new Random(seed + runs);
      const input = nextInput(target, random, corpus);
      if (recent.push(input) > RECENT) recent.shift();
      const verdict = await tryInput(target, input, outside, recent);
      verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
      await corpus?.saw(input);
    }
    await tryEnding(target, outside, recent);
  } finally {
    outside.close();
  }
  return { runs, cpuMs: cpuMs() - before, verdicts, kept: corpus?.kept.length ?? 0, reached: corpus?.reached ?? 0 };
}

/** Runs one input as {@link fuzz} does, without making it shorter. */
export async function replay(target: FuzzTarget, input: Buffer): Promise<string> {
  const outside = new Outside();
  try {
    return await check(target, input, outside);
  } finally {
    outside.close();
  }
}

function nextInput(target: FuzzTarget, random: Random, corpus: Corpus | undefined): Buffer {
  const kept = corpus?.kept ?? [];
  let input = kept.length > 0 && random.below(4) > 0 ? random.pick(kept) : target.make(random);
  for (let n = random.below(5); n > 0; n--) {
    input = target.mutate?.(input, random) ?? mutateBytes(input, random, target.words);
  }
  return input;
}

async function tryInput(
  target: FuzzTarget,
  input: Buffer,
  outside: Outside,
  recent: readonly Buffer[],
): Promise<string> {
  try {
    return await check(target, input, outside);
  } catch (error) {
    if (error instanceof ThrownOutside) throw await findOf(target, error, outside, recent);
    const short = await shortest(input, error, async (candidate) => void (await check(target, candidate, outside)));
    throw new FuzzFind(target.name, short, kindOf(error), { cause: error });
  }
}

/** What the last inputs left behind. */
async function tryEnding(target: FuzzTarget, outside: Outside, recent: readonly Buffer[]): Promise<void> {
  try {
    await outside.throwWhatComes(LATE_MS);
  } catch (error) {
    throw error instanceof ThrownOutside ? await findOf(target, error, outside, recent) : error;
  }
}

/** What was thrown outside may be the doing of an input before: the last one that does it again is made shorter. */
async function findOf(
  target: FuzzTarget,
  error: ThrownOutside,
  outside: Outside,
  recent: readonly Buffer[],
): Promise<FuzzFind> {
  const attempt = async (input: Buffer): Promise<void> => {
    await answerOf(target, input, outside);
    await outside.throwWhatComes(LATE_MS);
  };
  for (const input of recent.toReversed()) {
    const again = await attempt(input).then(
      () => undefined,
      (other: unknown) => other,
    );
    if (again === undefined) continue;
    const short = await shortest(input, again, attempt, 100);
    return new FuzzFind(target.name, short, kindOf(again), { cause: again });
  }
  return new FuzzFind(
    target.name,
    recent.at(-1) ?? Buffer.alloc(0),
    'thrown outside, by none of the last inputs alone',
    {
      cause: error,
    },
  );
}

function shortest(
  input: Buffer,
  error: unknown,
  attempt: (candidate: Buffer) => Promise<void>,
  maxTries?: number,
): Promise<Buffer> {
  const kind = kindOf(error);
  const fails = async (candidate: Buffer): Promise<boolean> => {
    try {
      await attempt(candidate);
      return false;
    } catch (other) {
      return kindOf(other) === kind;
    }
  };
  return minimise(input, fails, maxTries);
}

/** The verdict; throws what breaks a promise. */
async function check(target: FuzzTarget, input: Buffer, outside: Outside): Promise<string> {
  const kept = Buffer.from(input);
  const [answer, first] = await timed(target, input, outside);
  const [again, second] = await timed(target, input, outside);
  if (!kept.equals(input)) throw new Error('the input was changed');
  const clocked: readonly string[] = target.timed ?? [];
  const byClock = clocked.includes(answer.verdict) || clocked.includes(again.verdict);
  if (!byClock && !isDeepStrictEqual(again, answer))
    throw new Error('another answer the second time', { cause: [answer, again] });
  const budget = target.budgetMs?.(input) ?? 250 + input.length / 250;
  // What else ran, and compiling, is no matter: only what is slow every time is slow.
  for (let tries = 0, least = Math.min(first, second); least > budget; tries++) {
    if (tries === 3) throw new Error('too slow', { cause: `${least} ms for ${input.length} bytes` });
    least = Math.min(least, (await timed(target, input, outside))[1]);
  }
  return answer.verdict;
}

interface Answer {
  readonly verdict: string;
  readonly value: unknown;
}

async function timed(target: FuzzTarget, input: Buffer, outside: Outside): Promise<[Answer, number]> {
  const before = cpuMs();
  const answer = await answerOf(target, input, outside);
  return [answer, cpuMs() - before];
}

async function answerOf(target: FuzzTarget, input: Buffer, outside: Outside): Promise<Answer> {
  try {
    const value = target.run(input);
    if (!(value instanceof Promise)) return { verdict: 'ok', value };
    const settled: unknown = await value;
    return { verdict: 'ok', value: settled };
  } catch (error) {
    if (!isLarderError(error, ...target.codes)) throw error;
    return { verdict: error.code, value: error.message };
  } finally {
    // What nobody waits for shows when the event loop turns, and not before.
    await outside.throwWhatComes();
  }
}

/** What a failure is the same by: where it was thrown, else what it says. */
function kindOf(error: unknown): string {
  if (error instanceof ThrownOutside) return `thrown outside: ${kindOf(error.cause)}`;
  if (!(error instanceof Error)) return String(error);
  const place = /at .*?dist\/src\/([^\s)]*?):\d+:\d+/.exec(error.stack ?? '')?.[1] ?? '';
  const code = isLarderError(error) ? error.code : error.name;
  return `${code} ${place} ${place === '' ? error.message.slice(0, 80) : ''}`.trim();
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

class ThrownOutside extends Error {}

/** What was thrown where nobody waits for it. */
class Outside {
  #came: { readonly error: unknown } | undefined;
  readonly #listener = (error: unknown): void => {
    this.#came ??= { error };
  };

  constructor() {
    process.on('uncaughtException', this.#listener);
    process.on('unhandledRejection', this.#listener);
  }

  /** Until the event loop has turned, or for so long; timers that are still to come show with a later input. */
  async throwWhatComes(ms = 0): Promise<void> {
    for (let waited = 0; waited < ms && this.#came === undefined; waited += 10) await sleep(10);
    await turn();
    const came = this.#came;
    this.#came = undefined;
    if (came !== undefined) throw new ThrownOutside('thrown outside', { cause: came.error });
  }

  close(): void {
    process.off('uncaughtException', this.#listener);
    process.off('unhandledRejection', this.#listener);
  }
}

/** The inputs that reached something new. */
class Corpus {
  readonly kept: Buffer[] = [];
  readonly #target: FuzzTarget;
  readonly #coverage: Coverage;
  #batch: Buffer[] = [];
  #asked = performance.now();

  constructor(target: FuzzTarget, coverage: Coverage) {
    this.#target = target;
    this.#coverage = coverage;
    coverage.forget();
  }

  get reached(): number {
    return this.#coverage.size;
  }

  /** Asking costs much more than most inputs, so only a batch that reached something is looked into. */
  async saw(input: Buffer): Promise<void> {
    if (this.#batch.push(input) < BATCH && performance.now() < this.#asked + BATCH_MS) return;
    const batch = this.#batch;
    this.#batch = [];
    this.#asked = performance.now();
    if (!this.#coverage.isNew(false)) return;
    await this.#sift(batch);
  }

  async #sift(batch: readonly Buffer[]): Promise<void> {
    this.#coverage.isNew(false);
    await this.#runAll(batch);
    if (!this.#coverage.isNew(batch.length === 1)) return;
    if (batch.length === 1) {
      this.kept.push(...batch);
      if (this.kept.length > MAX_KEPT) this.kept.shift();
      return;
    }
    const half = batch.length >> 1;
    await this.#sift(batch.slice(0, half));
    await this.#sift(batch.slice(half));
  }

  async #runAll(batch: readonly Buffer[]): Promise<void> {
    for (const input of batch) {
      try {
        await this.#target.run(input);
      } catch {
        // A refusal reaches code, too; what may be thrown was checked before.
      }
    }
  }
}
