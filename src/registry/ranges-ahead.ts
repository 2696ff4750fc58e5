/**
 * The parts of a large blob that further connections fetch while the first one, or an earlier part, is read. The reader
 * takes everything in order; what has come before its turn is held in memory, and there is a bound to that: one part
 * more than there are connections, of at most 8 MiB each, and never more than {@link MAX_CONNECTIONS} connections.
 *
 * A part is a hope. Whatever goes wrong with one is not looked into here: the part is given up, the first connection
 * asks for what is missing of it, and meets, tells and retries what is wrong, with its own patience.
 */
import { expectManyListeners, settleOrAbort } from '../concurrency.js';
import type { Digest } from '../spec/digest.js';
import type { AskGrant, BlobGrant, BlobOutcome, BlobRange } from './blob.js';
import { pause, refuseEncoding } from './get-whole.js';
import { RangePace } from './range-pace.js';
import { type HttpAnswer, sendRequest } from './transport.js';

/** Whatever a grant allows. */
export const MAX_CONNECTIONS = 8;
const MAX_PART_BYTES = 8 << 20;
const MIN_PART_BYTES = 1 << 20;
/** So many parts may fail before the blob is left to its first connection. */
const MAX_LOST = 3;
/** A reader waits for a part: the first connection, which has more time, takes over soon when no byte of it comes. */
const PATIENCE_MS = 5000;
/** So much longer than the last one that came whole, while one behind it is whole already: its connection is a bad one. */
const SLOW_TIMES = 3;
const SLOW_MS = 1000;
/** How often it is looked whether a part is late. */
const LOOK_EVERY_MS = 500;
const MAX_REDIRECTS = 8;

interface Part {
  readonly start: number;
  readonly end: number;
  /** When it was first asked for. */
  readonly sinceMs: number;
  received: number;
  readonly pieces: Uint8Array[];
  state: 'coming' | 'whole' | 'lost';
}

export type Pace = Pick<RangePace, 'arrived' | 'waited' | 'refused' | 'connections'>;

export interface RangesAheadOptions {
  readonly signal?: AbortSignal;
  /** Never more than one, whatever grants allow. */
  readonly oneConnection?: boolean;
  /** Says how many connections pay. */
  readonly pace?: Pace;
  /** How long no byte of a part may come while it is waited for. Default: 5 s. */
  readonly patienceMs?: number;
  /** Called before each request, those that follow a login or a redirect too. */
  readonly onRange?: (range: BlobRange) => void;
}

export class RangesAhead {
  readonly #blob: { readonly digest: Digest; readonly size: number };
  readonly #ask: AskGrant;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #pace: Pace;
  readonly #patienceMs: number;
  readonly #onRange: ((range: BlobRange) => void) | undefined;
  /** Without gaps, in order; the reader is at the first one or before it. */
  readonly #parts: Part[] = [];
  readonly #lanes = new Map<number, Promise<void>>();
  #waiting: (() => void)[] = [];
  /** How far the reader has come. */
  #position: number;
  /** No part covers what is from here on. */
  #next = 0;
  #connections = 1;
  /** What the last grant allowed. */
  #granted = MAX_CONNECTIONS;
  #lost = 0;
  /** How long the last part that came whole took. */
  #usualMs = 0;
  #allowed: boolean;

  constructor(
    blob: { readonly digest: Digest; readonly size: number },
    offset: number,
    ask: AskGrant,
    options: RangesAheadOptions,
  ) {
    const { signal, oneConnection = false, pace = new RangePace(performance.now()) } = options;
    this.#blob = blob;
    this.#position = offset;
    this.#ask = ask;
    this.#allowed = !oneConnection;
    this.#pace = pace;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#onRange = options.onRange;
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
    expectManyListeners(this.#signal);
  }

  /** Where the first connection's work ends. */
  get start(): number {
    return this.#parts[0]?.start ?? this.#blob.size;
  }

  /** What the first connection was answered: without ranges there is nothing to be had here. */
  answered(answer: HttpAnswer): void {
    const ranges = answer.status === 206 || answer.header('accept-ranges')?.trim().toLowerCase() === 'bytes';
    if (!ranges) this.#allowed = false;
  }

  /** The reader gets the next bytes, for which it waited so long; more connections are opened where that pays. */
  reached(position: number, waitedMs: number, fromFirst: number): void {
    this.#position = position;
    if (!this.#allowed) return;
    this.#pace.waited(waitedMs);
    this.#pace.arrived(fromFirst);
    const rest = this.#blob.size - Math.max(position, this.#next);
    this.#connections = this.#pace.connections(performance.now(), rest, this.#granted);
    const lanes = this.#connections - (this.start > position ? 1 : 0);
    if (this.#connections < 2 || !this.#isMoreToTake()) return;
    for (let lane = 1; lane < MAX_CONNECTIONS && this.#lanes.size < lanes; lane++) {
      if (!this.#lanes.has(lane)) this.#lanes.set(lane, this.#run(lane));
    }
  }

  /** The part that begins where the reader is, as far as it comes; undefined when there is none. */
  take(position: number): AsyncGenerator<Uint8Array, void, void> | undefined {
    const [part] = this.#parts;
    return part?.start === position ? this.#read(part) : undefined;
  }

  /** Nothing is under way any more when it resolves. Never rejects. */
  async stop(): Promise<void> {
    this.#allowed = false;
    this.#stop.abort();
    this.#wake();
    await Promise.all(this.#lanes.values());
  }

  /** Of a part that is given up, by its connection or here, all that has come. */
  async *#read(part: Part): AsyncGenerator<Uint8Array, void, void> {
    const looking = setInterval(() => this.#wake(), LOOK_EVERY_MS);
    let waitedMs = 0;
    let silentMs = 0;
    try {
      for (;;) {
        const piece = part.pieces.shift();
        if (piece !== undefined) {
          silentMs = 0;
          yield piece;
        } else if (part.state === 'coming') {
          const sinceMs = performance.now();
          await this.#change();
          // What a process that was stopped did not see counts for nobody's silence.
          const ms = Math.min(performance.now() - sinceMs, 2 * LOOK_EVERY_MS);
          waitedMs += ms;
          silentMs += ms;
          if (part.pieces.length === 0 && this.#isLate(part, waitedMs, silentMs)) this.#giveUp(part);
        } else break;
      }
    } finally {
      clearInterval(looking);
    }
    this.#parts.shift();
    this.#wake();
  }

  #isLate(part: Part, waitedMs: number, silentMs: number): boolean {
    if (silentMs >= this.#patienceMs) return true;
    // More connections have not paid, and parts may be what a server is slow with.
    if (this.#connections < 2) return waitedMs >= SLOW_MS && restMs(part) >= this.#patienceMs;
    const isOvertaken = this.#parts.some((other) => other !== part && other.state === 'whole');
    return isOvertaken && waitedMs >= SLOW_MS + SLOW_TIMES * this.#usualMs;
  }

  /** Its connection learns of it with the next byte, or when it gives up itself. */
  #giveUp(part: Part): void {
    if (part.state === 'coming') part.state = 'lost';
  }

  /** One further connection, part after part. Never rejects. */
  async #run(lane: number): Promise<void> {
    try {
      for (let begun = false; this.#isWanted(); begun = true) {
        if (this.#parts.length > this.#connections) await this.#change();
        else if (!(await this.#fetchPart(lane, begun))) break;
      }
    } catch {
      // What was wrong is asked for again by the first connection, which tells.
      if (++this.#lost === MAX_LOST) this.#allowed = false;
    } finally {
      this.#lanes.delete(lane);
      this.#wake();
    }
  }

  #isWanted(): boolean {
    return this.#allowed && this.#connections > 1 && this.#lanes.size <= this.#connections && this.#isMoreToTake();
  }

  #isMoreToTake(): boolean {
    return this.#nextStart() < this.#blob.size;
  }

  /** The first connection gets what it needs to read on until the part is under way. */
  #nextStart(): number {
    const lead = this.#parts.length === 0 ? this.#partBytes() : 0;
    return Math.max(this.#next, this.#position + lead);
  }

  /** Towards the end they are smaller, so that all connections end at about the same time. */
  #partBytes(): number {
    const rest = this.#blob.size - Math.max(this.#next, this.#position);
    return Math.min(MAX_PART_BYTES, Math.max(MIN_PART_BYTES, Math.floor(rest / (2 * this.#connections))));
  }

  #takePart(): Part | undefined {
    const start = this.#nextStart();
    const end = Math.min(this.#blob.size, start + this.#partBytes());
    if (start >= end) return undefined;
    const part: Part = { start, end, sinceMs: performance.now(), received: 0, pieces: [], state: 'coming' };
    this.#parts.push(part);
    this.#next = end;
    return part;
  }

  /** False when there is none, or no leave for one. What fails is thrown, and the part given up. */
  async #fetchPart(lane: number, begun: boolean): Promise<boolean> {
    const first = await this.#grant({ lane, attempt: begun ? 1 : 0 });
    if (first === undefined) return false;
    const part = this.#takePart();
    if (part === undefined) return false;
    try {
      await this.#receive(part, await this.#request(part, first, lane));
      part.state = 'whole';
      this.#usualMs = performance.now() - part.sinceMs;
    } catch (error) {
      this.#giveUp(part);
      throw error;
    } finally {
      this.#wake();
    }
    return true;
  }

  async #grant(request: {
    readonly lane: number;
    readonly attempt: number;
    readonly previous?: BlobOutcome;
  }): Promise<BlobGrant | undefined> {
    const asked = this.#ask({ digest: this.#blob.digest, offset: this.#next, ...request });
    const grant = await settleOrAbort(asked, this.#doing, this.#signal);
    this.#granted = grant.connections ?? 1;
    if (this.#granted > 1 && this.#isWanted()) return grant;
    if (this.#granted < 2) this.#pace.refused(performance.now());
    this.#granted = MAX_CONNECTIONS;
    return undefined;
  }

  /** The answer to the request for a part, with logins and redirects on the way. */
  async #request(part: Part, first: BlobGrant, lane: number): Promise<HttpAnswer> {
    const range = `bytes=${part.start}-${part.end - 1}`;
    let grant = first;
    for (let attempt = 1; attempt <= MAX_REDIRECTS; attempt++) {
      const { afterMs, ...request } = grant;
      this.#onRange?.(rangeOf(grant, part.start, part.end));
      await pause(afterMs, this.#doing, this.#signal);
      this.#requireWanted(part);
      const answer = await sendRequest({
        ...request,
        headers: { ...request.headers, range },
        connectTimeoutMs: Math.min(request.connectTimeoutMs, this.#patienceMs),
        stallTimeoutMs: Math.min(request.stallTimeoutMs, this.#patienceMs),
        signal: this.#signal,
      });
      if (answer.status === 206 && isRange(answer, part, this.#blob.size)) return answer;
      const previous = await answer.outcome();
      // Whoever answers anything else is not asked for parts again.
      if (!mayGoOn(previous)) this.#allowed = false;
      const next = await this.#grant({ lane, attempt, previous });
      if (next === undefined) break;
      grant = next;
    }
    throw new Error(`${this.#doing}: no answer to a range`);
  }

  async #receive(part: Part, answer: HttpAnswer): Promise<void> {
    refuseEncoding(answer, this.#doing);
    for await (const piece of answer.body()) {
      this.#requireWanted(part);
      part.received += piece.length;
      if (part.start + part.received > part.end) throw new Error(`${this.#doing}: more than a range`);
      part.pieces.push(piece);
      this.#pace.arrived(piece.length);
      this.#wake();
    }
    if (part.start + part.received < part.end) throw new Error(`${this.#doing}: less than a range`);
  }

  #requireWanted({ state }: Part): void {
    if (state === 'lost') throw new Error(`${this.#doing}: given up`);
  }

  get #doing(): string {
    return `fetch a part of a blob: ${this.#blob.digest}`;
  }

  #change(): Promise<void> {
    if (this.#stop.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** As it came until now. */
function restMs({ start, end, sinceMs, received }: Part): number {
  return ((end - start - received) / Math.max(1, received)) * (performance.now() - sinceMs);
}

export function rangeOf({ url, afterMs }: BlobGrant, from: number, to: number): BlobRange {
  return { type: 'layer-range', host: new URL(url).host, from, to, afterMs };
}

function isRange(answer: HttpAnswer, { start, end }: Part, size: number): boolean {
  return answer.header('content-range') === `bytes ${start}-${end - 1}/${size}`;
}

/** A login that has grown old, a signed address that has expired, a redirect. */
function mayGoOn(outcome: BlobOutcome): boolean {
  return outcome.kind === 'status' && [301, 302, 303, 307, 308, 401, 403].includes(outcome.status);
}
