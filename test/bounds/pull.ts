/** Pulls in a process of their own, whose peak of memory, writes and processor time are theirs alone. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Flags } from '../../src/config.js';

export interface Job {
  readonly root: string;
  readonly reference: string;
  readonly settings: Flags;
  /** Pull and provision. */
  readonly provision: boolean;
}

export interface Taken {
  /** `ok`, or the code of the refusal. */
  readonly outcome: string;
  readonly ms: number;
  /** User and system, of all threads. */
  readonly cpuMs: number;
  /** The most that was resident before the pull: Node with an open store. */
  readonly restBytes: number;
  /** The most that was resident at all (VmHWM). */
  readonly peakBytes: number;
  /** Passed to write(2) and its like, sockets included: no file can have got more. */
  readonly wroteBytes: number;
}

const HANGS_AFTER_MS = 3_600_000;
const PULLER = fileURLToPath(new URL('./puller.js', import.meta.url));

/** With `group`, in that control group. @throws Error when the process does not end as it should: killed, or crashed */
export async function pullApart(job: Job, group?: string): Promise<Taken> {
  const command = [process.execPath, PULLER, JSON.stringify(job)];
  const joining = group === undefined ? [] : ['/bin/sh', '-c', 'echo $$ > "$0" && exec "$@"', `${group}/cgroup.procs`];
  const [program = '', ...args] = [...joining, ...command];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], timeout: HANGS_AFTER_MS });
  const [said, [status, signal]] = await Promise.all([text(child.stdout), once(child, 'close')]);
  if (status !== 0) throw new Error(`the process that pulled ended with ${signal ?? `status ${status}`}`);
  return JSON.parse(said);
}
