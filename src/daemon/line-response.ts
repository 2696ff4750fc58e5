/** The answer of a long operation: events as they come, then how it ended. Nothing is sent before there is something. */
import type { ServerResponse } from 'node:http';
import { isLarderError, KIND_TABLE, type SerializedError, serializeError } from '../errors.js';
import type { LarderEvent } from '../events.js';
import { onTurn } from '../queued-answers.js';
import { HttpRefusal } from './request.js';
import { JSON_TYPE, LINES_TYPE, type Line } from './wire.js';

const READ_MS = 30_000;

export class LineResponse {
  readonly #response: ServerResponse;
  readonly #toOwner: boolean;

  constructor(response: ServerResponse, toOwner: boolean) {
    this.#response = response;
    this.#toOwner = toOwner;
  }

  /** A client that reads slowly misses steps of progress, nothing else; memory does not fill up for it. */
  event(event: LarderEvent): void {
    if (this.#response.destroyed) return;
    if (this.#response.writableNeedDrain && (event.type === 'layer-progress' || event.type === 'debug')) return;
    this.#write({ event }, 200);
  }

  end(result: unknown): void {
    this.#write({ result: result ?? null }, 200);
    this.#finish();
  }

  /** The status says what was wrong, unless it was sent with the first event. */
  fail(error: unknown): void {
    this.#write({ error: toldOf(error, this.#toOwner) }, statusOf(error));
    this.#finish();
  }

  /** Who does not read the end of an answer gives up its connection. One behind another answer is not to be read yet. */
  #finish(): void {
    this.#response.end();
    onTurn(this.#response, (socket) => {
      const late = setTimeout(() => socket.destroy(), READ_MS).unref();
      this.#response.once('close', () => clearTimeout(late));
    });
  }

  #write(line: Line, status: number): void {
    if (this.#response.destroyed) return;
    if (!this.#response.headersSent) this.#response.writeHead(status, { 'content-type': LINES_TYPE });
    this.#response.write(`${JSON.stringify(line)}\n`);
  }
}

export function statusOf(error: unknown): number {
  if (error instanceof HttpRefusal) return error.status;
  return isLarderError(error) ? KIND_TABLE[error.kind].http : KIND_TABLE.internal.http;
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = `${JSON.stringify(value)}\n`;
  response.writeHead(status, { 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

export function sendError(response: ServerResponse, error: unknown, toOwner: boolean): void {
  if (response.headersSent) response.destroy();
  else sendJson(response, statusOf(error), { error: toldOf(error, toOwner) });
}

/** Where in the program it happened, and what was behind it, may tell of others: guests get what a user can act on. */
function toldOf(error: unknown, toOwner: boolean): SerializedError {
  const all = serializeError(error);
  if (toOwner) return all;
  const { stack: _stack, cause: _cause, ...told } = all;
  return told;
}
