/** One request to a daemon and its answer, each on a connection of its own: a Unix socket costs nothing to connect. */
import type { IncomingMessage } from 'node:http';
import { deserializeError, ERROR_TABLE, errnoOf, LarderError, type SerializedError, systemError } from '../errors.js';
import type { LarderEvent } from '../events.js';
import { JSON_TYPE, type Line } from './wire.js';

/** A quick question. Rejects with the daemon's error, or with LARDER_DAEMON_UNREACHABLE. */
export async function ask(socket: string, method: 'GET' | 'DELETE', path: string): Promise<unknown> {
  const response = await send(socket, method, path, undefined, {}, undefined);
  const pieces: Buffer[] = [];
  for await (const piece of bytesOf(response, socket)) pieces.push(piece);
  const value = parse(Buffer.concat(pieces).toString(), socket);
  if (response.statusCode === 200) return value;
  throw errorIn(value, socket);
}

/** A long operation: its events as they come, then its result. Rejects as {@link ask} does. */
export async function follow(
  socket: string,
  path: string,
  body: object,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
  onEvent: (event: LarderEvent) => void,
): Promise<unknown> {
  const response = await send(socket, 'POST', path, JSON.stringify(body), headers, signal);
  let rest = '';
  const decoder = new TextDecoder();
  for await (const piece of bytesOf(response, socket)) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) {
      const line = parse(text, socket) as Line;
      if ('event' in line) onEvent(line.event);
      else if ('result' in line) return line.result;
      else throw errorIn(line, socket);
    }
  }
  throw lost(socket, 'it hung up in the middle of an answer');
}

async function send(
  socket: string,
  method: string,
  path: string,
  body: string | undefined,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    const content =
      body === undefined ? {} : { 'content-type': JSON_TYPE, 'content-length': String(Buffer.byteLength(body)) };
    const outgoing = request({
      socketPath: socket,
      method,
      path,
      agent: false,
      headers: { host: 'larder', connection: 'close', ...content, ...headers },
      ...(signal === undefined ? {} : { signal }),
    });
    outgoing.once('response', resolve);
    // Stays on: an answer may come although the rest of the request was not wanted, and then a write fails.
    outgoing.on('error', (error) => reject(unreachable(socket, error)));
    outgoing.end(body);
  });
}

async function* bytesOf(response: IncomingMessage, socket: string): AsyncGenerator<Buffer, void, undefined> {
  try {
    yield* response as AsyncIterable<Buffer>;
  } catch (error) {
    throw lost(socket, 'it hung up in the middle of an answer', error);
  }
}

function parse(text: string, socket: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw lost(socket, 'its answer is not JSON: this is no daemon of larder', cause);
  }
}

/** A code that this version does not know is an internal error of a daemon of another version. */
function errorIn(value: unknown, socket: string): LarderError {
  const error =
    typeof value === 'object' && value !== null && 'error' in value ? (value.error as SerializedError) : undefined;
  if (typeof error?.code !== 'string' || typeof error.message !== 'string')
    return lost(socket, 'its answer has neither a result nor an error');
  return deserializeError(Object.hasOwn(ERROR_TABLE, error.code) ? error : { ...error, code: 'LARDER_INTERNAL' });
}

function unreachable(socket: string, error: unknown): LarderError {
  const errno = errnoOf(error);
  if (errno === 'EACCES' || errno === 'EPERM') return systemError(`ask the daemon at ${socket}`, error);
  const why = errno === 'ENOENT' || errno === 'ECONNREFUSED' ? 'nobody is there' : 'the connection failed';
  return lost(socket, why, error);
}

function lost(socket: string, why: string, cause?: unknown): LarderError {
  return new LarderError('LARDER_DAEMON_UNREACHABLE', `ask the daemon at ${socket}: ${why}`, {
    hint: 'start one with `larder daemon`, or do without one: --socket none',
    ...(cause === undefined ? {} : { cause }),
  });
}
