/** A process whose system calls are traced, and that does jobs until it is killed or told to end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { on } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Job, JobResult } from './child.js';
import type { States, Trace } from './supervisor.js';

const SUPERVISOR = new URL('./supervisor.js', import.meta.url);
export const CHILD = fileURLToPath(new URL('./child.js', import.meta.url));

/** After so long a job hangs. */
const LIMIT_MS = 120_000;

/** How a job ended: with its own answer, or with the process. */
export interface Outcome {
  readonly result?: JobResult;
  /** The exit status, or the signal; undefined while the process lives. */
  readonly status?: number | string;
  /** The call that was hit first. */
  readonly hit?: string;
  /** The calls in front of which the store was kept. */
  readonly kept: ReadonlyMap<number, string>;
  readonly stderr: string;
}

/** The thread that decides upon calls; it serves one process after the other. */
export class Tracer implements AsyncDisposable {
  readonly #worker = new Worker(SUPERVISOR, { trackUnmanagedFds: false });
  readonly #child: string;

  constructor(child = CHILD) {
    this.#child = child;
  }

  /** `states`: what is kept of the store at which points. */
  start(states?: States): TracedProcess {
    // With one thread in Node's pool, calls come in an order of their own much less often.
    const env = { ...process.env, UV_THREADPOOL_SIZE: '1' };
    return new TracedProcess(spawn(process.execPath, [this.#child], { stdio: 'pipe', env }), this.#worker, states);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}

export class TracedProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | string>;
  readonly #traces: AsyncIterator<[Trace]>;
  readonly #lines: AsyncIterator<string>;
  #stderr = '';

  constructor(child: ChildProcess, supervisor: Worker, states?: States) {
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
    });
    child.stdin?.on('error', () => {});
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.#traces = on(supervisor, 'message') as AsyncIterator<[Trace]>;
    this.#lines = linesOf(child, supervisor, states);
  }

  async run(job: Job): Promise<Outcome> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LIMIT_MS);
    try {
      this.#child.stdin?.write(`${JSON.stringify(job)}\n`);
      const line = await this.#lines.next();
      if (line.done === true) return await this.#gone();
      const { hit, kept } = await this.#trace(false);
      const result = JSON.parse(line.value) as JobResult;
      return { result, kept, ...(hit === undefined ? {} : { hit }), stderr: this.#stderr };
    } finally {
      clearTimeout(timer);
    }
  }

  async end(): Promise<Outcome> {
    this.#child.stdin?.end();
    return this.#gone();
  }

  async #gone(): Promise<Outcome> {
    const { hit, kept } = await this.#trace(true);
    return { status: await this.#ended, kept, ...(hit === undefined ? {} : { hit }), stderr: this.#stderr };
  }

  async #trace(ended: boolean): Promise<Trace> {
    for (;;) {
      const { value } = await this.#traces.next();
      const [trace] = value;
      if (trace.ended === ended) {
        if (ended) await this.#traces.return?.();
        return trace;
      }
    }
  }
}

/** What it answers; its first line says where the listener is. */
async function* linesOf(
  child: ChildProcess,
  supervisor: Worker,
  states: States | undefined,
): AsyncGenerator<string, void, undefined> {
  if (child.stdout === null) return;
  let first = true;
  for await (const line of createInterface({ input: child.stdout })) {
    if (first) {
      const { listener } = JSON.parse(line) as { listener: number };
      supervisor.postMessage({ pid: child.pid, listener, ...(states === undefined ? {} : { states }) });
    } else yield line;
    first = false;
  }
}
