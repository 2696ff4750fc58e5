/**
 * The thread's side of a {@link WorkerPool}: receives one run at a time, calls the task of that name and reports how
 * it settled. Called once, at the top of a thread's entry module. Imports nothing heavy: a thread starts as fast as
 * Node can start one, and each task's code is loaded by the task itself.
 */
import { type MessagePort, parentPort, type TransferListItem } from 'node:worker_threads';
import { abortedError, deserializeError, LarderError, serializeError } from '../errors.js';
import type { FromWorker, Outcome, Task, TaskContext, ToWorker } from './protocol.js';

export function serve(tasks: Readonly<Record<string, Task>>): void {
  if (parentPort === null) throw new LarderError('LARDER_INTERNAL', 'worker: serve: not in a worker thread');
  const port = parentPort;
  let current: Run | undefined;
  port.on('message', (message: ToWorker) => {
    if (message.type === 'run') {
      current = new Run(port, message.run, message.task);
      const task = Object.hasOwn(tasks, message.task) ? tasks[message.task] : undefined;
      void current.execute(task, message.data);
    } else if (current?.run === message.run) {
      if (message.type === 'abort') current.abort(deserializeError(message.reason));
      else current.answer(message.ask, message.outcome);
    }
  });
}

interface PendingAsk {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

class Run implements TaskContext {
  readonly run: number;
  readonly #port: MessagePort;
  readonly #task: string;
  readonly #controller = new AbortController();
  readonly #asks = new Map<number, PendingAsk>();
  #nextAsk = 0;

  constructor(port: MessagePort, run: number, task: string) {
    this.#port = port;
    this.run = run;
    this.#task = task;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async execute(task: Task | undefined, data: unknown): Promise<void> {
    const outcome = await this.#outcomeOf(task, data);
    try {
      this.#post({ type: 'settled', run: this.run, outcome });
    } catch (error) {
      // A result that cannot be cloned must not leave the caller waiting.
      this.#post({ type: 'settled', run: this.run, outcome: { ok: false, error: serializeError(error) } });
    }
  }

  async #outcomeOf(task: Task | undefined, data: unknown): Promise<Outcome> {
    try {
      if (task === undefined) throw new LarderError('LARDER_INTERNAL', `worker: ${this.#task}: no such task`);
      return { ok: true, value: await task(data, this) };
    } catch (error) {
      return { ok: false, error: serializeError(error) };
    }
  }

  send(message: unknown, transfer?: readonly TransferListItem[]): void {
    this.#post({ type: 'message', run: this.run, message }, transfer);
  }

  ask(question: unknown): Promise<unknown> {
    if (this.signal.aborted) return Promise.reject(this.#aborted());
    const ask = this.#nextAsk++;
    return new Promise((resolve, reject) => {
      this.#asks.set(ask, { resolve, reject });
      this.#post({ type: 'ask', run: this.run, ask, question });
    });
  }

  answer(ask: number, outcome: Outcome): void {
    const pending = this.#asks.get(ask);
    this.#asks.delete(ask);
    if (outcome.ok) pending?.resolve(outcome.value);
    else pending?.reject(deserializeError(outcome.error));
  }

  abort(reason: LarderError): void {
    this.#controller.abort(reason);
    for (const pending of this.#asks.values()) pending.reject(this.#aborted());
    this.#asks.clear();
  }

  #aborted(): LarderError {
    return abortedError(`worker: ${this.#task}`, this.signal);
  }

  #post(message: FromWorker, transfer: readonly TransferListItem[] = []): void {
    this.#port.postMessage(message, transfer);
  }
}
