import { type ErrorCode, LarderError, throwIfAborted } from '../errors.js';
import type { BlobGrant, BlobOutcome } from './blob.js';
import type { Slot, SlotKind } from './connections.js';
import { waitForTurn } from './hosts/host-pause.js';
import type { SentRequest } from './redact.js';
import type { RegistryHost } from './registry-host.js';
import { PATIENCE, type Patience, RetryBudget, rateLimitMs, reasonOf } from './retry.js';

interface CommonTarget {
  /** *what we were doing*: *to which thing*; opens every message. */
  readonly doing: string;
  readonly notFound: ErrorCode;
}

/** Something that the registry has, with its challenges answered and its redirects followed. */
export interface RegistryTarget extends CommonTarget {
  readonly kind: 'registry';
  readonly path: string;
  readonly scope: string;
  readonly accept?: string;
}

/** Something at a token server: sent as it is, and an answer other than 200 is final or tried again. */
export interface TokenTarget extends CommonTarget {
  readonly kind: 'token';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent by whoever follows the plan. */
  readonly body?: string | undefined;
}

/** Something of a server that is no registry: its redirects are followed, and nobody logs in. */
export interface PlainTarget extends CommonTarget {
  readonly kind: 'plain';
  readonly url: URL;
  readonly accept?: string;
}

type Target = RegistryTarget | TokenTarget | PlainTarget;

/** Says what to ask next, told what became of the last request. */
export interface Plan {
  next(previous: BlobOutcome | undefined, signal?: AbortSignal): Promise<BlobGrant>;
}

const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/**
 * Decides, request by request, how to get one thing: where to go, with which headers, after what pause. Told what
 * became of the last request, it logs in, follows, waits, or throws the error that ends it. It sends nothing itself,
 * so a worker thread's requests and the main thread's follow the same rules.
 */
export class RequestPlan implements Plan {
  readonly #host: RegistryHost;
  readonly #target: Target;
  readonly #origin: URL;
  readonly #budget: RetryBudget;
  readonly #patience: Patience;
  #url: URL;
  #redirects = 0;
  /** What no message may quote. */
  #shown: SentRequest | undefined;
  /** Authorization of the last request. */
  #sent: string | undefined;
  /** A login was made because of a 401, and nothing has shown yet that it works. */
  #unproven = false;
  /** Set once the chain of redirects has left the registry's origin; nothing is restored when it comes back. */
  #foreign = false;

  constructor(host: RegistryHost, target: Target, patience: Patience = PATIENCE) {
    this.#host = host;
    this.#target = target;
    this.#origin = target.kind === 'registry' ? new URL(target.path, host.url) : target.url;
    this.#url = this.#origin;
    this.#budget = new RetryBudget(target.doing, target.notFound, host.settings.backoffMs, patience);
    this.#patience = patience;
  }

  /** `host[:port]` where it begins. */
  get host(): string {
    return this.#host.name;
  }

  /** For whoever follows this plan alone: what holds the thing's connection until its body has ended. */
  slot(kind: SlotKind): Slot {
    return this.#host.settings.network.connections.slot(kind);
  }

  /** Permission for the next request. Rejects with the error that ends the attempt to get the thing. */
  async next(previous: BlobOutcome | undefined, signal?: AbortSignal): Promise<BlobGrant> {
    throwIfAborted(signal, this.#target.doing);
    const afterMs = previous === undefined ? 0 : await this.#react(previous, signal);
    const readyAtMs = performance.now() + afterMs;
    await this.#hostIsReady(signal);
    const headers = await this.#headers(signal);
    const body = this.#target.kind === 'token' ? this.#target.body : undefined;
    this.#shown = { url: this.#url, headers, body, logins: this.#host.auth.shown };
    return this.#host.grant(this.#url, headers, Math.max(0, readyAtMs - performance.now()));
  }

  /** What a host asked of one request goes for all of them. */
  #hostIsReady(signal: AbortSignal | undefined): Promise<void> {
    const { network, onEvent } = this.#host.settings;
    const { maxWaitMs } = this.#patience;
    return waitForTurn(network.health, this.#url.host, { doing: this.#target.doing, maxWaitMs, signal, onEvent });
  }

  async #react(previous: BlobOutcome, signal: AbortSignal | undefined): Promise<number> {
    const { kind } = this.#target;
    if (previous.kind === 'status' && kind !== 'token') {
      if (REDIRECTS.has(previous.status)) {
        // Only who was let in is sent on: what is refused after this is a login that has grown old.
        this.#unproven = false;
        return this.#follow(previous.headers['location']);
      }
      if (previous.status === 401 && kind === 'plain') throw this.#needsLogin();
      if (previous.status === 401 && !this.#foreign)
        return this.#logIn(previous.headers['www-authenticate'] ?? '', signal);
    }
    if (previous.kind === 'error' && previous.received > 0) this.#unproven = false;
    const afterMs = this.#waitFor(previous);
    this.#host.settings.onEvent?.({
      type: 'retry',
      what: this.#target.doing,
      reason: reasonOf(previous),
      attempt: this.#budget.attempt,
      afterMs,
    });
    // Signed addresses expire: every retry starts at the registry.
    this.#url = this.#origin;
    this.#foreign = false;
    this.#redirects = 0;
    return afterMs;
  }

  #waitFor(previous: BlobOutcome): number {
    const { network, onEvent } = this.#host.settings;
    const { host } = new URL(previous.url);
    network.health.pause(host, rateLimitMs(previous) ?? 0, onEvent);
    const afterMs = this.#budget.next(this.#foreign ? asForeign(previous) : previous, this.#shown);
    if (previous.kind === 'status' && previous.status === 429) network.health.pause(host, afterMs, onEvent);
    return afterMs;
  }

  async #logIn(challenge: string, signal: AbortSignal | undefined): Promise<number> {
    const { doing } = this.#target;
    const { auth } = this.#host;
    if (this.#unproven) throw await auth.refusal(this.#scope(), doing, signal);
    await auth.answer(challenge, this.#scope(), this.#sent, doing, signal);
    this.#unproven = true;
    return 0;
  }

  #needsLogin(): LarderError {
    const { host } = this.#url;
    return new LarderError('LARDER_REGISTRY_UNAUTHENTICATED', `${this.#target.doing}: ${host} wants a login`, {
      hint: 'it is asked without one; offer the image where no login is needed',
      details: { host, status: 401 },
    });
  }

  #follow(location: string | undefined): number {
    const from = this.#url;
    const refuse = (code: ErrorCode, why: string): LarderError =>
      new LarderError(code, `${this.#target.doing}: ${from.host} redirects ${why}`);
    if (++this.#redirects > MAX_REDIRECTS)
      throw refuse('LARDER_REGISTRY_UNAVAILABLE', `more than ${MAX_REDIRECTS} times`);
    if (location === undefined || location.length > 8192 || !URL.canParse(location, from.href)) {
      throw refuse('LARDER_REGISTRY_UNAVAILABLE', 'without saying where');
    }
    const to = new URL(location, from);
    if (to.protocol !== 'https:' && to.protocol !== 'http:') throw refuse('LARDER_POLICY_DENIED', `to ${to.protocol}`);
    if (from.protocol === 'https:' && to.protocol === 'http:') {
      throw refuse('LARDER_POLICY_DENIED', `from https to ${to.origin}`);
    }
    if (to.username !== '' || to.password !== '')
      throw refuse('LARDER_POLICY_DENIED', 'to a URL with user information');
    to.hash = '';
    if (to.origin !== this.#origin.origin) this.#foreign = true;
    this.#url = to;
    return 0;
  }

  /** Across origins nothing goes along but what is wanted. */
  async #headers(signal: AbortSignal | undefined): Promise<Readonly<Record<string, string>>> {
    const target = this.#target;
    if (target.kind === 'token') return target.headers;
    const accept = target.accept === undefined ? {} : { accept: target.accept };
    if (this.#foreign || target.kind === 'plain') return accept;
    this.#sent = await this.#host.auth.current(target.scope, signal);
    const own = { ...this.#host.server.headers, ...accept };
    return this.#sent === undefined ? own : { ...own, authorization: this.#sent };
  }

  #scope(): string {
    return this.#target.kind === 'registry' ? this.#target.scope : '';
  }
}

/** What a storage server says about logins is about the signed address, which a fresh redirect renews. */
function asForeign(outcome: BlobOutcome): BlobOutcome {
  if (outcome.kind !== 'status' || !(outcome.status === 401 || outcome.status === 403)) return outcome;
  const message = `the storage server answered ${outcome.status}`;
  return { kind: 'error', url: outcome.url, message, received: 0 };
}
