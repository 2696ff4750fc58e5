/**
 * Progress of a pull on stderr, made from events alone: on a terminal one bar for each layer under way and a total
 * with rate and remaining time, redrawn in place; anywhere else one plain line for each thing that happened.
 */
import type { LarderEvent } from '../events.js';
import { isDigest } from '../spec/digest.js';
import { formatBytes, formatCount, formatDuration, shortDigest, shortImageName } from './format.js';

export interface ProgressOutput {
  write(text: string): void;
  readonly isTTY: boolean;
  readonly columns: number;
}

interface LayerState {
  readonly digest: string;
  size: number;
  received: number;
  written: number;
  startedAtMs: number;
  state: 'waiting' | 'fetching' | 'other' | 'done';
}

const REDRAW_MS = 100;

export class Progress {
  readonly #out: ProgressOutput;
  readonly #layers = new Map<string, LayerState>();
  readonly #startedAtMs: number;
  readonly #now: () => number;
  #drawn = 0;
  #drawnAtMs = Number.NEGATIVE_INFINITY;
  #resumed = 0;
  /** A work on the whole store, as long as it is under way. */
  #work: { readonly what: string; readonly share: number } | undefined;

  constructor(out: ProgressOutput, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#now = now;
    this.#startedAtMs = now();
  }

  /** The listener for `onEvent`. */
  readonly onEvent = (event: LarderEvent): void => {
    this.#note(event);
    const line = this.#sentence(event);
    if (line !== undefined) this.#say(line);
    if (this.#out.isTTY) this.#redraw(event.type !== 'layer-progress' && event.type !== 'progress');
  };

  /** Takes the bars away; what was said stays. */
  stop(): void {
    this.#erase();
  }

  #note(event: LarderEvent): void {
    switch (event.type) {
      case 'plan':
        for (const { layer, size, state } of event.layers) {
          if (state === 'fetch')
            this.#layers.set(layer, { digest: layer, size, received: 0, written: 0, startedAtMs: 0, state: 'waiting' });
        }
        return;
      case 'layer-start':
        this.#resumed += event.resumedFrom;
        // No plan told of an Appc image: which others it needs is known only when it is here.
        this.#layers.set(event.layer, this.#layers.get(event.layer) ?? unknownLayer(event.layer));
        this.#update(event.layer, {
          size: event.size,
          received: event.resumedFrom,
          startedAtMs: this.#now(),
          state: 'fetching',
        });
        return;
      case 'layer-progress':
        this.#update(event.layer, { received: event.received, written: event.written });
        return;
      case 'layer-wait':
        this.#update(event.layer, { state: event.reason === 'another-process' ? 'other' : 'waiting' });
        return;
      case 'layer-done':
        this.#update(event.layer, {
          size: Math.max(event.received, this.#layers.get(event.layer)?.size ?? 0),
          received: Math.max(event.received, this.#layers.get(event.layer)?.size ?? 0),
          written: event.written,
          state: 'done',
        });
        return;
      case 'progress':
        this.#work = event.done < event.total ? { what: event.what, share: event.done / event.total } : undefined;
        return;
      default:
    }
  }

  #update(digest: string, change: Partial<LayerState>): void {
    const layer = this.#layers.get(digest);
    if (layer !== undefined) Object.assign(layer, change);
  }

  /** What is worth a line of its own, terminal or not. */
  #sentence(event: LarderEvent): string | undefined {
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
      case 'layer-start':
        return event.resumedFrom > 0
          ? `${layerName(event.layer)}: goes on from ${formatBytes(event.resumedFrom)}`
          : undefined;
      case 'layer-wait':
        return event.reason === 'another-process'
          ? `${layerName(event.layer)}: another process is fetching it, waiting`
          : undefined;
      case 'layer-done':
        return `${layerName(event.layer)}: ${formatBytes(event.received)} fetched, ${formatBytes(event.written)} written, ${event.entries} entries, ${formatDuration(event.ms)}`;
      case 'retry':
        return `${event.what}: ${event.reason}; attempt ${event.attempt + 1} in ${formatDuration(event.afterMs)}`;
      case 'rate-limit':
        return `${event.what}: ${event.host} asked to be left alone; waiting ${formatDuration(event.afterMs)}`;
      case 'mirror':
        return event.insteadOf === undefined
          ? undefined
          : `${event.what}: ${event.reason ?? 'no answer'}; ${event.host} is asked instead of ${event.insteadOf}`;
      case 'warning':
        return `warning: ${event.message}`;
      default:
        return undefined;
    }
  }

  #say(line: string): void {
    this.#erase();
    this.#out.write(`${line}\n`);
  }

  #erase(): void {
    if (this.#drawn > 0) this.#out.write(`\u001b[${this.#drawn}A\u001b[0J`);
    this.#drawn = 0;
  }

  #redraw(always: boolean): void {
    const now = this.#now();
    if (!always && now - this.#drawnAtMs < REDRAW_MS) return;
    this.#drawnAtMs = now;
    const busy = [...this.#layers.values()].filter((layer) => layer.state === 'fetching' || layer.state === 'other');
    const work = this.#work === undefined ? [] : [`${this.#work.what}  ${Math.floor(this.#work.share * 100)} %`];
    const layers = busy.length === 0 ? [] : [...busy.map((layer) => this.#bar(layer, now)), this.#total(now)];
    const lines = [...work, ...layers].map((line) => line.slice(0, this.#out.columns - 1));
    if (lines.length === 0) {
      this.#erase();
      return;
    }
    const back = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : '';
    this.#out.write(`${back}${lines.map((line) => `${line}\u001b[K\n`).join('')}\u001b[0J`);
    this.#drawn = lines.length;
  }

  #bar(layer: LayerState, now: number): string {
    if (layer.state === 'other') return `${shortName(layer.digest)}  waiting for another process`;
    const share = layer.size === 0 ? 1 : Math.min(1, layer.received / layer.size);
    const full = Math.round(share * 24);
    const rate = layer.received / Math.max(0.001, (now - layer.startedAtMs) / 1000);
    return `${shortName(layer.digest)}  [${'#'.repeat(full)}${'.'.repeat(24 - full)}] ${pad(Math.floor(share * 100), 3)} %  ${formatBytes(layer.received)} of ${formatBytes(layer.size)}  ${formatBytes(rate)}/s`;
  }

  #total(now: number): string {
    const layers = [...this.#layers.values()];
    const size = layers.reduce((sum, layer) => sum + layer.size, 0);
    const received = layers.reduce((sum, layer) => sum + layer.received, 0);
    const seconds = Math.max(0.001, (now - this.#startedAtMs) / 1000);
    const rate = Math.max(0, received - this.#resumed) / seconds;
    const left = rate > 0 ? formatDuration(((size - received) / rate) * 1000) : 'unknown';
    const done = layers.filter((layer) => layer.state === 'done').length;
    return `total         ${done} of ${formatCount(layers.length, 'layer')}, ${formatBytes(received)} of ${formatBytes(size)}, ${formatBytes(rate)}/s, ${left} left`;
  }
}

/** Of an Appc image the layer is the image itself, by its name. */
function layerName(layer: string): string {
  return isDigest(layer) ? `layer ${shortDigest(layer)}` : shortName(layer);
}

function shortName(layer: string): string {
  return isDigest(layer) ? shortDigest(layer) : shortImageName(layer);
}

function unknownLayer(digest: string): LayerState {
  return { digest, size: 0, received: 0, written: 0, startedAtMs: 0, state: 'waiting' };
}

function pad(n: number, width: number): string {
  return String(n).padStart(width);
}
