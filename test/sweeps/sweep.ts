/**
 * One operation on one store, killed in front of every call that changes something, or with such calls failing; and
 * afterwards the store is looked at.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { type AftermathOptions, aftermathOf } from './aftermath.js';
import { OPERATIONS, type Operation } from './operations.js';
import { openBelow } from './own-files.js';
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
  /** The first thing that is wrong is enough. */
  readonly untilWrong?: boolean;
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
/** A thread that cannot read its program. */
const NO_DESCRIPTOR = [...OTHER, 'LARDER_WORKER_LOST'];

export const FAULTS: readonly Fault[] = [
  { errno: 'ENOSPC', counts: 'space', lasting: false, codes: NO_SPACE },
  { errno: 'ENOSPC', counts: 'space', lasting: true, codes: NO_SPACE },
  { errno: 'EDQUOT', counts: 'space', lasting: true, codes: NO_SPACE },
  { errno: 'EROFS', counts: 'changes', lasting: true, codes: READ_ONLY },
  { errno: 'EIO', counts: 'changes', lasting: false, codes: OTHER },
  { errno: 'EMFILE', counts: 'opens', lasting: false, codes: NO_DESCRIPTOR },
  { errno: 'EMFILE', counts: 'opens', lasting: true, codes: NO_DESCRIPTOR },
];

/** The operation before the one that is swept, and where it was killed. */
export interface KilledBefore {
  readonly operation: string;
  /** Part of its points, 0 to 1. */
  readonly at: number;
}

/**
 * Where mounts are a part of it, and else at every tenth point, a process of its own is killed. At the other points a
 * process is held in front of the call, the store is copied, and the copy is what a kill would have left.
 */
export async function killSweep(options: SweepOptions, before?: KilledBefore): Promise<SweepResult> {
  const sweep = new Sweep(options);
  const earlier = before === undefined ? undefined : new Sweep({ ...options, operation: before.operation });
  const mounts = sweep.mounts && earlier?.mounts !== false;
  const killedAt = earlier === undefined ? 0 : Math.ceil((await earlier.count('changes')) * (before?.at ?? 1));
  const reset = async (): Promise<void> => {
    if (earlier === undefined) return sweep.reset();
    earlier.reset();
    await earlier.alone({ at: killedAt, counts: 'changes' });
  };
  await reset();
  const points = (await sweep.alone({ at: 0, counts: 'changes' })).result?.points ?? 0;
  const chosen = sweep.chosen(points);
  const held = chosen.filter((at) => !mounts && chosen.length > FEW && at % KILLED_EVERY !== 0);
  if (held.length > 0) await reset();
  const { kept } = held.length > 0 ? await sweep.keepStates(held) : { kept: new Map<number, string>() };
  for (const at of chosen) {
    if (sweep.isDone) break;
    const state = kept.get(at);
    if (state !== undefined) {
      options.world.restore(at);
      await sweep.lookAfter(`kill ${sweep.name} at ${at} of ${points} (${state})`, KILLED);
      continue;
    }
    await reset();
    const outcome = await sweep.alone({ at, counts: 'changes' });
    const where = `kill ${sweep.name} at ${at} of ${points} (${outcome.hit ?? 'not reached'})`;
    if (outcome.hit === undefined) sweep.missed++;
    if (outcome.status !== 'SIGKILL' && outcome.status !== 0)
      sweep.violation(where, `ended otherwise: ${outcome.stderr}`);
    await sweep.lookAfter(where, KILLED);
  }
  return await sweep.result(points);
}

const KILLED = { again: true, killed: true } as const;
const KILLED_EVERY = 10;
/** So few are all killed. */
const FEW = 5;

/** Collecting garbage takes longer than the job. */
const THOROUGH_EVERY = 20;

/** One process lives through all of them. */
export async function errorSweep(options: SweepOptions, fault: Fault): Promise<SweepResult> {
  const sweep = new Sweep(options);
  const { counts, lasting } = fault;
  const points = await sweep.count(counts);
  let process_: TracedProcess | undefined;
  const chosen = sweep.chosen(points);
  for (const [i, at] of chosen.entries()) {
    if (sweep.isDone) break;
    process_ ??= options.tracer.start();
    sweep.reset();
    const plan = { at, errno: constants.errno[fault.errno], lasting, counts };
    const { result, hit, status, stderr } = await sweep.in(
      process_,
      plan,
      true,
      i % THOROUGH_EVERY === 0 || i === chosen.length - 1,
    );
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
      const { reopened } = result;
      // It was made, and only giving back its lock failed.
      const isThere = reopened?.code === 'LARDER_CONTAINER_EXISTS' && /^unlink.*\.lock$/.test(hit ?? '');
      if (reopened !== undefined && !lasting && !isThere && !/larder\.db/.test(hit ?? ''))
        sweep.violation(where, `without a fault only the store opened again works: ${reopened.message}`);
      if (againFailure !== undefined) sweep.violation(where, `then without a fault: ${againFailure.message}`);
      for (const path of result.open) sweep.violation(where, `${path} is left open`);
    }
    const again = result === undefined || result.againFailure !== undefined;
    // On a disk that takes no change nothing is removed, either.
    await sweep.lookAfter(where, { again, killed: lasting && counts === 'changes' });
  }
  await process_?.end();
  return await sweep.result(points);
}

/** What a mount or a backend that is tried out is refused for is told as such, whatever the number of the error. */
function isExpected(code: string, hit: string | undefined, { codes, lasting }: Fault): boolean {
  if (codes.includes(code) || code === 'reported') return true;
  // A full disk shows when this file grows, which is all that SQLite says.
  if (code === 'LARDER_NO_SPACE' && /larder\.db-shm/.test(hit ?? '')) return true;
  // SQLite tells nobody what the system's error was; where it lasts, it is found out.
  if (code === 'LARDER_INTERNAL' && !lasting && /larder\.db/.test(hit ?? '')) return true;
  // It opens for reading what it cannot open for writing, once.
  if (code === 'LARDER_PERMISSION' && !lasting && /^open.*larder\.db/.test(hit ?? '')) return true;
  return code === 'LARDER_BACKEND_UNAVAILABLE' && /^(?:mount|fs|move_mount|open_tree|umount)|\/probe-/.test(hit ?? '');
}

/** Seven sweeps of errors count the same calls. */
const COUNTED = new WeakMap<World, Map<string, number>>();

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
    const known = COUNTED.get(this.#options.world) ?? new Map<string, number>();
    COUNTED.set(this.#options.world, known);
    const key = `${this.name} ${counts}`;
    const points = known.get(key) ?? (await this.#count(counts));
    known.set(key, points);
    return points;
  }

  async #count(counts: Counted): Promise<number> {
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

  get isDone(): boolean {
    return this.#options.untilWrong === true && this.#violations.length > 0;
  }

  get mounts(): boolean {
    return this.#operation.mounts === true;
  }

  /** One process that lives, and copies of the store at those points. */
  async keepStates(at: readonly number[]): Promise<Outcome> {
    const { world, tracer } = this.#options;
    rmSync(world.states, { recursive: true, force: true });
    mkdirSync(world.states);
    const process_ = tracer.start({ root: world.root, directory: world.states, at });
    const outcome = await this.in(process_, { at: 0, counts: 'changes' }, false);
    await process_.end();
    return outcome;
  }

  in(process_: TracedProcess, plan: Plan, again: boolean, thorough = false): Promise<Outcome> {
    const { world, operation } = this.#options;
    return process_.run({ root: world.root, names: world.names, operation, plan, again, thorough });
  }

  async lookAfter(where: string, how: AftermathOptions): Promise<void> {
    const { violations, recoverMs } = await aftermathOf(this.#options.world, this.#operation, how);
    this.#recoverMs.push(recoverMs);
    for (const violation of violations) this.violation(where, violation);
  }

  violation(where: string, what: string): void {
    const text = `${where}: ${what}`;
    this.#violations.push(text);
    this.#options.onViolation?.(text);
  }

  /** Whoever looked has nothing open, either. */
  async result(points: number): Promise<SweepResult> {
    for (const path of await openBelow(this.#options.world.root, true))
      this.violation(this.name, `${path} is left open`);
    const { missed } = this;
    return { points, swept: this.#recoverMs.length, missed, violations: this.#violations, recoverMs: this.#recoverMs };
  }
}
