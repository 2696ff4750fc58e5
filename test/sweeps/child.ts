/** Does one job after the other, each given as a line of JSON, and answers with a line each; all its calls are traced. */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { isLarderError, type Larder } from '../../src/index.js';
import { type Names, OPERATIONS, openSwept, Reported } from './operations.js';
import { openBelow } from './own-files.js';
import { arm, beTraced, disarm } from './seccomp.js';
import type { Plan } from './system-calls.js';

export interface Job {
  readonly root: string;
  readonly operation: string;
  readonly names: Names;
  readonly plan: Plan;
  /** What failed is tried again without a fault, with the same open store, and then with the store opened again. */
  readonly again: boolean;
  /** Garbage is collected before it is looked what is open. */
  readonly thorough: boolean;
}

export interface JobResult {
  /** How many calls counted. */
  readonly points: number;
  readonly failure?: Failure;
  /** Of the second try. */
  readonly againFailure?: Failure;
  /** Why it did not work with the store that was open. */
  readonly reopened?: Failure;
  /** What of the store is still open afterwards. */
  readonly open: readonly string[];
}

export interface Failure {
  /** `none`: the caller would not see a code. */
  readonly code: string;
  readonly message: string;
}

beTraced();
for await (const line of createInterface({ input: process.stdin })) {
  const result = await work(JSON.parse(line) as Job);
  writeSync(1, `${JSON.stringify(result)}\n`);
}

async function work(job: Job): Promise<JobResult> {
  const { root, names, plan } = job;
  const {
    from,
    opens = false,
    prepare,
    run,
    clear,
    after,
    settings,
  } = OPERATIONS[job.operation] ?? unknown(job.operation);
  let larder: Larder | undefined;
  if (!opens) {
    larder = await openSwept(root, names, settings);
    if (from !== 'damaged') await warm(larder, names);
    await prepare?.(larder, names);
  }
  arm(plan);
  let points = 0;
  const failure = await failureOf(async () => {
    larder ??= await openSwept(root, names, settings);
    await run(larder, names);
    // What is killed may also be killed while it closes.
    if (plan.errno === undefined) await larder.close();
  });
  points = disarm();
  let reopened: Failure | undefined;
  const again = async (): Promise<void> => {
    larder ??= await openSwept(root, names, settings);
    // What was half made cannot be taken back on a disk that stays full, or over a database that refuses: the caller does.
    if (plan.lasting === true || reopened !== undefined) await clear?.(larder);
    await run(larder, names);
  };
  const lookAfter = async (): Promise<void> => {
    larder ??= await openSwept(root, names, settings);
    await after?.(larder, names);
  };
  // Where the disk failed under the database, nothing is written any more before the store is opened again: also where what
  // failed was nothing that the operation had to wait for.
  const reopening = async (work: () => Promise<void>): Promise<Failure | undefined> => {
    const first = await failureOf(work);
    if (first === undefined || reopened !== undefined) return first;
    await larder?.close();
    larder = undefined;
    reopened = first;
    return failureOf(work);
  };
  const againFailure = job.again && failure !== undefined ? await reopening(again) : undefined;
  const later = job.again ? await reopening(lookAfter) : undefined;
  const closing = await failureOf(async () => larder?.close());
  const second = againFailure ?? later ?? closing;
  return {
    points,
    ...(failure === undefined ? {} : { failure }),
    ...(second === undefined ? {} : { againFailure: second }),
    ...(reopened === undefined ? {} : { reopened }),
    open: await openBelow(root, job.thorough),
  };
}

/** Which backend works is found out once; that is an operation of its own. */
async function warm(larder: Larder, { kept }: Names): Promise<void> {
  await larder.provision(kept, { id: 'warm' });
  await larder.destroy('warm');
}

async function failureOf(work_: () => Promise<unknown>): Promise<Failure | undefined> {
  try {
    await work_();
    return undefined;
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { code: isLarderError(error) ? error.code : error instanceof Reported ? 'reported' : 'none', message };
  }
}

function unknown(operation: string): never {
  throw new Error(`${operation}: there is no such operation`);
}
