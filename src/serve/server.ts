/**
 * ▸ The store as a registry: OCI distribution-spec 1.1, pulls only, for the other container programs of this host. What is
 * here is served from here, what is not is fetched from its registry while it is served.
 *
 * Owns nothing on disk: documents go through the content store, downloads through its ingests (I1, I6). It believes
 * nobody: names are parsed, bytes proven, and who may have what the registries say (`access.ts`). Called by the command.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Assembly } from '../assemble.js';
import { Lazy } from '../concurrency.js';
import { isLarderError, systemError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { closeQueuedAnswers } from '../queued-answers.js';
import type { RegistryClient } from '../registry/registry-client.js';
import type { Digest } from '../spec/digest.js';
import { parseDockerRegistry } from '../spec/docker-registry.js';
import { formatPlatform, hostPlatform, parsePlatform } from '../spec/platform.js';
import type { Reference } from '../spec/reference.js';
import { diskSpace, requireFit } from '../store/docker/disk-need.js';
import { Access, type Caller, repositoryOf, requireServed } from './access.js';
import { SLOW_READER_MS, sendBlob, sendBlobHead, sendDocument, sendRefusal } from './answer.js';
import { Blobs } from './blobs.js';
import { BoundedMap } from './bounded-map.js';
import { Manifests } from './manifests.js';
import { answerOf, Refusal } from './refusal.js';
import { Repositories } from './repositories.js';
import { parseTarget, type Target } from './request-target.js';
import { Upstream } from './upstream.js';

export interface FaceOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0: any. */
  readonly port: number;
  /** Others than this machine may reach the address: whatever name they call it by. */
  readonly exposed?: boolean;
  /** Everybody gets what the store has and what its own logins reach. */
  readonly sharePrivate?: boolean;
  /** `host[:port]` of the registries that it stands for; none: all. */
  readonly upstreams?: readonly string[];
  readonly onEvent?: OnEvent;
  readonly slowReaderMs?: number;
}

const MAX_HEADER_BYTES = 16 * 1024;
const MAX_CONNECTIONS = 512;
const TIMEOUTS = { headersTimeout: 10_000, requestTimeout: 30_000, keepAliveTimeout: 15_000 } as const;
const MAX_CLIENTS = 32;
/** More of our kind, one behind the other, is a circle. */
const MAX_THROUGH = 8;
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

export class RegistryFace implements AsyncDisposable {
  readonly #assembly: Assembly;
  readonly #options: FaceOptions;
  readonly #server: Server;
  readonly #access: Access;
  readonly #manifests: Manifests;
  readonly #blobs: Blobs;
  /** So that a request that comes back to where it began is seen, also by way of others that are each other's mirrors. */
  readonly #userAgent = `larder-serve/${randomBytes(8).toString('hex')}`;
  /** By who logs in where. */
  readonly #clients = new BoundedMap<string, Lazy<RegistryClient>>(MAX_CLIENTS);
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();

  private constructor(assembly: Assembly, blobs: Blobs, repositories: Repositories, options: FaceOptions) {
    this.#assembly = assembly;
    this.#options = options;
    this.#blobs = blobs;
    this.#access = new Access({ grants: assembly.grants, sharePrivate: options.sharePrivate === true });
    const { content } = assembly;
    this.#manifests = new Manifests({ repositories, putBlob: (...blob) => content.put(...blob) });
    this.#server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, ...TIMEOUTS });
    this.#server.maxConnections = MAX_CONNECTIONS;
    closeQueuedAnswers(this.#server);
  }

  /** Serves as soon as it resolves. The caller closes the assembly after it. Rejects with LARDER_PERMISSION, LARDER_REQUEST_INVALID. */
  static async start(assembly: Assembly, options: FaceOptions): Promise<RegistryFace> {
    const { config, content, layout, metadata } = assembly;
    const { layers } = await assembly.working();
    const repositories = new Repositories({
      findBlob: (digest) => content.find(digest),
      recordsOf: (repository) => metadata.inRepository(repository),
      platform: formatPlatform(config.platform === undefined ? hostPlatform() : parsePlatform(config.platform)),
    });
    const isUncompressed = async (reference: Reference, digest: Digest): Promise<boolean> => {
      const all = metadata.inRepository(repositoryOf(reference)).flatMap((record) => record.layers);
      const layer = all.find((each) => each.digest === digest);
      return layer !== undefined && (await layers.has(layer.diffId));
    };
    const { keepBlobs, maxLayerBytes: maxBytes, reservedDiskBytes } = config;
    const requireSpace = async (atLeastBytes: number, doing: string): Promise<void> =>
      requireFit({ atLeastBytes }, await diskSpace(layout.root, reservedDiskBytes), doing);
    const blobs = new Blobs({ repositories, content, layers, isUncompressed, requireSpace, keepBlobs, maxBytes });
    const face = new RegistryFace(assembly, blobs, repositories, options);
    await face.#listen();
    return face;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends it: nothing new is accepted, what is being served may take `graceMs`. Idempotent. */
  async stop(graceMs: number): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeIdleConnections();
    const late = setTimeout(() => this.#cut(), graceMs);
    await closed;
    clearTimeout(late);
    this.#cut();
    await Promise.all(this.#running);
    await this.#blobs.idle();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop(0);
  }

  #cut(): void {
    this.#stop.abort();
    this.#server.closeAllConnections();
  }

  #listen(): Promise<void> {
    const { host = '127.0.0.1', port } = this.#options;
    this.#server.on('request', (request, response) => {
      const running = this.#serve(request, response).finally(() => this.#running.delete(running));
      this.#running.add(running);
    });
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(systemError(`listen at ${host}:${port}`, error)));
      this.#server.listen(port, host, () => resolve());
    });
  }

  /** Never rejects. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    response.on('error', () => {});
    response.setHeader('docker-distribution-api-version', 'registry/2.0');
    const signal = AbortSignal.any([gone.signal, this.#stop.signal]);
    let realm = 'larder';
    let failure: unknown;
    try {
      this.#refuseStrangers(request);
      const target = parseTarget(request.method ?? '', request.url ?? '');
      if (target.kind !== 'base') realm = repositoryOf(target.reference);
      await this.#answer(target, request, response, signal);
    } catch (error) {
      failure = error;
      if (response.headersSent) response.destroy();
      else if (!response.destroyed) sendRefusal(request, response, answerOf(error, realm));
    }
    request.resume();
    this.#tell(request, response, failure);
  }

  async #answer(target: Target, request: IncomingMessage, response: ServerResponse, signal: AbortSignal) {
    if (target.kind === 'base') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 2 });
      response.end(request.method === 'HEAD' ? undefined : '{}');
      return;
    }
    const { reference } = target;
    requireServed(reference, this.#options.upstreams ?? []);
    this.#refuseSelf(reference);
    const caller = this.#access.callerOf(request.headers.authorization);
    const upstream = this.#upstreamFor(caller, reference, cameThrough(request));
    try {
      await this.#access.admit(caller, reference, target.kind === 'blob' ? target.digest : undefined, upstream, {
        signal,
      });
      if (target.kind === 'manifest') {
        sendDocument(request, response, await this.#manifests.get(reference, upstream, signal));
        return;
      }
      const wanted = await this.#blobs.describe(reference, target.digest, upstream, signal);
      if (sendBlobHead(request, response, wanted)) return;
      await using blob = await this.#blobs.open(reference, wanted, upstream, signal);
      await sendBlob(request, response, blob, this.#options.slowReaderMs ?? SLOW_READER_MS);
    } catch (error) {
      await this.#access.refused(caller, reference, error);
      throw error;
    }
  }

  #upstreamFor(caller: Caller, reference: Reference, through: readonly string[]): Upstream {
    const { dockerRegistry, offline } = this.#assembly.config;
    const setting = parseDockerRegistry(dockerRegistry);
    const isArchives = setting !== undefined && setting.kind !== 'registry';
    const defaultRegistry = setting?.kind === 'registry' ? setting.host : undefined;
    return new Upstream({
      client: offline || isArchives ? undefined : this.#clientFor(caller, reference, through),
      defaultRegistry,
    });
  }

  /** One for all who have no login; else one for each login and repository. And for each way that requests come. */
  #clientFor(caller: Caller, reference: Reference, through: readonly string[]): Lazy<RegistryClient> {
    const userAgent = [this.#userAgent, ...through].join(' ');
    const key = caller.id === '' ? userAgent : `${caller.id} ${repositoryOf(reference)} ${userAgent}`;
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    const login = this.#access.loginFor(caller, reference);
    const options = { userAgent, without: (host: string) => this.#isSelf(host) };
    const onEvent: OnEvent = (event) => this.#options.onEvent?.(event);
    const client = new Lazy(() => this.#assembly.registryClient(login, onEvent, options));
    this.#clients.set(key, client);
    return client;
  }

  /** Browsers of this machine reach the loopback, too: what they were told is another host gets nothing. */
  #refuseStrangers(request: IncomingMessage): void {
    const { headers } = request;
    const { exposed = false, host = '127.0.0.1' } = this.#options;
    const [, name = ''] = /^(.*?)(?::\d+)?$/.exec((headers.host ?? '').toLowerCase()) ?? [];
    if (!exposed && ![...LOOPBACK, host, `[${host}]`].includes(name))
      throw new Refusal(421, 'DENIED', 'serve: this is not that host');
    const through = cameThrough(request);
    if (through.includes(this.#userAgent) || through.length > MAX_THROUGH)
      throw new Refusal(508, 'DENIED', 'serve: the registry is this one');
  }

  #refuseSelf({ domain }: Reference): void {
    if (this.#isSelf(domain)) throw new Refusal(400, 'NAME_INVALID', `serve ${domain}: the registry is this one`);
  }

  /** Also what the host's own files for other programs say is a mirror: this is where they come to. */
  #isSelf(host: string): boolean {
    const { host: own = '127.0.0.1' } = this.#options;
    return [...LOOPBACK, own, `[${own}]`].some((name) => host === `${name}:${this.port}`);
  }

  #tell(request: IncomingMessage, response: ServerResponse, failure: unknown): void {
    const { onEvent } = this.#options;
    const what = `${request.method} ${(request.url ?? '').slice(0, 300)} ${response.statusCode}`;
    const why = failure === undefined ? '' : `: ${failure instanceof Error ? failure.message : String(failure)}`;
    onEvent?.({ type: 'debug', scope: 'serve', message: `${what}${why}` });
    const isOurs = failure !== undefined && !(isLarderError(failure) && failure.kind !== 'internal');
    if (isOurs && !request.destroyed) onEvent?.({ type: 'warning', message: `serve ${what}${why}` });
  }
}

/** Which others of our kind it has come through, the last one first. */
function cameThrough({ headers }: IncomingMessage): readonly string[] {
  return (headers['user-agent'] ?? '').match(/\blarder-serve\/[0-9a-f]{16}\b/g) ?? [];
}
