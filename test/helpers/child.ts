/** Programs in processes of their own, with all that they said. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { openToOthers } from './open-checkout.js';

export interface Ended {
  /** The exit status, or the signal. */
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Child {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
  kill(signal?: NodeJS.Signals): void;
}

export interface ChildOptions extends Pick<SpawnOptions, 'cwd' | 'env' | 'uid' | 'gid' | 'timeout'> {
  /** What the program reads; nothing when it is left out. */
  readonly input?: string;
}

/** After so long a program hangs. */
const LIMIT_MS = 120_000;

export function startNode(script: string, args: readonly string[], options: ChildOptions = {}): Child {
  return start(process.execPath, [options.uid === undefined ? script : openToOthers(script), ...args], options);
}

export function start(program: string, args: readonly string[], { input, ...options }: ChildOptions = {}): Child {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: LIMIT_MS, ...options });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      said[name] += text;
    });
  }
  // A program may end before it has read all.
  child.stdin?.on('error', () => {});
  child.stdin?.end(input ?? '');
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ status: code ?? signal ?? 'unknown', ...said }));
  });
  return { process: child, ended, kill: (signal = 'SIGKILL') => void child.kill(signal) };
}

/** Waits until the condition holds, or fails with what the program said when it ends before. */
export async function whileRuns({ process, ended }: Child, condition: () => boolean): Promise<void> {
  while (!condition()) {
    if (process.exitCode !== null || process.signalCode !== null) {
      const { status, stderr } = await ended;
      throw new Error(`ended too early: ${status}\n${stderr}`);
    }
    await sleep(10);
  }
}
