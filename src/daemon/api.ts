/** From one HTTP request to its answer. It trusts nothing that a request says: who asks is known from the socket. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { errnoOf, isAbort, isLarderError, LarderError, printable } from '../errors.js';
import type { PeerCredentials } from '../linux/peer-credentials.js';
import { GUEST_OPERATIONS, GUEST_QUESTIONS } from './guest-service.js';
import { guestName } from './guests.js';
import type { LarderMetrics } from './larder-metrics.js';
import { LineResponse, sendError, sendJson } from './line-response.js';
import { readPruneImages } from './mesos-call.js';
import type { Operations } from './operations.js';
import { HttpRefusal, readJson } from './request.js';
import { OPERATIONS, type Operation, QUESTIONS, type Service } from './service.js';
import { OPERATION_HEADER, OPERATION_ID } from './wire.js';

export interface ApiParts {
  readonly service: Service;
  readonly operations: Operations;
  readonly metrics: LarderMetrics;
  /** Undefined when all is well, else what is not. */
  readonly ill: () => Promise<string | undefined>;
  readonly renderMetrics: () => Promise<string>;
  /** One line for the operator's log. */
  readonly log: (line: string) => void;
}

const CONTAINER = '/v1/containers/';
const RUNNING = '/v1/operations/';
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export class Api {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  /** Always answers. */
  async handle(request: IncomingMessage, response: ServerResponse, peer: PeerCredentials): Promise<void> {
    try {
      await this.#route(request, response, peer);
    } catch (error) {
      if (isUnexplained(error)) this.#parts.log(`${request.method} ${request.url}: ${trail(error)}`);
      sendError(response, error, isOwner(peer.uid));
      // What is left of a body that nobody wants is read and dropped, so that the answer gets through.
      request.resume();
    }
  }

  /** What Prometheus and load balancers ask; the only paths that a loopback port serves. */
  async watch(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const path = pathOf(request);
    if (path !== '/healthz' && path !== '/metrics') return false;
    requireMethod(request, response, 'GET');
    if (path === '/metrics') {
      response.writeHead(200, { 'content-type': METRICS_TYPE });
      response.end(await this.#parts.renderMetrics());
    } else {
      const ill = await this.#parts.ill();
      sendJson(response, ill === undefined ? 200 : 503, ill === undefined ? { status: 'ok' } : { status: 'ill', ill });
    }
    return true;
  }

  async #route(request: IncomingMessage, response: ServerResponse, peer: PeerCredentials): Promise<void> {
    const path = pathOf(request);
    if (!isOwner(peer.uid)) return this.#routeGuest(path, request, response, peer);
    const operation = Object.hasOwn(OPERATIONS, path) ? OPERATIONS[path] : undefined;
    const question = Object.hasOwn(QUESTIONS, path) ? QUESTIONS[path] : undefined;
    if (operation !== undefined) return this.#operate(operation, request, response, peer);
    if (question !== undefined) {
      requireMethod(request, response, 'GET');
      return sendJson(response, 200, await question(this.#parts.service));
    }
    if (path.startsWith(CONTAINER)) {
      requireMethod(request, response, 'GET');
      return sendJson(response, 200, this.#parts.service.provisioner.claimOf(path.slice(CONTAINER.length)));
    }
    if (path.startsWith(RUNNING)) {
      requireMethod(request, response, 'DELETE');
      return sendJson(response, 200, { cancelled: this.#parts.operations.cancel(path.slice(RUNNING.length)) });
    }
    if (path === '/api/v1') return this.#prunesLikeMesos(request, response, peer);
    if (await this.watch(request, response)) return;
    throw new HttpRefusal(404, `serve ${printable(path.slice(0, 200))}: there is no such path`);
  }

  /** Everything else is as if it were not there. */
  async #routeGuest(
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
    peer: PeerCredentials,
  ): Promise<void> {
    const { uid } = peer;
    const operation = Object.hasOwn(GUEST_OPERATIONS, path) ? GUEST_OPERATIONS[path] : undefined;
    const question = Object.hasOwn(GUEST_QUESTIONS, path) ? GUEST_QUESTIONS[path] : undefined;
    if (operation !== undefined) return this.#operate(operation(uid), request, response, peer);
    if (question !== undefined) {
      requireMethod(request, response, 'GET');
      return sendJson(response, 200, await question(this.#parts.service, uid));
    }
    if (path.startsWith(RUNNING)) {
      requireMethod(request, response, 'DELETE');
      const id = `${guestName(uid)}.${path.slice(RUNNING.length)}`;
      return sendJson(response, 200, { cancelled: this.#parts.operations.cancel(id) });
    }
    throw new LarderError('LARDER_PERMISSION', `serve user ${uid}: ${printable(path.slice(0, 200))}: not for users`, {
      hint: "only root and the daemon's own user may ask for this",
    });
  }

  async #operate(
    operation: Operation,
    request: IncomingMessage,
    response: ServerResponse,
    peer: PeerCredentials,
  ): Promise<void> {
    requireMethod(request, response, 'POST');
    const given = operationId(request);
    // No user cancels what another one runs.
    const id = given === undefined || isOwner(peer.uid) ? given : `${guestName(peer.uid)}.${given}`;
    const work = operation.read(await readJson(request));
    const lines = new LineResponse(response, isOwner(peer.uid));
    let answered = false;
    const outcome = this.#run(operation.name, id, response, peer, (signal, onEvent) =>
      work(this.#parts.service, {
        signal,
        onEvent: (event) => {
          onEvent(event);
          if (!answered) lines.event(event);
          // What a removal could not delete shows after its answer: nobody but the operator is left to hear it.
          else if (event.type === 'warning') this.#parts.log(`${operation.name}: ${event.message}`);
        },
      }),
    );
    const answer = (how: () => void): void => {
      answered = true;
      how();
    };
    await outcome.then(
      (result) => answer(() => lines.end(result)),
      (error: unknown) => answer(() => lines.fail(error)),
    );
  }

  /** The answer is due when everything is marked; the deleting that follows belongs to the daemon, not to the caller. */
  async #prunesLikeMesos(request: IncomingMessage, response: ServerResponse, peer: PeerCredentials): Promise<void> {
    requireMethod(request, response, 'POST');
    const { provisioner, alwaysExcluded } = this.#parts.service;
    const excluded = [...readPruneImages(await readJson(request)), ...alwaysExcluded];
    let answered = false;
    const answer = (): void => {
      if (!answered) response.writeHead(200, { 'content-length': 0 }).end();
      answered = true;
    };
    const pruned = this.#run('prune-images', undefined, undefined, peer, (signal, onEvent) =>
      provisioner.pruneImages(excluded, { signal, onEvent, onMarked: answer }),
    );
    try {
      await pruned;
      answer();
    } catch (error) {
      if (!answered) throw error;
      this.#parts.log(`prune-images: deleting: ${trail(error)}`);
    }
  }

  /** One operation, counted, logged with who asked for it, and cancelled when `response` loses its reader. */
  async #run<T>(
    name: string,
    id: string | undefined,
    response: ServerResponse | undefined,
    { uid, pid }: PeerCredentials,
    work: (signal: AbortSignal, onEvent: (event: Parameters<LarderMetrics['count']>[0]) => void) => Promise<T>,
  ): Promise<T> {
    const { operations, metrics, log } = this.#parts;
    const gone = new AbortController();
    const onClose = (): void => {
      if (response?.writableFinished === false) gone.abort(new Error('the client went away'));
    };
    response?.once('close', onClose);
    const since = performance.now();
    const tracked = metrics.track(name);
    const say = (result: string): void =>
      log(`${name}: uid ${uid}, pid ${pid}: ${result}, ${Math.round(performance.now() - since)} ms`);
    try {
      if (response?.destroyed === true) onClose();
      const result = await operations.run(id, gone.signal, (signal) => work(signal, tracked.onEvent));
      tracked.ended();
      say('done');
      return result;
    } catch (error) {
      tracked.ended(error);
      say(
        isUnexplained(error) ? trail(error) : isLarderError(error) ? `${error.code}: ${error.message}` : String(error),
      );
      throw error;
    } finally {
      response?.off('close', onClose);
    }
  }
}

/** Whom the daemon serves wholly. */
export function isOwner(uid: number): boolean {
  return uid === 0 || uid === process.getuid?.();
}

/** The path alone, decoded: an id in it may have any form that a URL can carry. */
function pathOf(request: IncomingMessage): string {
  const [path = ''] = (request.url ?? '').split('?', 1);
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new HttpRefusal(400, 'serve a request: its path is not a valid URL', { cause });
  }
}

function requireMethod(request: IncomingMessage, response: ServerResponse, method: string): void {
  if (request.method === method || (method === 'GET' && request.method === 'HEAD')) return;
  response.setHeader('allow', method);
  throw new HttpRefusal(405, `serve ${printable(request.method ?? '')}: expected ${method}`);
}

function operationId(request: IncomingMessage): string | undefined {
  const id = request.headers[OPERATION_HEADER];
  if (id === undefined) return undefined;
  if (typeof id === 'string' && OPERATION_ID.test(id)) return id;
  throw new HttpRefusal(400, `read the request: ${OPERATION_HEADER}: expected 8 to 64 letters, digits and hyphens`);
}

function isUnexplained(error: unknown): boolean {
  return isLarderError(error, 'LARDER_INTERNAL', 'LARDER_WORKER_LOST') || (!isLarderError(error) && !isAbort(error));
}

function trail(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `; caused by ${trail(error.cause)}`;
  return `${errnoOf(error) ?? error.name}: ${printable(error.stack ?? error.message)}${cause}`;
}
