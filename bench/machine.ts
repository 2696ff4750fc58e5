/** The state of the machine that a figure depends on, and how to reset it. Linux, root. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  /** Those that this process may use. */
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly fileSystem: string;
}

export function describeMachine(directory: string): Machine {
  return {
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    fileSystem: fileSystemOf(directory),
  };
}

/** `ext4 without a journal`, `ext4 on a loop device`, `xfs`, … */
function fileSystemOf(directory: string): string {
  const device = deviceOf(directory);
  const fields = mounts().find((mount) => mount.device === device);
  if (fields === undefined) return 'unknown';
  const { type, source } = fields;
  const journal = type === 'ext4' && !hasJournal(source) ? ' without a journal' : '';
  return `${type}${journal}${source.startsWith('/dev/loop') ? ' on a loop device' : ''}`;
}

/** An ext4's journal has a thread, which shows itself here. */
function hasJournal(source: string): boolean {
  const name = source.replace(/^\/dev\//, '');
  const journals = '/proc/fs/jbd2';
  return existsSync(journals) && readdirSync(journals).some((entry) => entry.startsWith(`${name}-`));
}

/** Bytes that were written to the disk under a directory since it was attached, by everybody. */
export function bytesWrittenTo(directory: string): number {
  const path = join('/sys/dev/block', deviceOf(directory), 'stat');
  if (!existsSync(path)) return Number.NaN;
  return Number(readFileSync(path, 'utf8').trim().split(/\s+/)[6]) * 512;
}

/** `major:minor`. */
function deviceOf(directory: string): string {
  const { dev } = statSync(directory);
  return `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
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
  return mounts()
    .map(({ path }) => path)
    .filter((path) => path === directory || path.startsWith(`${directory}/`));
}

interface Mount {
  readonly device: string;
  readonly path: string;
  readonly type: string;
  readonly source: string;
}

function mounts(): Mount[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => {
    const [left = '', right = ''] = line.split(' - ');
    const [, , device = '', , path = ''] = left.split(' ');
    const [type = '', source = ''] = right.split(' ');
    return { device, path, type, source };
  });
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
