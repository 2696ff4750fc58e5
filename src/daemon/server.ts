/**
 * ▸ The daemon: one store behind a Unix socket, for root and the daemon's own user, and for guests with what their own
 * logins reach (`guests.ts`). It adds nothing to what the
 * library does: the same store may be used beside it by any other process, and a container that it made outlives it.
 *
 * Owns its socket and the lock beside it. Who calls is known from the kernel (SO_PEERCRED), never from what is sent.
 * Called by the command.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Assembly } from '../assemble.js';
import { configOf, type Flags } from '../config.js';
import { isLarderError, LarderError, systemError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { Larder } from '../larder.js';
import { loadPeerCredentials, type PeerCredentials, type PeerCredentialsOf } from '../linux/peer-credentials.js';
import { notifyService } from '../linux/sd-notify.js';
import { closeQueuedAnswers } from '../queued-answers.js';
import { Api, isOwner } from './api.js';
import { socketOf } from './default-socket.js';
import { diskUsage, GcTimer } from './gc-timer.js';
import { Guests } from './guests.js';
import { LarderMetrics } from './larder-metrics.js';
import { sendError } from './line-response.js';
import { Operations } from './operations.js';
import { HttpRefusal } from './request.js';
import type { Service } from './service.js';
import { fingerprints } from './settings.js';
import { activatedSocket, type SocketPlace, takeSocket } from './socket-place.js';

export interface DaemonOptions {
  /** Settings of the store, and the socket's place. */
  readonly flags: Flags;
  readonly version: string;
  /** A port of this machine's loopback that serves /metrics and /healthz, and nothing else. */
  readonly metrics?: { readonly host: string; readonly port: number };
  readonly log?: (line: string) => void;
  readonly env?: NodeJS.ProcessEnv;
}

const MAX_HEADER_BYTES = 16 * 1024;
const MAX_CONNECTIONS = 512;
const TIMEOUTS = { headersTimeout: 10_000, requestTimeout: 30_000, keepAliveTimeout: 5000 } as const;
/** How long an answer may take to leave when the daemon ends. */
const ANSWER_MS = 2000;
/** Larger than any gap between two timers that Node can keep. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class Daemon {
  readonly #assembly: Assembly;
  readonly #larder: Larder;
  readonly #place: SocketPlace;
  readonly #options: DaemonOptions;
  readonly #operations = new Operations();
  readonly #metrics = new LarderMetrics();
  readonly #server: Server;
  readonly #peers = new WeakMap<Socket, PeerCredentials>();
  readonly #answering = new Set<ServerResponse>();
  readonly #credentialsOf: PeerCredentialsOf;
  #watcher: Server | undefined;
  #gc: GcTimer | undefined;
  #stopped: Promise<void> | undefined;

  private constructor(assembly: Assembly, place: SocketPlace, options: DaemonOptions) {
    this.#assembly = assembly;
    this.#larder = new Larder(assembly);
    this.#place = place;
    this.#options = options;
    this.#credentialsOf = loadPeerCredentials();
    assembly.lock.onWait = (mode, ms) => this.#metrics.lockWaited(mode, ms);
    this.#server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, ...TIMEOUTS });
    this.#server.maxConnections = MAX_CONNECTIONS;
    closeQueuedAnswers(this.#server);
  }

  /**
   * Serves as soon as it resolves. Rejects with LARDER_STORE_LOCKED when a daemon is at that socket, and with what
   * opening the store rejects with.
   */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const env = options.env ?? process.env;
    const place =
      activatedSocket(env) ?? (await takeSocket(requireSocket(options.flags, env), options.flags.socket_group));
    let assembly: Assembly | undefined;
    try {
      assembly = await Assembly.open(configOf(options.flags));
      const daemon = new Daemon(assembly, place, options);
      await daemon.#begin(env);
      return daemon;
    } catch (error) {
      await assembly?.close();
      place.release();
      throw error;
    }
  }

  get root(): string {
    return this.#larder.root;
  }

  /** Where it listens, for people. */
  get place(): string {
    return this.#place.name;
  }

  /** The port that serves metrics, if any. */
  get metricsPort(): number | undefined {
    const address = this.#watcher?.address();
    return typeof address === 'object' && address !== null ? (address satisfies AddressInfo).port : undefined;
  }

  /**
   * Ends it: nothing new is accepted, what runs may take `graceMs`, then it is cancelled and undoes what it began. The
   * store is closed and the socket gone when this resolves. Containers stay. Called again, it waits for the same end.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  /** Cancels what runs, now. */
  abort(): void {
    this.#operations.abortAll();
  }

  async #begin(env: NodeJS.ProcessEnv): Promise<void> {
    const { flags, version, metrics } = this.#options;
    const service: Service = {
      larder: this.#larder,
      provisioner: await this.#assembly.provisioner(),
      facts: {
        version,
        pid: process.pid,
        root: this.#larder.root,
        owner: this.#assembly.config.owner,
        settings: fingerprints(flags),
      },
      guests: new Guests({
        grants: this.#assembly.grants,
        prove: async (image, how) => (await this.#assembly.docker()).prove(image, how),
      }),
      alwaysExcluded: this.#assembly.config.imageGc?.excludedImages ?? [],
    };
    const api = new Api({
      service,
      operations: this.#operations,
      metrics: this.#metrics,
      ill: () => this.#ill(),
      renderMetrics: () => this.#renderMetrics(),
      log: (line) => this.#log(line),
    });
    this.#server.on('connection', (socket: Socket) => this.#meet(socket));
    this.#server.on('request', (request, response) => void this.#serve(api, request, response));
    await this.#place.listen(this.#server);
    if (metrics !== undefined) this.#watcher = await watchPort(api, metrics);
    this.#startGc();
    this.#notify('READY=1', env);
  }

  /** The kernel noted who connected; the descriptor is still open when Node tells us of the connection. */
  #meet(socket: Socket): void {
    const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } };
    try {
      const peer = this.#credentialsOf(handle?.fd ?? -1);
      this.#peers.set(socket, peer);
    } catch (error) {
      this.#log(`a connection: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #serve(api: Api, request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#answering.add(response);
    response.once('close', () => this.#answering.delete(response));
    const peer = this.#peers.get(request.socket);
    if (this.#operations.stopping) response.setHeader('connection', 'close');
    if (peer === undefined || !(isOwner(peer.uid) || this.#assembly.config.socketGroup !== undefined)) {
      this.#metrics.denied(peer?.uid);
      this.#log(`refused: uid ${peer?.uid ?? 'unknown'}, pid ${peer?.pid ?? 'unknown'}: ${request.method ?? ''}`);
      response.setHeader('connection', 'close');
      sendError(response, denied(peer?.uid), false);
      request.resume();
      return;
    }
    await api.handle(request, response, peer);
  }

  async #ill(): Promise<string | undefined> {
    if (this.#operations.stopping) return 'the daemon is about to end';
    try {
      this.#larder.containers();
      await diskUsage(this.#larder.root);
      return undefined;
    } catch (error) {
      return isLarderError(error) ? error.message : String(error);
    }
  }

  async #renderMetrics(): Promise<string> {
    const layers = this.#assembly.layerRecords.list();
    const usage = await diskUsage(this.#larder.root).catch(() => undefined);
    return this.#metrics.render({
      images: this.#larder.images().length,
      layers: layers.length,
      containers: this.#larder.containers().length,
      layerBytes: layers.reduce((sum, { tarSize }) => sum + tarSize, 0),
      fileSystem: usage,
    });
  }

  /** As Mesos does, when headroom and usage together are more than the whole disk; what goes is the collector's policy. */
  #startGc(): void {
    const { imageGc: config } = this.#assembly.config;
    if (config === undefined) return;
    this.#gc = new GcTimer({
      intervalMs: Math.min(config.watchIntervalMs, MAX_TIMER_MS),
      collect: async (signal) => {
        const onEvent: OnEvent = (event) => this.#metrics.count(event);
        const report = await this.#larder.collectGarbage({ signal, onEvent });
        if (report.due === undefined) return undefined;
        for (const { name, bytes, why } of report.images)
          this.#log(`garbage collection: ${name}: ${bytes} bytes, ${why}`);
        if (report.short)
          this.#log('garbage collection: not enough may go: the rest is in use, pinned, excluded or young');
        return report.freedBytes;
      },
      onRun: (result, bytes, error) => {
        this.#metrics.collected(result, bytes);
        if (result === 'collected') this.#log(`garbage collection: freed ${bytes} bytes`);
        if (result === 'failed') this.#log(`garbage collection: ${error instanceof Error ? error.message : error}`);
      },
    });
    this.#gc.start();
  }

  async #stop(graceMs: number): Promise<void> {
    this.#notify('STOPPING=1', this.#options.env ?? process.env);
    this.#operations.refuseNew();
    const closed = closing(this.#server);
    this.#server.closeIdleConnections();
    const watcherClosed = this.#watcher === undefined ? undefined : closing(this.#watcher);
    this.#watcher?.closeAllConnections();
    const late = setTimeout(() => this.#operations.abortAll(), graceMs);
    try {
      await this.#operations.idle();
      await this.#gc?.stop();
    } finally {
      clearTimeout(late);
    }
    await Promise.race([this.#answered(), sleep(ANSWER_MS, undefined, { ref: false })]);
    this.#server.closeAllConnections();
    await closed;
    await watcherClosed;
    await this.#larder.close();
    this.#place.release();
  }

  /** The last answers are on their way when the operations have ended; they may be long, and their readers slow. */
  async #answered(): Promise<void> {
    for (const response of this.#answering) await new Promise((resolve) => response.once('close', resolve));
  }

  #notify(state: string, env: NodeJS.ProcessEnv): void {
    try {
      notifyService(state, env);
    } catch (error) {
      this.#log(error instanceof Error ? error.message : String(error));
    }
  }

  #log(line: string): void {
    this.#options.log?.(line);
  }
}

function requireSocket(flags: Flags, env: NodeJS.ProcessEnv): string {
  const path = socketOf(flags, env);
  if (path !== undefined) return path;
  throw new LarderError('LARDER_FLAGS_INVALID', 'listen: there is no place for the socket', {
    hint: 'name one with --socket, or set XDG_RUNTIME_DIR',
  });
}

function denied(uid: number | undefined): LarderError {
  return new LarderError('LARDER_PERMISSION', `serve a request: user ${uid ?? 'unknown'} is not served`, {
    hint: 'only root and the daemon’s own user may use its socket, unless socket_group names others',
  });
}

/** A port that only this machine reaches. Browsers of this machine do, too: who names another host gets nothing. */
async function watchPort(api: Api, { host, port }: { host: string; port: number }): Promise<Server> {
  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, ...TIMEOUTS }, (request, response) => {
    const [, name = ''] = /^(.*?)(?::\d+)?$/.exec(request.headers.host ?? '') ?? [];
    const answer = async (): Promise<void> => {
      if (!['127.0.0.1', 'localhost', '[::1]'].includes(name)) throw new HttpRefusal(421, 'serve: not this host');
      if (!(await api.watch(request, response))) throw new HttpRefusal(404, 'serve: there is no such path');
    };
    answer().catch((error: unknown) => sendError(response, error, false));
    request.resume();
  });
  server.maxConnections = MAX_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(systemError(`listen at ${host}:${port}`, error)));
    server.listen(port, host, () => resolve(server));
  });
}

function closing(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
