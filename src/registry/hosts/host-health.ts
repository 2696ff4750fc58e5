/**
 * What is known of hosts, whoever asked them: which did not answer lately, and which asked to be left alone until when.
 * Of this process, and with {@link SharedHosts} of all that use the store. Main thread only; every request is granted
 * here.
 */
import { errnoOf } from '../../errors.js';
import type { OnEvent } from '../../events.js';
import type { SharedHealth, SharedHosts } from './shared-hosts.js';

/** How long a host that failed is not asked where others can be; doubles with each failure in a row. */
const FIRST_REST_MS = 30_000;
const LONGEST_REST_MS = 5 * 60_000;
/** Nobody waits longer. Who is asked to is told so by an error, and may ask again when he thinks that it is time. */
const LONGEST_PAUSE_MS = 60_000;
/** Names come from images and settings; nobody fills the memory with them. */
const MAX_HOSTS = 10_000;
/** What is said again within this is not worth a file. */
const WORTH_TELLING_MS = 50;

/** Those who waited for a pause to end do not come together: the first a little after it, each other so much later. */
const MAX_DELAY_MS = 3000;
const FIRST_GAP_MS = 100;
const LONGEST_GAP_MS = 2000;
/** The gap doubles with each further pause, and grows smaller with each request that was not answered so. */
const GAP_SHRINKS = 0.95;
const SMALLEST_GAP_MS = 20;

interface Health {
  failures: number;
  restsUntilMs: number;
  pausedUntilMs: number;
  /** Between two requests; 0: they may come as they like. */
  gapMs: number;
  nextTurnMs: number;
}

export interface Clocks {
  /** Never jumps: what this process counts with. */
  readonly now: () => number;
  /** The one that all processes have in common, which may jump. */
  readonly wall: () => number;
}

const CLOCKS: Clocks = { now: () => performance.now(), wall: () => Date.now() };

export class HostHealth {
  readonly #hosts = new Map<string, Health>();
  readonly #shared: SharedHosts | undefined;
  readonly #clocks: Clocks;
  #isTold = false;

  constructor(shared?: SharedHosts, clocks: Clocks = CLOCKS) {
    this.#shared = shared;
    this.#clocks = clocks;
  }

  /** It did not answer, or not usefully. */
  failed(host: string, onEvent?: OnEvent): void {
    const health = this.#known(host) ?? this.#add(host);
    const now = this.#clocks.now();
    // Who failed at something else at the same time has told the same thing.
    if (health.restsUntilMs > now) return;
    if (now - health.restsUntilMs > LONGEST_REST_MS) health.failures = 0;
    health.restsUntilMs = now + Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** health.failures);
    health.failures++;
    this.#share(host, health, onEvent);
  }

  isResting(host: string): boolean {
    return (this.#known(host)?.restsUntilMs ?? 0) > this.#clocks.now();
  }

  /** It asked not to be asked for so long; what is more than a minute does not count. */
  pause(host: string, ms: number, onEvent?: OnEvent): void {
    if (ms <= 0 || ms > LONGEST_PAUSE_MS) return;
    const health = this.#known(host) ?? this.#add(host);
    if (this.#setPause(health, this.#clocks.now() + ms)) this.#share(host, health, onEvent);
  }

  /** How long still. */
  pausedMs(host: string): number {
    return Math.max(0, (this.#known(host)?.pausedUntilMs ?? 0) - this.#clocks.now());
  }

  /** How long until it is the caller's turn after a pause, which it then has; 0: nobody need wait. */
  takeTurn(host: string): number {
    const health = this.#hosts.get(host);
    if (health === undefined || health.gapMs === 0) return 0;
    const now = this.#clocks.now();
    const turnMs = Math.max(now, health.nextTurnMs);
    health.nextTurnMs = turnMs + health.gapMs * (0.5 + Math.random());
    health.gapMs = health.gapMs < SMALLEST_GAP_MS ? 0 : health.gapMs * GAP_SHRINKS;
    return Math.ceil(turnMs - now);
  }

  /** Whether that is news. */
  #setPause(health: Health, untilMs: number): boolean {
    const now = this.#clocks.now();
    if (untilMs <= Math.max(now, health.pausedUntilMs + WORTH_TELLING_MS)) return false;
    // Those who were on the way when it was asked for are told the same.
    if (health.pausedUntilMs <= now) health.gapMs = Math.min(LONGEST_GAP_MS, Math.max(FIRST_GAP_MS, health.gapMs * 2));
    health.pausedUntilMs = untilMs;
    health.nextTurnMs = untilMs + Math.random() * Math.min(MAX_DELAY_MS, (untilMs - now) / 4);
    return true;
  }

  /** With what the other processes have said by now. */
  #known(host: string): Health | undefined {
    const said = this.#shared?.read(host);
    const own = this.#hosts.get(host);
    if (said === undefined) return own;
    const health = own ?? this.#add(host);
    health.restsUntilMs = Math.max(health.restsUntilMs, this.#instant(said.restsUntil, LONGEST_REST_MS));
    this.#setPause(health, this.#instant(said.pausedUntil, LONGEST_PAUSE_MS));
    health.failures = Math.max(health.failures, said.failures);
    return health;
  }

  /** On our own clock. What lies further ahead than anybody says was said before the clock was set back, and is over. */
  #instant(wall: number, longestMs: number): number {
    const ahead = wall - this.#clocks.wall();
    return ahead > longestMs ? Number.NEGATIVE_INFINITY : this.#clocks.now() + ahead;
  }

  #share(host: string, health: Health, onEvent: OnEvent | undefined): void {
    if (this.#shared === undefined) return;
    const { failures, restsUntilMs, pausedUntilMs } = health;
    const said: SharedHealth = {
      failures,
      restsUntil: this.#wall(restsUntilMs),
      pausedUntil: this.#wall(pausedUntilMs),
    };
    try {
      this.#shared.write(host, said);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined) throw error;
      if (!this.#isTold) onEvent?.({ type: 'warning', message: `tell other processes about ${host}: ${errno}` });
      this.#isTold = true;
    }
  }

  #wall(ms: number): number {
    return Math.max(0, Math.round(this.#clocks.wall() + Math.max(ms - this.#clocks.now(), -LONGEST_REST_MS)));
  }

  #add(host: string): Health {
    if (this.#hosts.size >= MAX_HOSTS) this.#hosts.clear();
    const health = {
      failures: 0,
      restsUntilMs: Number.NEGATIVE_INFINITY,
      pausedUntilMs: Number.NEGATIVE_INFINITY,
      gapMs: 0,
      nextTurnMs: Number.NEGATIVE_INFINITY,
    };
    this.#hosts.set(host, health);
    return health;
  }
}
