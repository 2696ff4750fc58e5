/** ▸ The face of a store that a daemon has open, as commands use it; and whether there is such a daemon. */
import { lstatSync, realpathSync } from 'node:fs';
import type { Finding } from '../check.js';
import { configOf, type Flags } from '../config.js';
import { isLarderError } from '../errors.js';
import type { LarderEvent, OnEvent, OperationOptions } from '../events.js';
import type {
  ImageOverview,
  ImageSummary,
  PlanRequest,
  PruneImagesRequest,
  PruneReport,
  PullRequest,
  RemoveRequest,
  RollbackRequest,
  StoreInfo,
} from '../larder.js';
import type { LarderApi, PulledFacts } from '../larder-api.js';
import type { ClaimRecord } from '../metadata/records.js';
import type { ProvisionInfo, ProvisionRequest, VolumeRequest } from '../provisioner.js';
import type { PullPlan } from '../store/docker/pull-plan.js';
import type { TagEntry } from '../store/docker/tag-history.js';
import type { RunningPull } from '../store/pulls/running-pulls.js';
import { DaemonClient, type DaemonFacts } from './client.js';
import { socketOf } from './default-socket.js';
import { difference } from './settings.js';

/**
 * The store that `flags` name, behind the daemon that has it, or undefined: when there is no daemon, when it has another
 * store, or when a setting was given that it does not share, which would have no effect there. `onPassed` is told why
 * a daemon that is there is not used.
 */
export async function findDaemon(flags: Flags, onPassed: (why: string) => void): Promise<RemoteLarder | undefined> {
  const socket = socketOf(flags);
  if (socket === undefined || lstatSync(socket, { throwIfNoEntry: false })?.isSocket() !== true) return undefined;
  const client = new DaemonClient(socket);
  try {
    const facts = await client.facts();
    const why = difference(flags, realRoot(configOf(flags).root), facts);
    if (why === undefined) return new RemoteLarder(client, facts, flags);
    onPassed(`the daemon at ${socket} is not asked: ${why}`);
  } catch (error) {
    if (!isLarderError(error, 'LARDER_DAEMON_UNREACHABLE', 'LARDER_PERMISSION', 'LARDER_REQUEST_INVALID')) throw error;
    onPassed(error.message);
  }
  return undefined;
}

/** As the daemon names it; a store that does not exist yet is no daemon's. */
function realRoot(root: string): string {
  try {
    return realpathSync(root);
  } catch {
    // Whatever is wrong with it is said when it is opened.
    return root;
  }
}

export class RemoteLarder implements LarderApi {
  readonly root: string;
  readonly #client: DaemonClient;
  readonly #platform: { readonly platform?: string };
  readonly #flags: Flags;
  /** The daemon asks who its caller is at the registry. */
  readonly #ownLogins: boolean;

  constructor(client: DaemonClient, { root, ownLogins = false }: DaemonFacts, flags: Flags) {
    this.root = root;
    this.#client = client;
    this.#platform = flags.platform === undefined ? {} : { platform: flags.platform };
    this.#flags = flags;
    this.#ownLogins = ownLogins;
  }

  async pull(reference: string, request: PullRequest = {}): Promise<PulledFacts> {
    const own = await this.#withLogin(reference, request, request.onEvent);
    const { record, info } = await this.#client.pull(reference, { ...this.#platform, ...own });
    return { record, info, [Symbol.asyncDispose]: async () => {} };
  }

  pulls(): Promise<readonly RunningPull[]> {
    return this.#client.pulls();
  }

  attach(pull: string, options: Pick<OperationOptions, 'signal'> = {}): AsyncIterable<LarderEvent> {
    return this.#client.attach(pull, options);
  }

  plan(reference: string, request: PlanRequest = {}): Promise<PullPlan> {
    return this.#client.plan(reference, { ...this.#platform, ...request });
  }

  history(reference: string, request: { readonly platform?: string } = {}): Promise<readonly TagEntry[]> {
    return this.#client.history(reference, request);
  }

  async rollback(reference: string, request: RollbackRequest = {}): Promise<PulledFacts> {
    const { record, info } = await this.#client.rollback(reference, { ...this.#platform, ...request });
    return { record, info, [Symbol.asyncDispose]: async () => {} };
  }

  images(): Promise<readonly ImageSummary[]> {
    return this.#client.images();
  }

  async overview(): Promise<readonly ImageOverview[]> {
    const { imageIdOf } = await import('../metadata/records.js');
    return (await this.images()).map((image) => ({
      ...image,
      imageId: imageIdOf(image),
      pinned: image.pinned === true,
      layers: image.layers.length,
    }));
  }

  async provision(
    reference: string,
    request: ProvisionRequest & PlanRequest & { readonly id: string },
  ): Promise<ProvisionInfo> {
    const own = await this.#withLogins(reference, request);
    return this.#client.provisionReference(reference, { ...this.#platform, ...own });
  }

  destroy(id: string, options: OperationOptions = {}): Promise<boolean> {
    return this.#client.destroy(id, options);
  }

  recover(known: readonly string[], options: OperationOptions = {}): Promise<void> {
    return this.#client.recover(known, options);
  }

  containers(): Promise<readonly ClaimRecord[]> {
    return this.#client.containers();
  }

  remove(reference: string, request: RemoveRequest = {}): Promise<PruneReport> {
    return this.#client.remove(reference, request);
  }

  prune(request: PruneImagesRequest = {}): Promise<PruneReport> {
    return this.#client.prune(request);
  }

  async *check(options: { readonly deep?: boolean } & OperationOptions = {}): AsyncGenerator<Finding, void, undefined> {
    yield* await this.#client.check(options);
  }

  info(): Promise<StoreInfo> {
    return this.#client.info();
  }

  /** As without a daemon, a credential helper that fails is a reason to go on without a login. */
  async #withLogin<R extends Pick<PullRequest, 'config'>>(
    reference: string,
    request: R,
    onEvent: OnEvent | undefined,
  ): Promise<R> {
    if (!this.#ownLogins || request.config !== undefined) return request;
    const { ownLogin } = await import('./own-login.js');
    try {
      const config = await ownLogin(reference, this.#flags);
      return config === undefined ? request : { ...request, config };
    } catch (error) {
      if (!isLarderError(error, 'LARDER_REGISTRY_UNAUTHENTICATED')) throw error;
      onEvent?.({ type: 'warning', message: `${error.message}; going on without a login` });
      return request;
    }
  }

  async #withLogins<R extends ProvisionRequest & PlanRequest>(reference: string, request: R): Promise<R> {
    const own = await this.#withLogin(reference, request, request.onEvent);
    if (!this.#ownLogins || own.volumes === undefined) return own;
    const volumes: VolumeRequest[] = [];
    for (const { image, ...volume } of own.volumes) {
      const theirs = image.type === 'docker' ? await this.#withLogin(image.name, image, own.onEvent) : image;
      volumes.push({ ...volume, image: theirs });
    }
    return { ...own, volumes };
  }

  /** The daemon goes on. */
  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
