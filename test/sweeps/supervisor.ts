/**
 * Thread of a tracer: decides upon the calls of one traced process after the other, counts those of all its threads
 * together, and lets it die at the point that it asked for, or that call fail.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readlinkSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { answer, type Notification, nextCall, planOf, takeListener } from './seccomp.js';
import { counts, type Plan, TO_TRACER, TRACED, type TracedCall } from './system-calls.js';

export interface Traced {
  readonly pid: number;
  readonly listener: number;
  readonly states?: States;
}

/** Where the store is copied to in front of which calls, each into a directory of the call's number. */
export interface States {
  readonly root: string;
  readonly directory: string;
  readonly at: readonly number[];
}

/** What was done since it was armed; one when it was disarmed, one when the process is gone. */
export interface Trace {
  readonly ended: boolean;
  readonly count: number;
  /** The call that was hit first. */
  readonly hit?: string;
  readonly kept: ReadonlyMap<number, string>;
}

parentPort?.on('message', ({ pid, listener, states }: Traced) => {
  const own = takeListener(pid, listener);
  try {
    supervise(pid, own, states);
  } finally {
    closeSync(own);
  }
});

function supervise(pid: number, listener: number, states: States | undefined): void {
  const toKeep = new Set(states?.at);
  const kept = new Map<number, string>();
  let plan: Plan | undefined;
  let count = 0;
  let hit: string | undefined;
  for (;;) {
    const call = nextCall(listener);
    if (call === undefined) {
      tell({ ended: true, count, kept, ...(hit === undefined ? {} : { hit }) });
      return;
    }
    if (call.number === TO_TRACER) {
      const [what] = call.args;
      if (what === 1n) {
        plan = planOf(call.args);
        count = 0;
        hit = undefined;
      } else if (what === 2n) {
        plan = undefined;
        tell({ ended: false, count, kept, ...(hit === undefined ? {} : { hit }) });
      }
      answer(listener, call, count);
      continue;
    }
    const traced = TRACED.get(call.number);
    if (plan === undefined || traced === undefined || !isPoint(pid, call, traced, plan)) {
      answer(listener, call, 'proceed');
      continue;
    }
    count++;
    if (states !== undefined && toKeep.has(count)) {
      keep(states, count);
      kept.set(count, describe(pid, call, traced));
    }
    const reached = plan.at > 0 && (count === plan.at || (plan.lasting === true && count > plan.at));
    if (!reached) answer(listener, call, 'proceed');
    else {
      hit ??= describe(pid, call, traced);
      // The call is not answered: the thread dies in front of it.
      if (plan.errno === undefined) process.kill(pid, 'SIGKILL');
      else answer(listener, call, -plan.errno);
    }
  }
}

/**
 * All changes wait for their turn here, but for those that another thread has just been let do: while one of these goes on, a
 * copy may fail, and is made once more. Before the store is made there is none.
 */
function keep({ root, directory }: States, count: number): void {
  const state = join(directory, String(count));
  for (let attempt = 1; existsSync(root); attempt++) {
    const { status, stderr } = spawnSync('cp', ['-a', '--one-file-system', root, state], { encoding: 'utf8' });
    if (status === 0) return;
    if (attempt === COPIES) throw new Error(`copy the store in front of call ${count}: ${stderr}`);
    rmSync(state, { recursive: true, force: true });
  }
}

const COPIES = 3;

function tell(trace: Trace): void {
  parentPort?.postMessage(trace);
}

const MODULE = /\/(?:node_modules|dist)\/|\.so(?:\.\d+)*$/;

function isPoint(pid: number, call: Notification, traced: TracedCall, plan: Plan): boolean {
  if (!counts(traced, call.args, plan.counts)) return false;
  // Node remembers for good that a module could not be read.
  if (traced.opens && MODULE.test(pathOf(pid, call, traced))) return false;
  // A full disk opens what is there.
  if (plan.counts === 'space' && traced.flags !== undefined && existsSync(pathOf(pid, call, traced))) return false;
  // Sockets, pipes and devices are nothing that a store keeps.
  return traced.fd === undefined || /^\/(?!dev\/|proc\/)/.test(fileOf(pid, call, traced.fd));
}

function fileOf(pid: number, { args }: Notification, fd: number): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${Number(args[fd])}`);
  } catch {
    return '';
  }
}

function describe(pid: number, call: Notification, traced: TracedCall): string {
  const about = traced.fd !== undefined ? fileOf(pid, call, traced.fd) : pathOf(pid, call, traced);
  return `${traced.name} ${about}`.trim();
}

/** Absolute, also where the call names it below a descriptor, which is the argument before it. */
function pathOf(pid: number, call: Notification, { name, path: argument }: TracedCall): string {
  if (argument === undefined) return '';
  const path = textAt(pid, call.args[argument]);
  if (path === '' || path.startsWith('/') || !/at2?$/.test(name)) return path;
  const directory = fileOf(pid, call, argument - 1);
  return directory === '' ? path : `${directory}/${path}`;
}

function textAt(pid: number, address: bigint | undefined): string {
  if (address === undefined || address === 0n) return '';
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    const bytes = Buffer.alloc(256);
    const read = readSync(memory, bytes, 0, bytes.length, address);
    const end = bytes.indexOf(0);
    return bytes.toString('utf8', 0, end < 0 ? read : end);
  } catch {
    // A page that is not there: the name is only for people.
    return '';
  } finally {
    closeSync(memory);
  }
}
