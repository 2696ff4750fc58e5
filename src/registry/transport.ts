/**
 * One HTTP request over node:http(s), never `fetch`: that decodes Content-Encoding before anybody can count, keeps
 * custom headers across redirects, and takes a cut body for a whole one. Runs in any thread; each has its own
 * connections. Nothing here retries or follows; {@link RequestPlan} decides what is next.
 */
import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { abortedError, isLarderError, throwIfAborted } from '../errors.js';
import { type Agents, agentsFor, refuseLiteral } from './agents.js';
import type { BlobGrant, BlobOutcome } from './blob.js';
import { isUnknownIssuer, systemAuthorities } from './hosts/system-authorities.js';
import { StallGuard, timeoutError } from './stall-guard.js';

/** Everything of a grant but the wait. */
export interface HttpRequest extends Omit<BlobGrant, 'afterMs'> {
  readonly method?: 'GET' | 'HEAD' | 'POST';
  /** Of a POST. */
  readonly body?: string;
  readonly signal?: AbortSignal | undefined;
}

/** The parts of an answer that a plan may need to decide what is next. */
const OUTCOME_HEADERS = ['www-authenticate', 'location', 'retry-after', 'date'] as const;
/** Error bodies are a few hundred bytes of JSON; nobody reads more. */
const MAX_ERROR_BODY = 4096;
/** Of an answer's head, whatever Node was started with. */
export const MAX_HEADER_BYTES = 16 * 1024;

/** Sends one request and waits for the head of its answer. Rejects with the system's error, LARDER_ABORTED, or LARDER_POLICY_DENIED for a refused address. */
export async function sendRequest(request: HttpRequest): Promise<HttpAnswer> {
  throwIfAborted(request.signal, doingOf(request));
  const { host } = new URL(request.url);
  if (trustedBySystem.has(host)) return sendTrusting(request);
  try {
    return await sendFresh(request);
  } catch (error) {
    if (!isUnknownIssuer(error) || systemAuthorities() === '') throw error;
    const answer = await sendTrusting(request);
    trustedBySystem.add(host);
    return answer;
  }
}

/** Hosts whose authority this machine knows and Node does not. */
const trustedBySystem = new Set<string>();

function sendTrusting(request: HttpRequest): Promise<HttpAnswer> {
  const pem = systemAuthorities();
  return sendFresh({ ...request, ca: request.ca === undefined ? pem : `${request.ca}\n${pem}` });
}

async function sendFresh(request: HttpRequest): Promise<HttpAnswer> {
  const agents = await agentsFor(request);
  for (let stale = 0; ; stale++) {
    try {
      return await sendOnce(request, agents);
    } catch (error) {
      // The server closed an idle connection just as it was used again; that is no answer and no failure.
      if (!(error instanceof StaleConnection) || stale >= 3)
        throw error instanceof StaleConnection ? error.cause : error;
    }
  }
}

/** The head of an answer; its body must be read, or given back with {@link discard}. */
export class HttpAnswer {
  readonly #request: HttpRequest;
  readonly #message: IncomingMessage;

  constructor(request: HttpRequest, message: IncomingMessage) {
    this.#request = request;
    this.#message = message;
  }

  /** `host[:port]` that gave it. */
  get host(): string {
    return new URL(this.#request.url).host;
  }

  get status(): number {
    return this.#message.statusCode ?? 0;
  }

  /** A header that must not come twice, or undefined. */
  header(name: string): string | undefined {
    const value = this.#message.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** Whether the body was read to an end that the protocol marks; a body that only the connection's close ends may have been cut. */
  get endIsKnown(): boolean {
    const { complete, headers } = this.#message;
    return complete && (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined);
  }

  /** Body as it comes, as large as the socket gives it. Reading stops when the consumer does; leaving early closes the connection. */
  async *body(): AsyncGenerator<Uint8Array, void, void> {
    const chunks: AsyncIterator<Buffer> = this.#message[Symbol.asyncIterator]();
    const stall = new StallGuard(this.#message, this.#request);
    try {
      for (;;) {
        stall.wait();
        const next = await chunks.next();
        if (next.done === true) return;
        stall.received(next.value.byteLength);
        yield next.value;
      }
    } catch (error) {
      throw this.#request.signal?.aborted === true ? abortedError('read an answer', this.#request.signal) : error;
    } finally {
      stall.stop();
      this.discard();
    }
  }

  /** The whole body, or undefined when it is longer than `maxBytes`. */
  async read(maxBytes: number): Promise<Buffer | undefined> {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of this.body()) {
      length += chunk.byteLength;
      if (length > maxBytes) return undefined;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  /** Closes the connection unless the answer was read to its end, when it stays open for the next request. */
  discard(): void {
    if (!this.#message.readableEnded) this.#message.destroy();
  }

  /** This answer as what a plan is told; reads a short body for its message. */
  async outcome(): Promise<BlobOutcome> {
    const headers: Record<string, string> = {};
    for (const name of OUTCOME_HEADERS) {
      const value = this.header(name);
      if (value !== undefined) headers[name] = value;
    }
    const body = this.status >= 400 ? await this.#shortBody() : undefined;
    this.discard();
    const { url } = this.#request;
    return { kind: 'status', url, status: this.status, headers, ...(body === undefined ? {} : { body }) };
  }

  async #shortBody(): Promise<string | undefined> {
    try {
      return (await this.read(MAX_ERROR_BODY))?.toString('utf8');
    } catch (error) {
      if (isLarderError(error)) throw error;
      // The status alone says enough; its explanation was cut off.
      return undefined;
    }
  }
}

/** What went wrong, as plain data; passes errors on that end everything (LarderError). */
export function failureOutcome(url: string, error: unknown, received: number): BlobOutcome {
  if (isLarderError(error)) throw error;
  // Happy eyeballs gives an error for each address; the first is what people understand.
  const first: unknown = error instanceof AggregateError ? (error.errors[0] ?? error) : error;
  if (!(first instanceof Error)) throw error;
  const { code } = first as NodeJS.ErrnoException;
  const errno = typeof code === 'string' ? { errno: code } : {};
  const message = code === 'ECONNRESET' ? 'the connection was cut' : first.message;
  return { kind: 'error', url, message, received, ...errno };
}

/** Of an address whose path may be the key to it, too. */
function doingOf({ method = 'GET', url }: HttpRequest): string {
  return `${method} ${new URL(url).origin}`;
}

/** For messages: queries hold signatures and tokens, user information holds passwords. */
export function withoutQuery(url: string): string {
  if (!URL.canParse(url)) return '(not a URL)';
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

class StaleConnection extends Error {}

function sendOnce(request: HttpRequest, { http, https }: Agents): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const url = new URL(request.url);
    const secure = url.protocol === 'https:';
    const options = {
      method: request.method ?? 'GET',
      headers: { ...request.headers, 'accept-encoding': 'identity' },
      maxHeaderSize: MAX_HEADER_BYTES,
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    };
    refuseLiteral(url, request);
    const message = secure
      ? requestHttps(url, { ...options, agent: https })
      : requestHttp(url, { ...options, agent: http });
    const timer = guardHead(message, secure, request);
    message.on('response', (response) => {
      clearTimeout(timer.current);
      // Errors are thrown where the body is read; without a listener, one after that would end the process.
      response.on('error', () => {});
      resolve(new HttpAnswer(request, response));
    });
    message.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer.current);
      if (request.signal?.aborted === true) reject(abortedError(doingOf(request), request.signal));
      else if (message.reusedSocket && error.code === 'ECONNRESET')
        reject(new StaleConnection(error.message, { cause: error }));
      else reject(error);
    });
    message.end(request.body);
  });
}

/** First a limit on the connection, then on the answer's head. */
function guardHead(message: ClientRequest, secure: boolean, request: HttpRequest): { current: NodeJS.Timeout } {
  const after = (ms: number, what: string): NodeJS.Timeout =>
    setTimeout(() => message.destroy(timeoutError(`${what} within ${ms} ms`)), ms);
  const timer = { current: after(request.connectTimeoutMs, 'no connection') };
  const connected = (): void => {
    clearTimeout(timer.current);
    timer.current = after(request.stallTimeoutMs, 'no answer');
  };
  message.on('socket', (socket) => {
    if (socket.connecting) socket.once(secure ? 'secureConnect' : 'connect', connected);
    else connected();
  });
  return timer;
}
