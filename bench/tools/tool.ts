/** One program that turns a reference into a root filesystem, with a store of its own, driven as its users do. */
import { execFileSync, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Tool {
  readonly name: string;
  /** Files and directories that it loads; they are read before the clock runs. */
  paths(): readonly string[];
  /** What it says of its version, in one line. */
  version(): Promise<string>;
  /** Starts what must run, over an empty store. */
  start(): Promise<void>;
  /** Stops it; the store may be deleted then. */
  stop(): Promise<void>;
  /** Something cheap: its first start is over before the clock runs. */
  touch(): Promise<void>;
  /** The image into the store, or a look whether it has changed. */
  pull(reference: string): Promise<void>;
  /** From nothing to a writable root filesystem `id`. */
  pullAndProvision(reference: string, id: string): Promise<void>;
  /** The same with the image already there. */
  provision(reference: string, id: string): Promise<void>;
  /** Looks, outside of the clock, whether `id` really is a root filesystem; answers its entries. */
  entries(id: string): Promise<readonly string[]>;
  /** Gives back one root filesystem. */
  destroy(id: string): Promise<void>;
  /** Removes the image and everything that only it needed. */
  remove(reference: string): Promise<void>;
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

export function hasPrograms(...programs: readonly string[]): boolean {
  try {
    for (const program of programs) execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Waits for a daemon's first answer. */
export async function untilUp(name: string, ask: () => Promise<unknown>, log: string): Promise<void> {
  let last: unknown;
  for (let tries = 0; tries < 200; tries++) {
    try {
      await ask();
      return;
    } catch (error) {
      last = error;
      await sleep(50);
    }
  }
  throw new Error(`${name}: did not start, see ${log}`, { cause: last });
}
