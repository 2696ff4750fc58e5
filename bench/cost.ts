/** What a piece of work cost, and where a benchmark's figures go. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

export interface Cost {
  readonly ms: number;
  /** Processor time of this process and of those it waited for, user and system; 10 ms is the finest step. */
  readonly cpuMs: number;
}

export async function costOf(work: () => void | Promise<void>): Promise<Cost> {
  const cpu = cpuMs();
  const start = performance.now();
  await work();
  const ms = performance.now() - start;
  return { ms, cpuMs: cpuMs() - cpu };
}

/** Writes `<directory>/<bench>-<time>.json` and answers its path. */
export function saveJson(directory: string, bench: string, result: object): string {
  mkdirSync(directory, { recursive: true });
  const when = new Date().toISOString();
  const path = join(directory, `${bench}-${when.replace(/[:.]/g, '-')}.json`);
  writeFileSync(path, `${JSON.stringify({ when, ...result }, null, 1)}\n`);
  return path;
}

/** proc_pid_stat(5): fields 14 to 17 are utime, stime, cutime, cstime in ticks of 10 ms. */
function cpuMs(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
}
