/** The state of the machine that a figure depends on, and how to reset it. Linux, root. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly fileSystem: string;
}

export function describeMachine(directory: string): Machine {
  return {
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    fileSystem: execFileSync('stat', ['-f', '-c', '%T', directory], { encoding: 'utf8' }).trim(),
  };
}

/** Writes everything back and forgets every clean page, directory entry and inode. */
export function dropCaches(): void {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/** How long the rest of the writing takes that a program left to the kernel, in ms. */
export function timeSync(): Promise<number> {
  return timed(() => {
    execFileSync('sync');
  });
}

/** Wall time in ms. */
export async function timed(work: () => void | Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Waits until others leave the processors alone, at most for a while; answers the load then. */
export async function waitUntilQuiet(atMostMs = 15_000): Promise<number> {
  for (const start = performance.now(); performance.now() - start < atMostMs; ) {
    const before = busyTicks();
    await sleep(1000);
    if (busyTicks() - before < 10 * cpus().length) break;
  }
  return loadavg()[0] ?? 0;
}

/** Unmounts everything below a directory and removes it. */
export function wipe(directory: string): void {
  for (const mount of mountsBelow(directory).reverse()) execFileSync('umount', ['-l', mount]);
  if (mountsBelow(directory).length > 0)
    throw new Error(`${directory}: something is still mounted, nothing is removed`);
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
}

function mountsBelow(directory: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path === directory || path.startsWith(`${directory}/`));
}

/** 1/100 s of all processors that were not idle. */
function busyTicks(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (
    readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? ''
  )
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return user + nice + system + irq + softirq;
}
