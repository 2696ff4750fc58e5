/** No shorter: a rate says nothing before the buffers on the way are full. */
const TURN_MS = 700;
/** Less of the time than this spent waiting for bytes: something else is what takes the time. */
const WAITING_SHARE = 0.6;
/** What is over sooner is not worth a connection more. */
const WORTH_MS = 2000;
/** Nor is what is smaller: a process that is killed loses what its further connections have fetched ahead. */
const WORTH_BYTES = 32 << 20;
/** Twice the connections bring less than this: they share one line, and the fewer do as well. */
const GAIN = 1.25;
/** So many turns nothing is tried after what did not pay: each try costs a connection. */
const REST_TURNS = 15;
/** The same where there was no leave for it. */
const REFUSED_TURNS = 5;
/** So many turns in a row they bring less than half as many did before: they pay no more. */
const SLOW_TURNS = 2;

/**
 * How many connections a blob is worth. One, until its reader has done little but wait for bytes with a good deal of
 * them still to come; then twice as many, for as long as that makes them come faster. What does not pay, or not any
 * more, is not tried again for a while. Knows no socket; all times are the caller's clock, in milliseconds.
 */
export class RangePace {
  /** What came in a millisecond before each step that was taken: with one connection, with two, and so on. */
  #fewer: number[] = [];
  /** The last step has yet to show that it pays. */
  #trying = false;
  #slowTurns = 0;
  #resting = 0;
  /** A turn in which connections are opened says nothing of how fast they are. */
  #opening = false;
  #turnMs: number;
  #arrived = 0;
  #waitedMs = 0;

  constructor(nowMs: number) {
    this.#turnMs = nowMs;
  }

  arrived(bytes: number): void {
    this.#arrived += bytes;
  }

  waited(ms: number): void {
    this.#waitedMs += ms;
  }

  /** There was no leave for more than one; it may be asked for again. */
  refused(nowMs: number): void {
    this.#fewer = [];
    this.#trying = false;
    this.#opening = false;
    this.#resting = Math.max(this.#resting, REFUSED_TURNS);
    this.#begin(nowMs);
  }

  /** How many there should be from now on, the first included. */
  connections(nowMs: number, restBytes: number, limit: number): number {
    const turnMs = nowMs - this.#turnMs;
    if (turnMs >= TURN_MS) {
      this.#judge(this.#arrived / turnMs, this.#waitedMs / turnMs, restBytes, limit);
      this.#begin(nowMs);
    }
    return Math.min(this.#wanted, limit);
  }

  get #wanted(): number {
    return 2 ** this.#fewer.length;
  }

  #judge(rate: number, waiting: number, restBytes: number, limit: number): void {
    if (this.#opening) {
      this.#opening = false;
      return;
    }
    while (this.#wanted >= 2 * limit) this.#fewer.pop();
    if (!this.#pays(rate, waiting)) {
      this.#fewer.pop();
      this.#slowTurns = 0;
      this.#resting = REST_TURNS;
    }
    this.#trying = false;
    if (this.#resting > 0) {
      this.#resting--;
      return;
    }
    const worthBytes = Math.max(WORTH_BYTES, rate * WORTH_MS);
    if (this.#wanted >= limit || waiting < WAITING_SHARE || restBytes < worthBytes) return;
    this.#fewer.push(rate);
    this.#trying = true;
    this.#opening = true;
  }

  /** What came with half as many is the measure: no line, and no server, stays as it was. */
  #pays(rate: number, waiting: number): boolean {
    const fewer = this.#fewer.at(-1);
    if (fewer === undefined) return true;
    if (this.#trying) return rate >= fewer * GAIN;
    this.#slowTurns = rate < fewer && waiting >= WAITING_SHARE ? this.#slowTurns + 1 : 0;
    return this.#slowTurns < SLOW_TURNS;
  }

  #begin(nowMs: number): void {
    this.#turnMs = nowMs;
    this.#arrived = 0;
    this.#waitedMs = 0;
  }
}
