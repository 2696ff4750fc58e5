import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Usage {
  /** Processor time in ms of all processes of the group, those that have ended too. */
  readonly userMs: number;
  readonly systemMs: number;
  /** The most that the group's processes had resident together, every 20 ms looked at: what `ps` calls RSS. */
  readonly peakBytes: number;
}

/** Debian's programs before anything that was installed beside them. */
export const PATH = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin'].join(':');
const ENTER = 'echo $$ > "$0" && exec "$@"';

/**
 * All processes of one tool, daemons and what they start included, in a control group of their own (version 2, which
 * counts processor time without any controller). So the figures of a daemon and of a program that ends are of one kind.
 */
export class ProcessGroup {
  readonly #path: string;

  constructor(name: string) {
    this.#path = join(ownGroup(), `larder-bench-${process.pid}-${name}`);
  }

  create(): void {
    mkdirSync(this.#path, { recursive: true });
    process.once('exit', () => this.#end());
  }

  /** The group goes when its last process has; answers whether it did. */
  async remove(): Promise<boolean> {
    for (let tries = 0; tries < 100 && existsSync(this.#path); tries++) {
      if (!this.#tryRemove()) await sleep(50);
    }
    return !existsSync(this.#path);
  }

  /** Nothing of it outlives the benchmark, however that ends. */
  #end(): void {
    if (existsSync(this.#path)) for (const pid of this.#pids()) process.kill(Number(pid), 'SIGKILL');
    const clock = new Int32Array(new SharedArrayBuffer(4));
    for (let tries = 0; tries < 50 && existsSync(this.#path); tries++) {
      if (!this.#tryRemove()) Atomics.wait(clock, 0, 0, 20);
    }
  }

  /** As long as a process is in it the kernel refuses. */
  #tryRemove(): boolean {
    try {
      rmdirSync(this.#path);
      return true;
    } catch {
      return false;
    }
  }

  spawn(program: string, args: readonly string[], stdio: StdioOptions, env: Readonly<Record<string, string>> = {}) {
    const procs = join(this.#path, 'cgroup.procs');
    return spawn('/bin/sh', ['-c', ENTER, procs, program, ...args], { stdio, env: { ...ENVIRONMENT, ...env } });
  }

  /** Runs to the end; answers standard output. A failure carries what the program said. */
  async call(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const child = this.spawn(program, args, ['ignore', 'pipe', 'pipe'], env);
    const [out, error] = [textOf(child.stdout), textOf(child.stderr)];
    const status = await ended(child);
    const said = await error;
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${status}: ${said.trim().slice(-2000)}`);
    return (await out).trim();
  }

  /** What the group uses while `work` runs. */
  async watch(work: () => void | Promise<void>): Promise<Usage> {
    for (const pid of this.#pids()) resetPeak(pid);
    const before = this.#cpu();
    let peakBytes = 0;
    const look = () => {
      peakBytes = Math.max(peakBytes, sum(this.#pids().map(residentBytes)));
    };
    const timer = setInterval(look, 20);
    try {
      await work();
    } finally {
      clearInterval(timer);
    }
    const after = this.#cpu();
    // Daemons that are still there remember a peak between two looks themselves.
    const remembered = sum(this.#pids().map(peakOf));
    return {
      userMs: after.userMs - before.userMs,
      systemMs: after.systemMs - before.systemMs,
      peakBytes: Math.max(peakBytes, remembered),
    };
  }

  #pids(): string[] {
    return readFileSync(join(this.#path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean);
  }

  #cpu(): { userMs: number; systemMs: number } {
    const stat = readFileSync(join(this.#path, 'cpu.stat'), 'utf8');
    const ms = (key: string) => Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(stat)?.[1] ?? Number.NaN) / 1000;
    return { userMs: ms('user_usec'), systemMs: ms('system_usec') };
  }
}

/** No proxies, no settings of the caller's. */
const ENVIRONMENT = { PATH, HOME: process.env['HOME'] ?? '/root', LANG: 'C.UTF-8' };

/** To be called before the process can have ended. */
export function ended(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
}

async function textOf(stream: NodeJS.ReadableStream | null): Promise<string> {
  let text = '';
  if (stream !== null) for await (const chunk of stream) text += chunk;
  return text;
}

/** The control group of this process in the version 2 hierarchy, which is mounted somewhere else on hybrid systems. */
function ownGroup(): string {
  const mount = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((line) => line.includes(' - cgroup2 '))
    ?.split(' ')[4];
  if (mount === undefined) throw new Error('bench: no cgroup2 file system is mounted');
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
  const path = join(mount, own);
  return !own.startsWith('/..') && existsSync(path) ? path : mount;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** A process may end between two looks: it has nothing then. */
function readOf(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

function residentBytes(pid: string): number {
  return Number(readOf(pid, 'statm').split(' ')[1] ?? 0) * 4096;
}

function peakOf(pid: string): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readOf(pid, 'status'))?.[1] ?? 0) * 1024;
}

function resetPeak(pid: string): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // It has just ended.
  }
}
