import { type ErrorCode, isLarderError, LarderError } from '../errors.js';
import type { OnEvent } from '../events.js';
import type { BlobGrant, BlobOutcome } from './blob.js';
import type { Slot } from './connections.js';
import type { Endpoint } from './hosts/endpoint.js';
import type { HostHealth } from './hosts/host-health.js';
import { waitForPause } from './hosts/host-pause.js';
import type { RegistryHost } from './registry-host.js';
import { type Plan, type RegistryTarget, RequestPlan } from './request-plan.js';
import { MIRROR_PATIENCE, PATIENCE } from './retry.js';

export interface MirrorPlanSettings {
  /** *what we were doing*: *to which thing*. */
  readonly doing: string;
  /** Best first. */
  readonly endpoints: readonly Endpoint[];
  readonly open: (endpoint: Endpoint, signal: AbortSignal | undefined) => Promise<RegistryHost>;
  readonly targetAt: (endpoint: Endpoint) => RegistryTarget;
  readonly health: HostHealth;
  /** Whoever made it gives it back. Left out: nobody counts the connection. */
  readonly slot: Slot | undefined;
  readonly onEvent: OnEvent | undefined;
}

/** What says something about the host rather than about the thing. */
const UNAVAILABLE: readonly ErrorCode[] = [
  'LARDER_REGISTRY_UNAVAILABLE',
  'LARDER_TIMEOUT',
  'LARDER_REGISTRY_RATE_LIMITED',
];

/** What a mirror may be passed over for: what another host may have, or have right. The rest is ours or the image's. */
const PASSABLE: readonly ErrorCode[] = [
  ...UNAVAILABLE,
  'LARDER_IMAGE_NOT_FOUND',
  'LARDER_BLOB_NOT_FOUND',
  'LARDER_REGISTRY_UNAUTHENTICATED',
  'LARDER_REGISTRY_DENIED',
  'LARDER_POLICY_DENIED',
  'LARDER_MANIFEST_INVALID',
  'LARDER_MEDIA_TYPE_UNSUPPORTED',
  'LARDER_DIGEST_MISMATCH',
  'LARDER_SIZE_MISMATCH',
  'LARDER_DIFF_ID_MISMATCH',
  'LARDER_LAYER_INVALID',
  'LARDER_LAYER_CORRUPT',
  'LARDER_ENTRY_UNSUPPORTED',
];

/**
 * One thing that several hosts may have: the plan of one of them after the other, until one gives it. Each is asked with
 * its own credentials. A host that did not answer rests, and is asked after all others until it has.
 */
export class MirrorPlan implements Plan {
  readonly #settings: MirrorPlanSettings;
  /** The current one and those that can still be asked. */
  readonly #left: Endpoint[];
  /** Who was passed over, and why. */
  readonly #passed: string[] = [];
  #plan: RequestPlan | undefined;

  constructor(settings: MirrorPlanSettings) {
    this.#settings = settings;
    this.#left = [...settings.endpoints];
  }

  async next(previous: BlobOutcome | undefined, signal?: AbortSignal): Promise<BlobGrant> {
    let told = previous;
    // Who begins anew begins at the registry, not at the end of an old redirect.
    if (told === undefined) this.#plan = undefined;
    for (;;) {
      try {
        this.#plan ??= await this.#begin(signal);
        return await this.#plan.next(told, signal);
      } catch (error) {
        if (!this.passOver(error)) throw this.#explained(error);
        told = undefined;
      }
    }
  }

  /** What came from the current host was wrong, or did not come: true when another can be asked, which is the next. */
  passOver(error: unknown): boolean {
    const [current, next] = this.#left;
    if (current === undefined || next === undefined || !isLarderError(error) || !mayPass(error, current)) return false;
    const { host } = current.server;
    const { health, onEvent } = this.#settings;
    if (isLarderError(error, 'LARDER_REGISTRY_UNAVAILABLE', 'LARDER_TIMEOUT')) health.failed(host, onEvent);
    const reason = withoutPrefix(error.message, this.#settings.doing);
    this.#passed.push(`${host}: ${reason}`);
    this.#left.shift();
    this.#plan = undefined;
    onEvent?.({
      type: 'mirror',
      what: this.#settings.doing,
      host: next.server.host,
      insteadOf: host,
      reason,
    });
    return true;
  }

  /** Who is asked next, or now. */
  get host(): string {
    return this.#choose().server.host;
  }

  /** For another request for the same thing at the same time, at the host that is asked now. */
  async beside(signal: AbortSignal | undefined): Promise<Plan> {
    const endpoint = this.#choose();
    const { open, targetAt } = this.#settings;
    return new RequestPlan(await open(endpoint, signal), targetAt(endpoint), MIRROR_PATIENCE);
  }

  async #begin(signal: AbortSignal | undefined): Promise<RequestPlan> {
    const endpoint = this.#choose();
    const { open, targetAt, doing, health, slot, onEvent } = this.#settings;
    if (endpoint.isMirror && this.#passed.length === 0)
      onEvent?.({ type: 'mirror', what: doing, host: endpoint.server.host });
    const patience = this.#left.length === 1 ? PATIENCE : MIRROR_PATIENCE;
    const { host } = endpoint.server;
    await waitForPause(health, host, { doing, maxWaitMs: patience.maxWaitMs, signal, onEvent });
    await slot?.at(host, signal);
    return new RequestPlan(await open(endpoint, signal), targetAt(endpoint), patience);
  }

  /** The next that does not rest, if there is one; those that do keep their order. */
  #choose(): Endpoint {
    const left = this.#left;
    const resting = new Set(left.filter((each) => this.#rests(each)));
    if (resting.size < left.length)
      left.splice(0, left.length, ...left.filter((each) => !resting.has(each)), ...resting);
    const [endpoint] = left;
    if (endpoint !== undefined) return endpoint;
    throw new LarderError('LARDER_REGISTRY_UNAVAILABLE', `${this.#settings.doing}: no host may be asked for it`, {
      hint: 'see the capabilities in hosts.toml',
    });
  }

  /** Registries are asked whatever they did before: what a mirror has, they may have changed. */
  #rests({ server, isMirror }: Endpoint): boolean {
    return isMirror && this.#settings.health.isResting(server.host);
  }

  /** The last host's error, with what became of the others. */
  #explained(error: unknown): unknown {
    if (this.#passed.length === 0 || !isLarderError(error)) return error;
    const { code, message, hint, details } = error;
    return new LarderError(code, `${message} (before that, ${this.#passed.join('; ')})`, {
      ...(hint === undefined ? {} : { hint }),
      details,
      cause: error,
    });
  }
}

/** A mirror's word ends nothing; the registry's own does, when there is one. */
function mayPass(error: LarderError, { isMirror }: Endpoint): boolean {
  return (isMirror ? PASSABLE : UNAVAILABLE).includes(error.code);
}

function withoutPrefix(message: string, doing: string): string {
  return message.startsWith(`${doing}: `) ? message.slice(doing.length + 2) : message;
}
