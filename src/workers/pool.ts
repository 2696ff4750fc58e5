/**
 * ▸ A small pool of worker threads. It knows no task: the entry module of its threads does (see `serve`).
 *
 * Owns nothing on disk. Guarantees to every caller: {@link WorkerPool.run} settles, whatever happens to the thread,
 * and when it has settled no code of that run goes on anywhere. A thread that dies rejects the run it had with
 * LARDER_WORKER_LOST and is replaced when it is needed next; an aborted run that does not react within a grace is
 * ended with its thread. Threads start when there is work, are given up after some idleness, and never keep the
 * process alive while they have nothing to do.
 */
import type { ResourceLimits, TransferListItem } from 'node:worker_threads';
import { abortedError } from '../errors.js';
import { PoolThread, type Settle, workerLost } from './thread.js';

export interface WorkerPoolOptions {
  /** The module that each thread starts with; it calls `serve`. */
  readonly entry: URL;
  /** At most this many threads. */
  readonly size: number;
  /** A thread without work for this long is ended. Default 10,000. */
  readonly maxIdleMs?: number;
  /**
   * How long an aborted run may take to settle before its thread is ended. Default 2,000, and 60,000 for a task that is
   * new to its thread.
   */
  readonly abortGraceMs?: number;
  readonly resourceLimits?: ResourceLimits;
}

export interface RunOptions {
  readonly signal?: AbortSignal;
  /** What the task sends while it runs. */
  readonly onMessage?: (message: unknown) => void;
  /** Answers what the task asks; a rejection reaches the task. Without it every question is refused. */
  readonly onAsk?: (question: unknown) => Promise<unknown>;
  /** Moved instead of copied to the thread. */
  readonly transfer?: readonly TransferListItem[];
}

interface Job {
  readonly task: string;
  readonly data: unknown;
  readonly options: RunOptions;
  readonly settle: Settle;
}

export class WorkerPool implements AsyncDisposable {
  readonly #options: WorkerPoolOptions;
  readonly #threads = new Set<PoolThread>();
  readonly #idle: PoolThread[] = [];
  readonly #queue: Job[] = [];
  #closed = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  /** The greatest number of runs that go on at once. */
  get size(): number {
    return this.#options.size;
  }

  /**
   * Runs a task in a thread, or queues it until one is free. `R` is what the task is known to answer; both ends of a
   * pool are built from the same source. Rejects with the task's own error, LARDER_ABORTED or LARDER_WORKER_LOST.
   */
  run<R>(task: string, data: unknown, options: RunOptions = {}): Promise<R> {
    if (this.#closed) return Promise.reject(workerLost(task, 'the pool is closed'));
    if (options.signal?.aborted === true) return Promise.reject(abortedError(task, options.signal));
    return new Promise<R>((resolve, reject) => {
      const onAbort = () => this.#dequeue(job);
      const job: Job = {
        task,
        data,
        options,
        settle: (error, value) => {
          options.signal?.removeEventListener('abort', onAbort);
          if (error === undefined) resolve(value as R);
          else reject(error);
        },
      };
      options.signal?.addEventListener('abort', onAbort, { once: true });
      this.#queue.push(job);
      this.#dispatch();
    });
  }

  /**
   * Starts threads until there are `count`, so that work that is about to come does not wait for them. Each new one
   * runs `prepare` first, which loads code. Whether that worked shows in the runs that follow.
   */
  warm(count: number, prepare?: string): void {
    if (this.#closed) return;
    for (let have = this.#threads.size; have < Math.min(count, this.#options.size); have++) {
      const thread = this.#spawn();
      if (prepare === undefined) this.#release(thread);
      else thread.start(prepare, undefined, {}, () => {});
    }
  }

  /** Ends all threads, those at work after the abort grace at the latest; what still runs or waits rejects with LARDER_WORKER_LOST. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const job of this.#queue.splice(0)) job.settle(workerLost(job.task, 'the pool was closed'), undefined);
    await Promise.all([...this.#threads].map((thread) => thread.stop('the pool was closed')));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #dequeue(job: Job): void {
    const place = this.#queue.indexOf(job);
    if (place < 0) return;
    this.#queue.splice(place, 1);
    job.settle(abortedError(job.task, job.options.signal), undefined);
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const thread = this.#idle.pop() ?? (this.#threads.size < this.#options.size ? this.#spawn() : undefined);
      const job = thread === undefined ? undefined : this.#queue.shift();
      if (thread === undefined || job === undefined) return;
      thread.start(job.task, job.data, job.options, job.settle);
    }
  }

  #spawn(): PoolThread {
    const thread = new PoolThread(this.#options, {
      free: () => this.#release(thread),
      retired: () => this.#retire(thread),
      gone: () => this.#forget(thread),
    });
    this.#threads.add(thread);
    return thread;
  }

  #release(thread: PoolThread): void {
    this.#idle.push(thread);
    thread.rest(this.#options.maxIdleMs ?? 10_000);
    this.#dispatch();
  }

  #retire(thread: PoolThread): void {
    const place = this.#idle.indexOf(thread);
    if (place >= 0) this.#idle.splice(place, 1);
  }

  #forget(thread: PoolThread): void {
    this.#threads.delete(thread);
    this.#retire(thread);
    this.#dispatch();
  }
}
