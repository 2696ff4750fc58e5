/**
 * ▸ A store behind a daemon's socket, for programs: the methods of `Provisioner` that callers need, and those of
 * `Larder` that need no files of the store. Errors have the codes that the daemon's store gave them; progress comes as
 * the same events. Loads nothing of a store, so it starts fast.
 *
 *     const client = new DaemonClient('/run/larder/larder.sock');
 *     const { rootfs } = await client.provision('c1', { type: 'docker', name: 'alpine:3.20' });
 *     await client.destroy('c1');
 */
import { randomUUID } from 'node:crypto';
import type { Finding } from '../check.js';
import { abortedError } from '../errors.js';
import type { LarderEvent, OperationOptions } from '../events.js';
import type {
  ImageSummary,
  PlanRequest,
  PruneImagesRequest,
  PruneReport,
  PullRequest,
  RemoveRequest,
  RollbackRequest,
  StoreInfo,
} from '../larder.js';
import type { ClaimRecord } from '../metadata/records.js';
import type { ProvisionInfo, ProvisionRequest, PruneRequest, VolumesInfo } from '../provisioner.js';
import type { Image } from '../spec/image.js';
import { absoluteImageName } from '../spec/image-name.js';
import type { PullPlan } from '../store/docker/pull-plan.js';
import type { TagEntry } from '../store/docker/tag-history.js';
import type { RunningPull } from '../store/pulls/running-pulls.js';
import { ask, follow } from './exchange.js';
import { type DaemonFacts, OPERATION_HEADER, type PulledSummary } from './wire.js';

export type { DaemonFacts, PulledSummary } from './wire.js';

/** How long a cancelled operation may take to undo what it began before its client stops waiting for that. */
const UNDO_MS = 10_000;

export class DaemonClient {
  readonly socket: string;

  constructor(socket: string) {
    this.socket = socket;
  }

  /** What daemon this is. Rejects with LARDER_DAEMON_UNREACHABLE when nobody answers. */
  async facts(): Promise<DaemonFacts> {
    return (await this.#get('/v1/daemon')) as DaemonFacts;
  }

  /** As `Provisioner.provision`. */
  async provision(id: string, image: Image, request: ProvisionRequest = {}): Promise<ProvisionInfo> {
    return (await this.#post('/v1/provision', { id, image, ...membersOf(request) }, request)) as ProvisionInfo;
  }

  /** As `Provisioner.provisionVolumes`. */
  async provisionVolumes(id: string, request: ProvisionRequest): Promise<VolumesInfo> {
    return (await this.#post('/v1/provision', { id, ...membersOf(request) }, request)) as VolumesInfo;
  }

  /** As `Larder.provision`: the image as people write it. */
  async provisionReference(
    reference: string,
    request: ProvisionRequest & PlanRequest & { readonly id: string },
  ): Promise<ProvisionInfo> {
    return (await this.#post(
      '/v1/provision',
      { reference: here(reference), ...membersOf(request) },
      request,
    )) as ProvisionInfo;
  }

  async destroy(id: string, options: OperationOptions = {}): Promise<boolean> {
    return (await this.#post('/v1/destroy', { id }, options)) as boolean;
  }

  async recover(known: readonly string[], options: OperationOptions = {}): Promise<void> {
    await this.#post('/v1/recover', { known }, options);
  }

  async pruneImages(excludedImages: readonly Image[], request: PruneRequest = {}): Promise<void> {
    const { onMarked: _, ...rest } = request;
    await this.#post('/v1/prune-images', { excluded: excludedImages, ...membersOf(rest) }, request);
  }

  async list(): Promise<readonly ClaimRecord[]> {
    return (await this.#get('/v1/containers')) as readonly ClaimRecord[];
  }

  /** Rejects with LARDER_CONTAINER_NOT_FOUND. */
  async claimOf(id: string): Promise<ClaimRecord> {
    return (await this.#get(`/v1/containers/${id.split('/').map(encodeURIComponent).join('/')}`)) as ClaimRecord;
  }

  /** Fetches the image when it is not there. Nothing holds it afterwards. */
  async pull(reference: string, request: PullRequest = {}): Promise<PulledSummary> {
    return (await this.#post(
      '/v1/pull',
      { reference: here(reference), ...membersOf(request) },
      request,
    )) as PulledSummary;
  }

  /** As `Larder.plan`. */
  async plan(reference: string, request: PlanRequest = {}): Promise<PullPlan> {
    return (await this.#post('/v1/plan', { reference: here(reference), ...membersOf(request) }, request)) as PullPlan;
  }

  /** As `Larder.history`. */
  async history(
    reference: string,
    request: { readonly platform?: string } & OperationOptions = {},
  ): Promise<readonly TagEntry[]> {
    const body = { reference: here(reference), ...membersOf(request) };
    return (await this.#post('/v1/history', body, request)) as readonly TagEntry[];
  }

  /** As `Larder.rollback`. Nothing holds the image afterwards. */
  async rollback(reference: string, request: RollbackRequest = {}): Promise<PulledSummary> {
    const body = { reference: here(reference), ...membersOf(request) };
    return (await this.#post('/v1/rollback', body, request)) as PulledSummary;
  }

  /** As `Larder.pulls`. */
  async pulls(): Promise<readonly RunningPull[]> {
    return (await this.#get('/v1/pulls')) as readonly RunningPull[];
  }

  /** As `Larder.attach`. */
  async *attach(
    pull: string,
    { signal }: Pick<OperationOptions, 'signal'> = {},
  ): AsyncGenerator<LarderEvent, void, undefined> {
    const { eventsOf } = await import('../event-stream.js');
    yield* eventsOf((onEvent, stop) => {
      const either = signal === undefined ? stop : AbortSignal.any([signal, stop]);
      return this.#post('/v1/attach', { pull: here(pull) }, { onEvent, signal: either });
    });
  }

  async images(): Promise<readonly ImageSummary[]> {
    return (await this.#get('/v1/images')) as readonly ImageSummary[];
  }

  async containers(): Promise<readonly ClaimRecord[]> {
    return this.list();
  }

  async remove(reference: string, request: RemoveRequest = {}): Promise<PruneReport> {
    return (await this.#post(
      '/v1/remove',
      { reference: here(reference), ...membersOf(request) },
      request,
    )) as PruneReport;
  }

  async prune(request: PruneImagesRequest = {}): Promise<PruneReport> {
    const exclude = request.exclude?.map(here);
    const members = { ...membersOf(request), ...(exclude === undefined ? {} : { exclude }) };
    return (await this.#post('/v1/prune', members, request)) as PruneReport;
  }

  async check(options: { readonly deep?: boolean } & OperationOptions = {}): Promise<readonly Finding[]> {
    return (await this.#post('/v1/check', membersOf(options), options)) as readonly Finding[];
  }

  async info(): Promise<StoreInfo> {
    return (await this.#get('/v1/info')) as StoreInfo;
  }

  #get(path: string): Promise<unknown> {
    return ask(this.socket, 'GET', path);
  }

  /**
   * A long operation. When its signal fires, the daemon is told to cancel it, and what it says then is the outcome: as
   * here, whoever cancels finds everything undone.
   */
  async #post(path: string, body: object, { signal, onEvent }: OperationOptions): Promise<unknown> {
    if (signal?.aborted === true) throw abortedError(`ask the daemon for ${path}`, signal);
    const id = randomUUID();
    const hangUp = new AbortController();
    let late: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      late = setTimeout(() => hangUp.abort(), UNDO_MS);
      // Should that fail, hanging up has the same effect.
      ask(this.socket, 'DELETE', `/v1/operations/${id}`).catch(() => hangUp.abort());
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await follow(this.socket, path, body, { [OPERATION_HEADER]: id }, hangUp.signal, (event) =>
        onEvent?.(event),
      );
    } catch (error) {
      if (hangUp.signal.aborted) throw abortedError(`ask the daemon for ${path}`, signal);
      throw error;
    } finally {
      clearTimeout(late);
      signal?.removeEventListener('abort', onAbort);
    }
  }
}

/** Archives beside the caller are not beside the daemon. */
function here(reference: string): string {
  return absoluteImageName(reference, process.cwd());
}

/** What goes over the wire of a request: all but what only has a meaning here. */
function membersOf<T extends OperationOptions>({ signal: _, onEvent: __, ...members }: T): object {
  return members;
}
