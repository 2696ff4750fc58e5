/** One program that turns a reference into a root filesystem, with a store of its own, driven as its users do. */
import { execFileSync, spawnSync } from 'node:child_process';

export interface Tool {
  readonly name: string;
  /** What it says of its version. */
  version(): string;
  /** Starts what must run, over an empty store. */
  start(): Promise<void>;
  /** Stops it; the store may be deleted then. */
  stop(): Promise<void>;
  /** Something cheap, so that its programs are in memory before the clock runs. */
  touch(): void | Promise<void>;
  /** From nothing to a writable root filesystem `id`; answers its path. */
  pullAndProvision(reference: string, id: string): string | Promise<string>;
  /** The same with the image already there. */
  provision(reference: string, id: string): string | Promise<string>;
  /** Gives back one root filesystem. */
  destroy(id: string): void | Promise<void>;
  /** Removes the image and everything that only it needed. */
  remove(reference: string): void | Promise<void>;
}

/** Runs to the end; answers standard output. A failure carries what the program said. */
export function call(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const result = spawnSync(program, [...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
  });
  if (result.error !== undefined) throw result.error;
  if (result.status !== 0)
    throw new Error(`${program} ${args.join(' ')}: exit ${result.status}: ${result.stderr.slice(-2000)}`);
  return result.stdout.trim();
}

export function hasProgram(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
