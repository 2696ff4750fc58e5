/** The only console: results on standard output, everything else on standard error. */
import { once } from 'node:events';
import { errnoOf, isLarderError, type LarderError, serializeError } from '../errors.js';
import type { LarderEvent, OnEvent } from '../events.js';
import type { CommandResult } from './command.js';
import { jsonLine, jsonText } from './format.js';
import { Progress } from './progress.js';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

export async function renderResult(result: CommandResult, json: boolean): Promise<void> {
  if (result.bytes !== undefined) {
    for await (const piece of result.bytes) {
      await write(process.stdout, piece);
      if (LEFT.has(process.stdout)) return;
    }
    return;
  }
  if (json && result.data !== undefined) await write(process.stdout, `${jsonText(result.data)}\n`);
  else if (result.text !== undefined && result.text !== '')
    await write(
      result.exitCode === 126 || result.exitCode === 127 ? process.stderr : process.stdout,
      `${result.text}\n`,
    );
}

/** One clear sentence and what to do; with `debug` the whole trail. */
export async function renderError(
  error: unknown,
  { json, debug }: { readonly json: boolean; readonly debug: boolean },
): Promise<void> {
  if (json) {
    const { stack, cause, ...shown } = serializeError(error);
    const kind = isLarderError(error) ? error.kind : 'internal';
    await write(process.stderr, jsonText({ error: { kind, ...shown, ...(debug ? { stack, cause } : {}) } }));
    return;
  }
  await write(process.stderr, `larder: ${error instanceof Error ? error.message : String(error)}\n`);
  if (isLarderError(error) && error.hint !== undefined) await write(process.stderr, `  ${error.hint}\n`);
  const unexpected = !isLarderError(error) || isUnexplained(error);
  if (debug || unexpected) await write(process.stderr, `${trail(error)}\n`);
}

/** How a work is told: `auto` is bars on a terminal, lines elsewhere, and with `--json` nothing but warnings. */
export const PROGRESS_FORMS = ['auto', 'bars', 'lines', 'json', 'none'] as const;
export type ProgressForm = (typeof PROGRESS_FORMS)[number];

/** Listens to the work. `json` prints each event as one line of JSON. All of it goes to standard error. */
export function eventRenderer(
  level: LogLevel,
  json: boolean,
  form: ProgressForm = 'auto',
): { readonly onEvent: OnEvent; readonly stop: () => void } {
  const isTerminal = process.stderr.isTTY === true;
  const progress = new Progress({
    write: (text) => void process.stderr.write(text),
    isTTY: form === 'bars' || (form === 'auto' && isTerminal && !json),
    columns: process.stderr.columns ?? 80,
  });
  const quiet = (level !== 'info' && level !== 'debug') || form === 'none' || (form === 'auto' && json);
  const onEvent = (event: LarderEvent): void => {
    if (form === 'json') {
      process.stderr.write(`${jsonLine(event)}\n`);
      return;
    }
    if (event.type === 'warning' ? level !== 'error' : !quiet) progress.onEvent(event);
    if (level === 'debug' && event.type !== 'layer-progress') process.stderr.write(`debug: ${jsonLine(event)}\n`);
  };
  return { onEvent, stop: () => progress.stop() };
}

/** A line of something that runs on, for whoever reads its log. */
export function logLine(line: string, json: boolean): void {
  process.stderr.write(json ? `${JSON.stringify({ log: line })}\n` : `larder: ${line}\n`);
}

function isUnexplained(error: LarderError): boolean {
  return error.code === 'LARDER_INTERNAL' && error.cause === undefined;
}

function trail(error: unknown): string {
  const lines: string[] = [];
  for (let current: unknown = error; current instanceof Error; current = current.cause)
    lines.push(current.stack ?? current.message);
  return lines.join('\ncaused by: ');
}

/** Streams whose reader went away. Standard output does not become `destroyed`, whatever happens to it. */
const LEFT = new WeakSet<NodeJS.WriteStream>();

/** Without a listener, a reader that went away would end the process with a stack. Called once. */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (errnoOf(error) !== 'EPIPE') throw error;
      LEFT.add(stream);
    });
  }
}

/** Waits for a slow reader; a reader that went away ends the output, as with every filter. */
async function write(stream: NodeJS.WriteStream, data: string | Uint8Array): Promise<void> {
  if (LEFT.has(stream)) return;
  const settled = new AbortController();
  const listening = { signal: settled.signal };
  try {
    if (stream.write(data)) return;
    await Promise.race([once(stream, 'drain', listening), once(stream, 'close', listening)]);
  } catch (error) {
    if (errnoOf(error) !== 'EPIPE') throw error;
  } finally {
    // The one that did not come would listen on, once for each piece.
    settled.abort();
  }
}
