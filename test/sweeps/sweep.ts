/**
 * One operation on one store, killed in front of every call that changes something, or with such calls failing; and
 * afterwards the store is looked at.
 */
import { constants } from 'node:os';
import { aftermathOf } from './aftermath.js';
import { OPERATIONS, type Operation } from './operations.js';
import type { Counted, Plan } from './system-calls.js';
import type { Outcome, TracedProcess, Tracer } from './tracer.js';
import type { World } from './world.js';

export interface SweepOptions {
  readonly world: World;
  readonly tracer: Tracer;
  readonly operation: string;
  /** Which points; default all. */
  readonly choose?: (points: number) => readonly number[];
  readonly onViolation?: (text: string) => void;
}

export interface SweepResult {
  /** Calls of one run that is left alone. */
  readonly points: number;
  readonly swept: number;
  /** Of them, those that this run ended before. */
  readonly missed: number;
  readonly violations: readonly string[];
  readonly recoverMs: readonly number[];
}

export interface Fault {
  readonly errno: keyof typeof constants.errno;
  readonly counts: Counted;
  readonly lasting: boolean;
  /** What the caller may see. Success is right, too, where the failed call was not needed. */
  readonly codes: readonly string[];
}

const NO_SPACE = ['LARDER_NO_SPACE'];
const READ_ONLY = ['LARDER_PERMISSION'];
/** Errors of the system without a code of their own. */
const OTHER = ['LARDER_INTERNAL'];

export const FAULTS: readonly Fault[] = [
  { errno: 'ENOSPC', counts: 'space', lasting: false, codes: NO_SPACE },
  { errno: 'ENOSPC', counts: 'space', lasting: true, codes: NO_SPACE },
  { errno: 'EDQUOT', counts: 'space', lasting: true, codes: NO_SPACE },
  { errno: 'EROFS', counts: 'changes', lasting: true, codes: READ_ONLY },
  { errno: 'EIO', counts: 'changes', lasting: false, codes: OTHER },
  { errno: 'EMFILE', counts: 'opens', lasting: false, codes: OTHER },
  { errno: 'EMFILE', counts: 'opens', lasting: true, codes: OTHER },
];

/** The operation before the one that is swept, and where it was killed. */
export interface KilledBefore {
  readonly operation: string;
  /** Part of its points, 0 to 1. */
  readonly at: number;
}

/** Every point has a process of its own. */
export async function killSweep(options: SweepOptions, before?: KilledBefore): Promise<SweepResult> {
  const sweep = new Sweep(options);
  const earlier = before === undefined ? undefined : new Sweep({ ...options, operation: before.operation });
  const killedAt = earlier === undefined ? 0 : Math.ceil((await earlier.count('changes')) * (before?.at ?? 1));
  const reset = async (): Promise<void> => {
    if (earlier === undefined) return sweep.reset();
    earlier.reset();
    await earlier.alone({ at: killedAt, counts: 'changes' });
  };
  await reset();
  const points = (await sweep.alone({ at: 0, counts: 'changes' })).result?.points ?? 0;
  for (const at of sweep.chosen(points)) {
    await reset();
    const outcome = await sweep.alone({ at, counts: 'changes' });
    const where = `kill ${sweep.name} at ${at} of ${points} (${outcome.hit ?? 'not reached'})`;
    if (outcome.hit === undefined) sweep.missed++;
    if (outcome.status !== 'SIGKILL' && outcome.status !== 0)
      sweep.violation(where, `ended otherwise: ${outcome.stderr}`);
    await sweep.lookAfter(where);
  }
  return sweep.result(points);
}

/** One process lives through all of them. */
export async function errorSweep(options: SweepOptions, fault: Fault): Promise<SweepResult> {
  const sweep = new Sweep(options);
  const { counts, lasting } = fault;
  const points = await sweep.count(counts);
  let process_: TracedProcess | undefined;
  for (const at of sweep.chosen(points)) {
    process_ ??= options.tracer.start();
    sweep.reset();
    const plan = { at, errno: constants.errno[fault.errno], lasting, counts };
    const { result, hit, status, stderr } = await sweep.in(process_, plan, true);
    const how = `${lasting ? 'from' : 'at'} ${at} of ${points} (${hit ?? 'not reached'})`;
    const where = `${fault.errno} in ${sweep.name} ${how}`;
    if (hit === undefined) sweep.missed++;
    if (result === undefined) {
      sweep.violation(where, `the process ended: ${status}: ${stderr}`);
      process_ = undefined;
    } else {
      const { failure, againFailure } = result;
      if (failure !== undefined && !isExpected(failure.code, hit, fault))
        sweep.violation(where, `${failure.code}: ${failure.message}`);
      if (againFailure !== undefined) sweep.violation(where, `then without a fault: ${againFailure.message}`);
      for (const path of result.open) sweep.violation(where, `${path} is left open`);
    }
    await sweep.lookAfter(where);
  }
  await process_?.end();
  return sweep.result(points);
}

/** What a mount or a backend that is tried out is refused for is told as such, whatever the number of the error. */
function isExpected(code: string, hit: string | undefined, { codes, lasting }: Fault): boolean {
  if (codes.includes(code) || code === 'reported') return true;
  // A full disk shows when this file grows, which is all that SQLite says.
  if (code === 'LARDER_NO_SPACE' && /larder\.db-shm/.test(hit ?? '')) return true;
  // SQLite tells nobody what the system's error was; where it lasts, it is found out.
  if (code === 'LARDER_INTERNAL' && !lasting && /larder\.db/.test(hit ?? '')) return true;
  return code === 'LARDER_BACKEND_UNAVAILABLE' && /^(?:mount|fs|move_mount|open_tree|umount)|\/probe-/.test(hit ?? '');
}

class Sweep {
  readonly #options: SweepOptions;
  readonly #operation: Operation;
  readonly #violations: string[] = [];
  readonly #recoverMs: number[] = [];
  missed = 0;

  constructor(options: SweepOptions) {
    const operation = OPERATIONS[options.operation];
    if (operation === undefined) throw new Error(`${options.operation}: there is no such operation`);
    this.#options = options;
    this.#operation = operation;
  }

  get name(): string {
    return `${this.#options.world.type} ${this.#options.operation}`;
  }

  reset(): void {
    this.#options.world.reset(this.#operation.from);
  }

  chosen(points: number): readonly number[] {
    const all = Array.from({ length: points }, (_, i) => i + 1);
    return this.#options.choose?.(points) ?? all;
  }

  /** The calls of one run that is left alone, after which nothing may be wrong either. */
  async count(counts: Counted): Promise<number> {
    this.reset();
    const { result, stderr } = await this.alone({ at: 0, counts });
    const failure = result?.failure ?? result?.againFailure;
    if (result === undefined || failure !== undefined) {
      throw new Error(`${this.name} does not work: ${failure?.message ?? stderr}`);
    }
    return result.points;
  }

  /** In a process of its own. */
  async alone(plan: Plan): Promise<Outcome> {
    const process_ = this.#options.tracer.start();
    const outcome = await this.in(process_, plan, false);
    if (outcome.result === undefined) return outcome;
    return { ...(await process_.end()), ...outcome };
  }

  in(process_: TracedProcess, plan: Plan, again: boolean): Promise<Outcome> {
    const { world, operation } = this.#options;
    return process_.run({ root: world.root, names: world.names, operation, plan, again });
  }

  async lookAfter(where: string): Promise<void> {
    const { violations, recoverMs } = await aftermathOf(this.#options.world, this.#operation);
    this.#recoverMs.push(recoverMs);
    for (const violation of violations) this.violation(where, violation);
  }

  violation(where: string, what: string): void {
    const text = `${where}: ${what}`;
    this.#violations.push(text);
    this.#options.onViolation?.(text);
  }

  result(points: number): SweepResult {
    const { missed } = this;
    return { points, swept: this.#recoverMs.length, missed, violations: this.#violations, recoverMs: this.#recoverMs };
  }
}
