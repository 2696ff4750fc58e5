/** One thread of a {@link WorkerPool}: starts lazily, has at most one run, and settles that run however it ends. */
import { type ResourceLimits, Worker } from 'node:worker_threads';
import { abortedError, deserializeError, LarderError, serializeError } from '../errors.js';
import type { RunOptions } from './pool.js';
import type { FromWorker, Outcome, ToWorker } from './protocol.js';

/** What a cancelled run has to stop by itself. */
const ABORT_GRACE_MS = 2000;
/**
 * The same for a task that is new to its thread: it may be loading a native module, and a thread that is ended in the
 * midst of that takes the whole process along. A busy machine takes seconds for it.
 */
const LOADING_GRACE_MS = 60_000;

/** Called exactly once per run. */
export type Settle = (error: LarderError | undefined, value: unknown) => void;

export interface ThreadOptions {
  readonly entry: URL;
  readonly abortGraceMs?: number;
  readonly resourceLimits?: ResourceLimits;
}

export interface ThreadOwner {
  /** The thread is about to end for want of work: no run may be given to it any more. */
  retired(): void;
  /** The run is over and the thread can take another. */
  free(): void;
  /** The thread is no more; its run, if it had one, has been rejected. */
  gone(): void;
}

interface CurrentRun {
  readonly number: number;
  readonly task: string;
  readonly options: RunOptions;
  readonly settle: Settle;
  readonly onAbort: () => void;
  /** Resolves when the run is over; never rejects. */
  readonly left: Promise<void>;
  readonly leave: () => void;
  grace: NodeJS.Timeout | undefined;
}

export function workerLost(task: string, why: string, cause?: unknown): LarderError {
  return new LarderError('LARDER_WORKER_LOST', `worker: ${task}: ${why}`, cause === undefined ? {} : { cause });
}

export class PoolThread {
  readonly #options: ThreadOptions;
  readonly #owner: ThreadOwner;
  #worker: Worker;
  #run: CurrentRun | undefined;
  #runs = 0;
  /** Tasks that have ended here once: their code is loaded. */
  readonly #known = new Set<string>();
  #idleTimer: NodeJS.Timeout | undefined;
  /** Why the thread is about to exit, when that is known before it does. */
  #death: { why: string; cause?: unknown } | undefined;
  /** What fails from now on fails because of that. */
  #stopping = false;

  constructor(options: ThreadOptions, owner: ThreadOwner) {
    this.#options = options;
    this.#owner = owner;
    this.#worker = this.#spawn();
  }

  #spawn(): Worker {
    const limits = this.#options.resourceLimits;
    // What the host program was started with (loaders, --input-type, …) is not meant for our threads.
    const worker = new Worker(this.#options.entry, {
      execArgv: [],
      // Tasks open directories through system calls that Node does not see, and close all they open.
      trackUnmanagedFds: false,
      ...(limits === undefined ? {} : { resourceLimits: limits }),
    });
    worker.on('message', (message: FromWorker) => this.#receive(message));
    worker.on('error', (cause) => {
      this.#death ??= { why: cause.message, cause };
    });
    worker.on('messageerror', (cause) => void this.end(`a message could not be read: ${cause.message}`));
    worker.on('exit', (status) => this.#exited(status));
    return worker;
  }

  /** Only called while the thread has no run. */
  start(task: string, data: unknown, options: RunOptions, settle: Settle): void {
    clearTimeout(this.#idleTimer);
    const number = ++this.#runs;
    const onAbort = () => this.#abort();
    let leave = (): void => {};
    const left = new Promise<void>((resolve) => {
      leave = resolve;
    });
    this.#run = { number, task, options, settle, onAbort, left, leave, grace: undefined };
    this.#worker.ref();
    try {
      this.#worker.postMessage({ type: 'run', run: number, task, data } satisfies ToWorker, options.transfer);
      options.signal?.addEventListener('abort', onAbort, { once: true });
    } catch (cause) {
      const error = new LarderError('LARDER_INTERNAL', `worker: ${task}: its data cannot be sent to a thread`, {
        cause,
      });
      this.#settle({ ok: false, error: serializeError(error) });
    }
  }

  /** Without work from now on: does not keep the process alive, and is ended after a while. */
  rest(maxIdleMs: number): void {
    this.#worker.unref();
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      this.#owner.retired();
      void this.end('idle');
    }, maxIdleMs);
    this.#idleTimer.unref();
  }

  /** Ends the thread; resolves when it is gone and its run is rejected. */
  async end(why: string): Promise<void> {
    clearTimeout(this.#idleTimer);
    this.#death ??= { why };
    await this.#worker.terminate();
  }

  /**
   * The same, after its run had the grace to stop by itself: a thread that is ended in the midst leaves its files open,
   * and one that is ended while it loads a native module takes the whole process along.
   */
  async stop(why: string): Promise<void> {
    this.#death ??= { why };
    this.#stopping = true;
    const run = this.#run;
    if (run !== undefined) {
      this.#cancel(run, workerLost(run.task, why));
      await run.left;
    }
    await this.end(why);
  }

  #receive(message: FromWorker): void {
    const run = this.#run;
    if (run === undefined || message.run !== run.number) return;
    if (message.type === 'settled') this.#settle(message.outcome);
    else if (message.type === 'message') run.options.onMessage?.(message.message);
    else void this.#answer(run, message.ask, message.question);
  }

  async #answer(run: CurrentRun, ask: number, question: unknown): Promise<void> {
    let outcome: Outcome;
    try {
      if (run.options.onAsk === undefined)
        throw new LarderError('LARDER_INTERNAL', `worker: ${run.task}: nobody answers`);
      outcome = { ok: true, value: await run.options.onAsk(question) };
    } catch (error) {
      outcome = { ok: false, error: serializeError(error) };
    }
    if (this.#run !== run) return;
    try {
      this.#post({ type: 'answer', run: run.number, ask, outcome });
    } catch (error) {
      this.#post({ type: 'answer', run: run.number, ask, outcome: { ok: false, error: serializeError(error) } });
    }
  }

  #abort(): void {
    const run = this.#run;
    if (run !== undefined) this.#cancel(run, abortedError(run.task, run.options.signal));
  }

  #cancel(run: CurrentRun, reason: LarderError): void {
    if (run.grace !== undefined) return;
    this.#post({ type: 'abort', run: run.number, reason: serializeError(reason) });
    run.grace = setTimeout(() => void this.end('did not stop when it was cancelled'), this.#graceMs(run));
  }

  #graceMs({ task }: CurrentRun): number {
    return this.#options.abortGraceMs ?? (this.#known.has(task) ? ABORT_GRACE_MS : LOADING_GRACE_MS);
  }

  #settle(outcome: Outcome): void {
    const run = this.#run;
    if (run === undefined) return;
    this.#known.add(run.task);
    this.#leave(run);
    if (outcome.ok) run.settle(undefined, outcome.value);
    else if (this.#stopping) run.settle(this.#lost(run), undefined);
    else run.settle(deserializeError(outcome.error), undefined);
    if (this.#death === undefined) this.#owner.free();
  }

  #exited(status: number): void {
    clearTimeout(this.#idleTimer);
    const run = this.#run;
    this.#owner.gone();
    if (run === undefined) return;
    this.#leave(run);
    const { signal } = run.options;
    this.#death ??= { why: `its thread exited with status ${status}` };
    run.settle(signal?.aborted === true ? abortedError(run.task, signal) : this.#lost(run), undefined);
  }

  #lost({ task }: CurrentRun): LarderError {
    return workerLost(task, this.#death?.why ?? 'its thread is gone', this.#death?.cause);
  }

  #leave(run: CurrentRun): void {
    this.#run = undefined;
    clearTimeout(run.grace);
    run.options.signal?.removeEventListener('abort', run.onAbort);
    run.leave();
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }
}
