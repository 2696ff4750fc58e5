/**
 * What this process has come to know of hosts, whoever asked them: which did not answer lately, and which asked to be left
 * alone until when. Main thread only; every request is granted here.
 */

/** How long a host that failed is not asked where others can be; doubles with each failure in a row. */
const FIRST_REST_MS = 30_000;
const LONGEST_REST_MS = 5 * 60_000;
/** Nobody waits longer. Who is asked to is told so by an error, and may ask again when he thinks that it is time. */
const LONGEST_PAUSE_MS = 60_000;
/** Names come from images and settings; nobody fills the memory with them. */
const MAX_HOSTS = 10_000;

interface Health {
  failures: number;
  restsUntilMs: number;
  pausedUntilMs: number;
}

export class HostHealth {
  readonly #hosts = new Map<string, Health>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** It did not answer, or not usefully. */
  failed(host: string): void {
    const health = this.#of(host);
    const now = this.#now();
    // Who failed at something else at the same time has told the same thing.
    if (health.restsUntilMs > now) return;
    if (now - health.restsUntilMs > LONGEST_REST_MS) health.failures = 0;
    health.restsUntilMs = now + Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** health.failures);
    health.failures++;
  }

  isResting(host: string): boolean {
    return (this.#hosts.get(host)?.restsUntilMs ?? 0) > this.#now();
  }

  /** It asked not to be asked for so long; a minute at most counts. */
  pause(host: string, ms: number): void {
    if (ms > LONGEST_PAUSE_MS) return;
    const health = this.#of(host);
    health.pausedUntilMs = Math.max(health.pausedUntilMs, this.#now() + ms);
  }

  /** How long still. */
  pausedMs(host: string): number {
    return Math.max(0, (this.#hosts.get(host)?.pausedUntilMs ?? 0) - this.#now());
  }

  #of(host: string): Health {
    const known = this.#hosts.get(host);
    if (known !== undefined) return known;
    if (this.#hosts.size >= MAX_HOSTS) this.#hosts.clear();
    const health: Health = { failures: 0, restsUntilMs: Number.NEGATIVE_INFINITY, pausedUntilMs: 0 };
    this.#hosts.set(host, health);
    return health;
  }
}

/** The one of this process. */
export const HOST_HEALTH = new HostHealth();
