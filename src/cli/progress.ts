/**
 * What a pull does, on stderr, made from its events alone: on a terminal one line for each layer in work and a total
 * with rate, remaining time and what holds it up, redrawn in place; anywhere else one plain line for each thing that
 * happened. Names and reasons come from registries and images: nothing of them can drive the terminal.
 */
import { printable } from '../errors.js';
import type { LarderEvent } from '../events.js';
import {
  type Bottleneck,
  type LayerProgressState,
  NO_PROGRESS,
  nextProgress,
  type PullProgress,
  summaryOf,
} from '../progress.js';
import { isDigest } from '../spec/digest.js';
import { formatBytes, formatCount, formatDuration, shortDigest, shortImageName } from './format.js';

export interface ProgressOutput {
  write(text: string): void;
  readonly isTTY: boolean;
  readonly columns: number;
}

const REDRAW_MS = 100;
const BAR = 24;
/** More would push the total out of a small window. */
const MAX_LINES = 12;

const WAITS_FOR: Readonly<Record<Bottleneck, string>> = {
  network: 'waiting for the network',
  inflate: 'busy inflating and hashing',
  disk: 'waiting for the disk',
  'registry-limit': 'held back by the registry',
  'another-process': 'waiting for another process',
};

export class Progress {
  readonly #out: ProgressOutput;
  readonly #now: () => number;
  #progress: PullProgress = NO_PROGRESS;
  #drawn = 0;
  #drawnAtMs = Number.NEGATIVE_INFINITY;
  /** A work on the whole store, as long as it is under way. */
  #work: { readonly what: string; readonly share: number } | undefined;

  constructor(out: ProgressOutput, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#now = now;
  }

  /** The listener for `onEvent`. */
  readonly onEvent = (event: LarderEvent): void => {
    const now = this.#now();
    const line = sentenceOf(event, this.#progress, now);
    // One command may pull several images: each begins anew.
    const before = event.type === 'resolve' && this.#progress.phase === 'done' ? NO_PROGRESS : this.#progress;
    this.#progress = nextProgress(before, event, now);
    if (event.type === 'progress')
      this.#work = event.done < event.total ? { what: event.what, share: event.done / event.total } : undefined;
    if (line !== undefined) this.#say(line);
    if (this.#out.isTTY) this.#redraw(event.type !== 'layer-progress' && event.type !== 'progress');
  };

  /** Takes the bars away; what was said stays. */
  stop(): void {
    this.#erase();
  }

  #say(line: string): void {
    this.#erase();
    this.#out.write(`${printable(line)}\n`);
  }

  #erase(): void {
    if (this.#drawn > 0) this.#out.write(`\u001b[${this.#drawn}A\u001b[0J`);
    this.#drawn = 0;
  }

  #redraw(always: boolean): void {
    const now = this.#now();
    if (!always && now - this.#drawnAtMs < REDRAW_MS) return;
    this.#drawnAtMs = now;
    const lines = this.#lines(now).map((line) => printable(line).slice(0, this.#out.columns - 1));
    if (lines.length === 0) {
      this.#erase();
      return;
    }
    const back = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : '';
    this.#out.write(`${back}${lines.map((line) => `${line}\u001b[K\n`).join('')}\u001b[0J`);
    this.#drawn = lines.length;
  }

  #lines(now: number): string[] {
    const work = this.#work === undefined ? [] : [`${this.#work.what}  ${Math.floor(this.#work.share * 100)} %`];
    const busy = [...this.#progress.layers.values()].filter(({ state }) => IN_WORK.includes(state));
    if (busy.length === 0 || this.#progress.phase === 'done') return work;
    const shown = busy.slice(0, MAX_LINES).map(lineOf);
    const more = busy.length > MAX_LINES ? [`and ${formatCount(busy.length - MAX_LINES, 'more layer')}`] : [];
    return [...work, ...shown, ...more, totalOf(this.#progress, now)];
  }
}

const IN_WORK: readonly LayerProgressState['state'][] = ['fetching', 'verifying', 'elsewhere'];

function lineOf({ layer, size, received, written, state, pid, host }: LayerProgressState): string {
  const share = size === 0 ? 0 : Math.min(1, received / size);
  const full = Math.round(share * BAR);
  const bar = `[${'#'.repeat(full)}${'.'.repeat(BAR - full)}] ${String(Math.floor(share * 100)).padStart(3)} %`;
  const bytes = `${formatBytes(received)} of ${formatBytes(size)}`;
  const name = shortName(layer);
  if (state === 'elsewhere')
    return pid === undefined
      ? `${name}  another process fetches it`
      : `${name}  ${bar}  ${bytes}  fetched by process ${pid}`;
  if (state === 'verifying') return `${name}  ${bar}  verifying, ${formatBytes(written)} written`;
  return `${name}  ${bar}  ${bytes}${host === undefined ? '' : `  from ${host}`}`;
}

function totalOf(progress: PullProgress, now: number): string {
  const { layers, layersDone, received, size, bytesPerSecond, etaMs, bottleneck } = summaryOf(progress, now);
  const done = `${layersDone} of ${formatCount(layers, 'layer')}, ${formatBytes(received)} of ${formatBytes(size)}`;
  const left = etaMs === undefined ? '' : `, ${formatDuration(etaMs)} left`;
  const why = bottleneck === undefined ? '' : `, ${WAITS_FOR[bottleneck]}`;
  return `total         ${done}, ${formatBytes(bytesPerSecond)}/s${left}${why}`;
}

/** What is worth a line of its own, terminal or not; `before` is how things stood. */
function sentenceOf(event: LarderEvent, before: PullProgress, now: number): string | undefined {
  switch (event.type) {
    case 'resolved':
      return event.cached
        ? undefined
        : `${shortImageName(event.reference)}: resolved to ${event.digest} (${event.platform})`;
    case 'plan': {
      const missing = event.layers.filter((layer) => layer.state === 'fetch');
      const bytes = missing.reduce((sum, layer) => sum + layer.size, 0);
      return `${formatCount(event.layers.length, 'layer')}, ${missing.length} to fetch, ${formatBytes(bytes)}`;
    }
    case 'snapshot': {
      const { pull, layers } = event;
      const here = layers.filter(({ state }) => state === 'present' || state === 'done').length;
      return `${shortImageName(pull.reference)}: process ${pull.pid} pulls it (${pull.platform}), ${here} of ${formatCount(layers.length, 'layer')} here`;
    }
    case 'layer-start':
      return event.resumedFrom > 0
        ? `${layerName(event.layer)}: goes on from ${formatBytes(event.resumedFrom)}`
        : undefined;
    case 'layer-wait':
      return waitSentence(event, before);
    case 'layer-done':
      return event.received === 0 && event.entries === 0
        ? `${layerName(event.layer)}: here, another process fetched it`
        : `${layerName(event.layer)}: ${formatBytes(event.received)} fetched, ${formatBytes(event.written)} written, ${event.entries} entries, ${formatDuration(event.ms)}`;
    case 'retry':
      return `${event.what}: ${event.reason}; attempt ${event.attempt + 1} in ${formatDuration(event.afterMs)}`;
    case 'rate-limit':
      // Each request that waits tells of it.
      return before.limitedUntilMs > now
        ? undefined
        : `${event.host} asks for a pause: ${formatDuration(event.afterMs)}`;
    case 'mirror':
      return event.insteadOf === undefined
        ? undefined
        : `${event.what}: ${event.reason ?? 'no answer'}; ${event.host} is asked instead of ${event.insteadOf}`;
    case 'missed':
      return `${formatCount(event.events, 'event')} missed`;
    case 'warning':
      return `warning: ${event.message}`;
    default:
      return undefined;
  }
}

/** That it is so is told first, who it is when he is found. */
function waitSentence(
  { layer, reason, pid }: Extract<LarderEvent, { type: 'layer-wait' }>,
  { layers }: PullProgress,
): string | undefined {
  if (reason !== 'another-process') return undefined;
  const before = layers.get(layer);
  if (pid === undefined) return `${layerName(layer)}: another process is fetching it, waiting`;
  return before?.pid === pid ? undefined : `${layerName(layer)}: process ${pid} is fetching it`;
}

/** Of an Appc image the layer is the image itself, by its name. */
function layerName(layer: string): string {
  return isDigest(layer) ? `layer ${shortDigest(layer)}` : shortName(layer);
}

function shortName(layer: string): string {
  return isDigest(layer) ? shortDigest(layer) : shortImageName(layer);
}
