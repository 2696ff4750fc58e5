/**
 * What travels between the pool and one of its threads. A thread works on one run at a time; `run` numbers let late
 * messages of a run that is over be told from those of the next. Everything is plain data (structured clone).
 */
import type { TransferListItem } from 'node:worker_threads';
import type { SerializedError } from '../errors.js';

/** Main thread to worker. */
export type ToWorker =
  | { readonly type: 'run'; readonly run: number; readonly task: string; readonly data: unknown }
  | { readonly type: 'abort'; readonly run: number; readonly reason: SerializedError }
  | { readonly type: 'answer'; readonly run: number; readonly ask: number; readonly outcome: Outcome };

/** Worker to main thread. */
export type FromWorker =
  | { readonly type: 'message'; readonly run: number; readonly message: unknown }
  | { readonly type: 'ask'; readonly run: number; readonly ask: number; readonly question: unknown }
  | { readonly type: 'settled'; readonly run: number; readonly outcome: Outcome };

export type Outcome =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: SerializedError };

/** What a task may do beside returning a result. */
export interface TaskContext {
  /** Aborted when the caller gave up. A task that does not settle within the pool's grace is ended with its thread. */
  readonly signal: AbortSignal;
  /** Tells the caller something while the task goes on. */
  send(message: unknown, transfer?: readonly TransferListItem[]): void;
  /** Asks the caller; rejects with the caller's error, or with LARDER_ABORTED when the run is aborted meanwhile. */
  ask(question: unknown): Promise<unknown>;
}

/** A task takes plain data and gives plain data. */
export type Task = (data: unknown, context: TaskContext) => Promise<unknown>;
