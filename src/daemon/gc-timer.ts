/**
 * Looks after the store's disk every so often, as Mesos's agent does (`image_gc_config`): the first time after one
 * interval, never twice at once. A failure is told and counted, and the next interval tries again.
 */
import { statfs } from 'node:fs/promises';
import { systemError } from '../errors.js';

export interface GcTimerParts {
  readonly intervalMs: number;
  /** What frees space, when that is due; answers the bytes that it freed, or undefined when nothing was due. */
  readonly collect: (signal: AbortSignal) => Promise<number | undefined>;
  readonly onRun: (result: 'collected' | 'skipped' | 'failed', bytes: number, error?: unknown) => void;
}

export class GcTimer {
  readonly #parts: GcTimerParts;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(parts: GcTimerParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#arm();
  }

  /** Resolves when a run that is under way has ended; it is told to. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#stop.abort();
    await this.#running;
  }

  /** The next interval begins when this run has ended, so runs never overlap. */
  #arm(): void {
    if (this.#stop.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#run().finally(() => this.#arm());
    }, this.#parts.intervalMs);
    this.#timer.unref();
  }

  async #run(): Promise<void> {
    const { collect, onRun } = this.#parts;
    try {
      const bytes = await collect(this.#stop.signal);
      onRun(bytes === undefined ? 'skipped' : 'collected', bytes ?? 0);
    } catch (error) {
      if (!this.#stop.signal.aborted) onRun('failed', 0, error);
    }
  }
}

export interface DiskUsage {
  readonly sizeBytes: number;
  readonly freeBytes: number;
  /** Share of all blocks that are in use, as Mesos counts: what is reserved for root is not in use. */
  readonly used: number;
}

export async function diskUsage(path: string): Promise<DiskUsage> {
  try {
    const { blocks, bfree, bsize } = await statfs(path);
    return { sizeBytes: blocks * bsize, freeBytes: bfree * bsize, used: blocks === 0 ? 0 : (blocks - bfree) / blocks };
  } catch (error) {
    throw systemError(`find how full the file system of ${path} is`, error);
  }
}
